//! The one test binary. Each module's first line says what it shows.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod clock;
mod config;
mod container;
mod emulator;
mod event;
mod kafka;
mod ledger;
mod random;
mod simulation;
mod sink;
mod source;
mod store;
mod tidy;
