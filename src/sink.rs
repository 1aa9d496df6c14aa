//! Where records go: Kafka, syslog, a file, standard output.
//!
//! # Invariants
//! [`Sink::deliver`] returns only when every record is acknowledged or named in its answer; a sink waits for as
//! long as its far end may heal, and says what it waits for in [`Sink::trouble`]. No sink knows the ledger, a
//! store or another sink.
//!
//! # Cancellation
//! Dropping `deliver` leaves the batch in flight: any part of it may have been delivered.

pub mod file;
pub mod kafka;
pub mod stdout;
pub mod syslog;
mod trouble;

use async_trait::async_trait;
use bytes::Bytes;

use crate::record::{DeadLetter, Reason, Record};
pub use trouble::Wait;

/// Publishes records.
#[async_trait]
pub trait Sink: Send + Sync {
    /// `kafka`, `syslog`, `file`, `stdout`: a metric label.
    fn name(&self) -> &'static str;

    /// Delivers all, in order, and waits for the acknowledgement of each.
    ///
    /// Gives those that the far end will never take; every other one is acknowledged.
    /// An error is fatal: waiting heals nothing.
    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, Error>;

    /// What the sink is waiting for at this moment, for `/readyz` and `/status`; none when all is well.
    fn trouble(&self) -> Option<String>;

    /// Leaves the far end in good order, within a second or two; nothing is delivered afterwards.
    async fn close(&self) {}
}

/// Takes what no sink will: see [`DeadLetter`].
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Returns when all are durable; waits for as long as the far end may heal.
    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), Error>;

    /// As [`Sink::trouble`].
    fn trouble(&self) -> Option<String>;
}

/// Takes control records, which are no events.
#[async_trait]
pub trait ControlRecords: Send + Sync {
    /// Returns when all are durable, or refused by name; waits for as long as the far end may heal.
    async fn write(&self, records: &[ControlRecord]) -> Vec<Refused>;

    /// As [`Sink::trouble`].
    fn trouble(&self) -> Option<String>;
}

/// What is told beside the events: JSON without a line's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRecord {
    /// What it is about: the records of one keep their order.
    pub key: String,
    pub value: Bytes,
}

/// A record that the far end will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the delivered slice.
    pub index: usize,
    pub reason: Reason,
    /// A sentence for the operator.
    pub explanation: String,
}

/// What no waiting heals. Every variant is fatal: what may heal is waited for inside the sink.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is configured can't be opened: a directory, another process's file, a certificate that is none.
    #[error("opening {target}: {fault}")]
    Open { target: String, fault: String },
    /// The far end is gone for good, as a closed pipe is.
    #[error("writing to {target}: {source}; what reads it has gone: start it again together with jumpstream")]
    Write { target: String, source: std::io::Error },
    #[error("kafka: {0}")]
    Kafka(String),
    #[error(
        "a dead letter of {size} bytes is refused by {target}: {explanation}; raise the limit there, or use dead_letter: {{file: …}}"
    )]
    DeadLetterRefused { target: String, size: u64, explanation: String },
    #[error(
        "an event of {size} bytes can't be delivered ({explanation}) and no dead_letter is configured; set dead_letter: {{topic: …}} or {{file: …}}, or raise the sink's limit"
    )]
    NoDeadLetter { size: u64, explanation: String },
}

impl Error {
    /// A bounded metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Error::Open { .. } => "open",
            Error::Write { .. } => "write",
            Error::Kafka(_) => "kafka",
            Error::DeadLetterRefused { .. } => "dead_letter_refused",
            Error::NoDeadLetter { .. } => "no_dead_letter",
        }
    }
}
