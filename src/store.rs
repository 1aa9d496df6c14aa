//! Where ledgers are kept: a SQLite file, or a Kafka topic beside an exactly-once sink.
//!
//! # Invariants
//! A store folds checkpoints and understands nothing of them: it asks no clock and decides nothing.
//! [`Store::save`] returns when the checkpoint is durable, whole or not at all.

pub mod kafka;
pub mod sqlite;

use async_trait::async_trait;

use crate::ledger::{Checkpoint, Hour, StreamKey};

/// Keeps each stream's ledger.
#[async_trait]
pub trait Store: Send + Sync {
    /// The checkpoint that all saved ones fold into; none for a stream never seen.
    async fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, Error>;

    /// Makes `checkpoint` durable. Waits for as long as the cause may heal (a full disk).
    async fn save(&self, stream: &StreamKey, checkpoint: &Checkpoint) -> Result<(), Error>;

    /// As [`Self::save`], of a checkpoint that delivers nothing: it may become durable later than this returns, or be
    /// lost, which costs a little reading again.
    async fn save_idle(&self, stream: &StreamKey, checkpoint: Checkpoint) -> Result<(), Error> {
        self.save(stream, &checkpoint).await
    }

    /// The hours that the store wants whole with the stream's next checkpoint.
    fn due(&self, _: &StreamKey) -> Vec<Hour> {
        Vec::new()
    }

    /// What the store is waiting for at this moment; none when all is well.
    fn trouble(&self) -> Option<String>;
}

/// What no waiting heals.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{path} is in use by {holder}: two processes must not share one state; stop the other, or give this one a state.path of its own"
    )]
    Locked { path: String, holder: String },
    #[error(
        "{path} lies on a network file system ({kind}), whose locks can't be trusted; put state.path on a local disk"
    )]
    NetworkFileSystem { path: String, kind: String },
    #[error(
        "{path} was written by a newer jumpstream (format {found}, this one knows {known}); run that release again, or a later one"
    )]
    NewerFormat { path: String, found: u32, known: u32 },
    #[error("{path}: {source}")]
    Sqlite { path: String, source: rusqlite::Error },
    #[error("{path}: {source}{}", remedy(source))]
    File { path: String, source: std::io::Error },
    #[error(
        "{path}: the ledger of {stream} can't be read: {why}; restore the file from a backup, or start anew with another state.path"
    )]
    Damaged { path: String, stream: String, why: String },
    #[error("ledger topic {topic}: {source}")]
    Topic { topic: String, source: kafka::fold::Error },
    #[error(
        "ledger topic {topic} is empty, but topic {events} holds records that were written with it: its ledgers were deleted, and starting anew would deliver again what is there; give back the topic as it was, or make its ledgers again from these records with `jumpstream state rebuild`, or choose another state.topic to begin anew: what lies behind poll.start then comes again"
    )]
    Emptied { topic: String, events: String },
    #[error(
        "ledger topic {topic} holds entries, and nothing is ever written over a ledger: where it is whole, nothing has to be made again; where it is not, stop every replica, delete it (kafka-topics.sh --bootstrap-server {brokers} --delete --topic {topic}) and run this again"
    )]
    Occupied { topic: String, brokers: String },
    #[error(
        "ledger topic {topic} has {found} partitions and state.partitions says {wanted}: streams would be looked for in the wrong place; set state.partitions to {found}, or choose another state.topic"
    )]
    OtherPartitions { topic: String, found: usize, wanted: u32 },
    /// Whether the last transaction was committed is another owner's to know, or nobody's here: the ledger must be taken
    /// over anew.
    #[error("{0}")]
    GivenUp(String),
    #[error("ledger topic {topic}: {fault}")]
    Client { topic: String, fault: String },
}

fn remedy(fault: &std::io::Error) -> &'static str {
    match fault.kind() {
        std::io::ErrorKind::PermissionDenied => "; let the user that runs jumpstream write it and its folder",
        std::io::ErrorKind::ReadOnlyFilesystem => "; put state.path on a file system that can be written",
        _ => "",
    }
}

impl Error {
    /// Whether no replica can go on before a person has decided (exit code 78).
    pub fn wants_a_decision(&self) -> bool {
        use kafka::fold::Error::{Newer, OtherLayout};
        match self {
            Error::Emptied { .. } | Error::OtherPartitions { .. } | Error::NewerFormat { .. } => true,
            Error::Topic { source, .. } => matches!(source, Newer { .. } | OtherLayout { .. }),
            _ => false,
        }
    }
}
