//! The one place that answers "can I lose an event?".
//!
//! A batch is records and the checkpoint that they bring us to. The checkpoint is never durable before the records
//! are delivered, so a crash at any point leaves a ledger that asks for what is missing. Two cases:
//!
//! - *events, then checkpoint*: every sink has acknowledged, the dead letters are durable, then the store saves. A crash
//!   between repeats this one batch and nothing else.
//! - *both in one transaction*: the last sink's records and the checkpoint become visible together or not at all; it
//!   begins only after every other sink has acknowledged.
//!
//! # Invariants
//! Retries nothing and decides nothing: sinks and stores wait by themselves for what can heal. An error means that
//! the ledger in memory is worth nothing and must be read again from the store.

use std::sync::Arc;

use async_trait::async_trait;

use crate::ledger::{Checkpoint, StreamKey};
use crate::record::{DeadLetter, Record};
use crate::sink::{self, DeadLetters, Sink};
use crate::store::{self, Store};

/// Records and the checkpoint that they bring us to.
#[derive(Debug)]
pub struct Batch {
    pub records: Vec<Record>,
    /// What could not become a record.
    pub dead: Vec<DeadLetter>,
    pub checkpoint: Checkpoint,
}

/// A sink that takes records and checkpoint in one transaction (Kafka, exactly once).
#[async_trait]
pub trait Transactional: Send + Sync {
    /// Both durable and visible, or neither.
    async fn commit(&self, stream: &StreamKey, records: &[Record], checkpoint: &Checkpoint) -> Result<(), Error>;
}

/// Where batches go, and where the ledger comes back from.
pub struct Route {
    pub sinks: Vec<Arc<dyn Sink>>,
    pub dead_letters: Option<Arc<dyn DeadLetters>>,
    pub store: Arc<dyn Store>,
    /// Takes the store's place in a commit.
    pub transaction: Option<Arc<dyn Transactional>>,
}

impl Route {
    /// What all commits of `stream` have come to; none for a stream never seen.
    pub async fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, Error> {
        Ok(self.store.load(stream).await?)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sink(#[from] sink::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether it concerns one stream alone, so that others may go on: an event that nothing takes, a ledger that
    /// can't be read. Any other would meet every stream.
    pub fn is_of_one_stream(&self) -> bool {
        use sink::Error::{DeadLetterRefused, NoDeadLetter};
        match self {
            Error::Sink(error) => matches!(error, NoDeadLetter { .. } | DeadLetterRefused { .. }),
            Error::Store(error) => matches!(error, store::Error::Damaged { .. }),
        }
    }
}

/// Makes `batch` final, and gives what became dead letters.
///
/// # Cancellation
/// Dropped, it may leave any part of the records delivered and the checkpoint saved or not, but never a saved
/// checkpoint with a record missing.
pub async fn commit(route: &Route, stream: &StreamKey, batch: Batch) -> Result<Vec<DeadLetter>, Error> {
    let Batch { records, mut dead, checkpoint } = batch;
    for sink in &route.sinks {
        for refused in sink.deliver(&records).await? {
            dead.push(DeadLetter::of(&records[refused.index], refused.reason, refused.explanation));
        }
    }
    bury(route, &dead).await?;
    match &route.transaction {
        None => route.store.save(stream, &checkpoint).await?,
        Some(transaction) => transaction.commit(stream, &records, &checkpoint).await?,
    }
    Ok(dead)
}

async fn bury(route: &Route, dead: &[DeadLetter]) -> Result<(), sink::Error> {
    match (&route.dead_letters, dead.first()) {
        (_, None) => Ok(()),
        (Some(dead_letters), Some(_)) => dead_letters.bury(dead).await,
        (None, Some(first)) => {
            Err(sink::Error::NoDeadLetter { size: first.size, explanation: first.explanation.clone() })
        }
    }
}
