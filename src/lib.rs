//! jumpstream reads JumpCloud Directory Insights events and publishes every one of them to Kafka or a file.

pub mod app;
pub mod cli;
pub mod exit_code;

pub mod commit;
pub mod event;
pub mod ledger;
pub mod plan;
pub mod record;
pub mod sink;
pub mod source;
pub mod store;
pub mod stream;

pub mod clock;
pub mod config;
pub mod retry;
pub mod server;
pub mod telemetry;

pub mod emulator;
