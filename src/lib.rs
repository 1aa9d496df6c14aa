//! jumpstream reads JumpCloud Directory Insights events and publishes every one of them to Kafka, syslog, a file or
//! standard output.
//!
//! ```text
//!  Directory Insights ──page──▶ source ──events──▶ stream ──new events──▶ record ──▶ commit ──▶ sink   Kafka, syslog, file, stdout
//!         ▲                                        │    ▲                             │
//!         └──────────── next request ── plan ◀─────┘    └─── ledger ◀── checkpoint ───┴──▶ store  SQLite
//! ```
//!
//! The middle ([`event`], [`ledger`], [`plan`], [`record`]) has no I/O, no clock and no `await`: properties and a
//! simulation in virtual time test it. [`commit`] is the one place that answers "can I lose an event?".
//!
//! # Words
//! Each has one meaning, in code, messages, metrics and documents.
//!
//! - *event*: one Directory Insights object; *page*: one `/events` answer.
//! - *account*: a credential and its region; *stream*: an organization and a service (`all` by default).
//! - *coverage*: the time ranges read; *gap*: wanted but not covered; *window*: a stretch of a gap read as one.
//! - *edge*: the end of the newest time that a live poll read and committed (gaps may lie below it); *overlap*: how far
//!   behind the edge a poll begins; *lag*: now minus the edge.
//! - *record*: an event as a sink carries it; *batch*: records and the checkpoint they bring us to; *commit*: batch
//!   delivered and checkpoint durable; *checkpoint*: the ledger's change since the last commit, which stores fold.
//! - *ledger*: what a stream has read and delivered; *fingerprint*: the keyed hash of an event's identity in it.
//! - *duplicate*: an event the ledger already has; *late*: an event delivered after its time had been read, or after an
//!   outage; *backfill*: time before the stream's first run; *replay*: an event delivered again on request.
//! - *blind*: a stream whose edge lies further behind than it may, until what it missed is delivered; *control record*:
//!   what readers are told of that, beside the events.
//! - *dead letter*: an event that a sink will never take, kept elsewhere with the reason.
//! - *age*: time since a range's end; *shown*: records the API has shown us, repeats included; *counted*: our number equals
//!   the API's; *unsettled*: they still differ; *verified*: read again in full at the last age and equal; *unprovable*:
//!   outside known retention, or nothing shown at all; *missing*: known to exist, not delivered;
//!   *lost*: read only when the API had forgotten it; a gap's *cause*: what hindered its reading when it was time.
//!
//! # Modules
//! In the order in which they are best read. A module's front door says what it is for and what it never does.

// The wiring, in one screen: configuration, parts, tasks, drain.
pub mod app;

// The loop, and what it asks in which order.
pub mod stream;

// The same of a range that is delivered once more.
pub mod replay;

pub mod plan;

pub mod ledger;

// What goes in.
pub mod source;

pub mod event;

// What comes out.
pub mod record;

pub mod commit;

pub mod control;

pub mod sink;

pub mod store;

// Whose it is, where replicas share the work.
pub mod cluster;

// Around it.
pub mod cli;

pub mod config;

pub mod server;

pub mod telemetry;

pub mod exit_code;
pub mod fail_point;

pub mod quote;

pub mod clock;

pub mod retry;

// The other side of the wire, which shares no code with all of the above.
pub mod emulator;
