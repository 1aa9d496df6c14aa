//! The one test binary. Each module's first line says what it shows.

mod cli;
mod clock;
mod config;
mod emulator;
mod event;
mod ledger;
mod random;
mod reference;
mod server;
mod simulation;
mod sink;
mod source;
mod store;
mod telemetry;
