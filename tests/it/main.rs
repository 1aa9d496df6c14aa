//! The one test binary. Each module's first line says what it shows.

mod clock;
mod config;
mod emulator;
mod event;
mod ledger;
mod random;
mod simulation;
mod server;
mod sink;
mod source;
mod store;
mod telemetry;
