//! The one test binary. Each module's first line says what it shows.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are their own")]

mod ages;
mod alerts;
mod broker;
mod chart;
mod check;
mod cli;
mod clock;
mod cluster;
mod commit;
mod completeness;
mod config;
mod container;
mod control;
mod demo;
mod docs;
mod emulator;
mod event;
mod exactly_once;
mod field_notes;
mod handover;
mod image;
mod kafka;
mod kill;
mod ledger;
mod outage;
mod plan;
mod process;
mod random;
mod reference;
mod replay;
mod server;
mod simulation;
mod sink;
mod source;
mod status;
mod store;
mod syslog;
mod syslog_real;
mod systemd;
mod telemetry;
mod tidy;
mod tool;
mod waits;
mod yaml;
