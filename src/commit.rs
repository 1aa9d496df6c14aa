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
use crate::sink::{self, DeadLetters, Refused, Sink};
use crate::store::{self, Store};

/// Records and the checkpoint that they bring us to.
#[derive(Debug, Clone)]
pub struct Batch {
    pub records: Vec<Record>,
    /// What could not become a record.
    pub dead: Vec<DeadLetter>,
    pub checkpoint: Checkpoint,
}

/// A sink that takes records, dead letters and checkpoint in one transaction (Kafka, exactly once).
#[async_trait]
pub trait Transactional: Send + Sync {
    /// As [`Sink::name`].
    fn name(&self) -> &'static str;

    /// All durable and visible, or none.
    ///
    /// Gives the records that the far end will never take; where there are any, nothing was committed.
    async fn commit(&self, stream: &StreamKey, batch: &Arc<Batch>) -> Result<Vec<Refused>, Error>;
}

/// Where batches go, and where the ledger comes back from.
pub struct Route {
    pub sinks: Vec<Arc<dyn Sink>>,
    pub dead_letters: Option<Burial>,
    pub store: Arc<dyn Store>,
    /// Takes the store's place in a commit.
    pub transaction: Option<Arc<dyn Transactional>>,
}

/// How dead letters become durable.
pub enum Burial {
    /// Before the checkpoint: a crash between repeats them.
    Before(Arc<dyn DeadLetters>),
    /// In its transaction.
    Within,
}

impl Route {
    /// What all commits of `stream` have come to; none for a stream never seen.
    pub async fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, Error> {
        Ok(self.store.load(stream).await?)
    }

    /// Where a batch is full, in bytes. A transaction costs what some 2,000 records do, however few it holds, so its
    /// batches are larger: docs/decisions/0020 has the figures.
    pub fn batch_bytes(&self) -> usize {
        if self.transaction.is_some() { 8 << 20 } else { 4 << 20 }
    }

    /// The metric labels of all sinks.
    pub fn sink_names(&self) -> impl Iterator<Item = &'static str> {
        let transaction = self.transaction.iter().map(|transaction| transaction.name());
        self.sinks.iter().map(|sink| sink.name()).chain(transaction)
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
    /// Whether the ledger must be taken over anew, or is another owner's by now.
    pub fn gives_up(&self) -> bool {
        matches!(self, Error::Store(store::Error::GivenUp(_)))
    }

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
pub async fn commit(route: &Route, stream: &StreamKey, mut batch: Batch) -> Result<Vec<DeadLetter>, Error> {
    if batch.delivers_nothing() {
        route.store.save_idle(stream, batch.checkpoint).await?;
        return Ok(Vec::new());
    }
    for sink in &route.sinks {
        let refused = sink.deliver(&batch.records).await?;
        batch.dead.extend(dead_letters(&batch.records, &refused));
    }
    crate::fail_point!("delivered");
    bury(route, &batch.dead).await?;
    crate::fail_point!("buried");
    let Some(transaction) = &route.transaction else {
        route.store.save(stream, &batch.checkpoint).await?;
        crate::fail_point!("saved");
        return Ok(batch.dead);
    };
    let mut batch = Arc::new(batch);
    loop {
        let refused = transaction.commit(stream, &batch).await?;
        if refused.is_empty() {
            return Ok(Arc::unwrap_or_clone(batch).dead);
        }
        let dead = Arc::make_mut(&mut batch).give_up(&refused);
        bury(route, &dead).await?;
        Arc::make_mut(&mut batch).dead.extend(dead);
    }
}

impl Batch {
    fn delivers_nothing(&self) -> bool {
        self.records.is_empty() && self.dead.is_empty() && self.checkpoint.delivered.is_empty()
    }

    /// Takes the refused records out.
    fn give_up(&mut self, refused: &[Refused]) -> Vec<DeadLetter> {
        let dead = dead_letters(&self.records, refused).collect();
        let mut index = 0;
        self.records.retain(|_| {
            index += 1;
            !refused.iter().any(|refused| refused.index == index - 1)
        });
        dead
    }
}

fn dead_letters(records: &[Record], refused: &[Refused]) -> impl Iterator<Item = DeadLetter> {
    refused.iter().map(|refused| DeadLetter::of(&records[refused.index], refused.reason, refused.explanation.clone()))
}

async fn bury(route: &Route, dead: &[DeadLetter]) -> Result<(), sink::Error> {
    match (&route.dead_letters, dead.first()) {
        (_, None) | (Some(Burial::Within), _) => Ok(()),
        (Some(Burial::Before(dead_letters)), Some(_)) => dead_letters.bury(dead).await,
        (None, Some(first)) => {
            Err(sink::Error::NoDeadLetter { size: first.size, explanation: first.explanation.clone() })
        }
    }
}
