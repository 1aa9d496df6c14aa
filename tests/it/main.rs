//! The one test binary. Each module's first line says what it shows.

mod clock;
mod config;
mod container;
mod emulator;
mod event;
mod kafka;
mod ledger;
mod sink;
mod source;
mod store;
mod tidy;
