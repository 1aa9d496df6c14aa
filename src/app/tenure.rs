//! Whether a home is ours: streams whose ledgers lie together, and so live and move together.
//!
//! # Invariants
//! Knows which homes are ours and where their ledgers are; runs no stream and touches no event.

pub(super) mod grouped;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::app::Error;
use crate::commit::Route;
use crate::ledger::StreamKey;

/// How a tenure ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The next owner waits for us: what is in flight is to be finished.
    Handover,
    /// Another one may own the home already.
    Lost,
    /// Nothing can be committed any more: the home wants to be taken over anew.
    Broken,
}

/// Says which homes are ours, and for how long.
#[async_trait]
pub(super) trait Tenure: Send + Sync {
    /// How many homes there are, ours or not.
    fn homes(&self) -> u32;

    /// The home of a stream's ledger.
    fn home_of(&self, stream: &StreamKey) -> u32;

    /// Takes part in giving out homes, until told to end.
    ///
    /// # Errors
    /// As [`Self::begin`].
    async fn keep(&self, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        drop(shutdown.wait_for(|ends| *ends).await);
        Ok(())
    }

    /// Waits until the home is ours and its ledgers can be read; where its batches go, and its ledgers come from.
    ///
    /// # Errors
    /// What no waiting heals, for any replica.
    async fn begin(&self, home: u32) -> Result<Arc<Route>, Error>;

    /// Ready when the tenure is to end.
    async fn over(&self, home: u32) -> End;

    /// Writes what was kept back of the home's ledgers; its streams have ended.
    async fn finish(&self, _: u32) {}

    /// Nothing of ours is in flight any more.
    fn release(&self, home: u32);

    /// How long a home's streams may take to commit what is in flight.
    fn drain(&self) -> Duration;

    /// Gives up all homes for good, after their release.
    async fn leave(&self) {}

    /// The homes that are ours; none before the first answer.
    fn ours(&self) -> Option<BTreeSet<u32>>;

    /// What is waited for at this moment; none when all is well.
    fn trouble(&self) -> Option<String>;
}

/// One home, ours for as long as the process lives: a local disk's ledgers.
pub(super) struct Permanent(pub Arc<Route>);

#[async_trait]
impl Tenure for Permanent {
    fn homes(&self) -> u32 {
        1
    }

    fn home_of(&self, _: &StreamKey) -> u32 {
        0
    }

    async fn begin(&self, _: u32) -> Result<Arc<Route>, Error> {
        Ok(self.0.clone())
    }

    async fn over(&self, _: u32) -> End {
        std::future::pending().await
    }

    fn release(&self, _: u32) {}

    fn drain(&self) -> Duration {
        super::DRAIN
    }

    fn ours(&self) -> Option<BTreeSet<u32>> {
        Some(BTreeSet::from([0]))
    }

    /// The store says it itself.
    fn trouble(&self) -> Option<String> {
        None
    }
}
