//! What the group has given us, and what of it is being let go. Pure.
//!
//! # Invariants
//! A revoked set is given back whole, when its last partition is let go: the client forgets the whole set when it asks
//! us to give it up, and joins the next rebalance, without claiming any of it, as soon as a part of it is given back.

use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Holding {
    held: BTreeSet<u32>,
    /// One at most: the client asks nothing more of us before we have answered.
    drain: Option<Drain>,
}

#[derive(Debug)]
struct Drain {
    /// As the client named them.
    revoked: Vec<u32>,
    /// Those whose owners have not let go.
    waiting: BTreeSet<u32>,
    /// In [`crate::clock::uptime`].
    until: Duration,
}

/// A revoked set that is to be given back now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Drained {
    pub revoked: Vec<u32>,
    /// Those whose time is over.
    pub overruled: Vec<u32>,
}

impl Holding {
    pub(super) fn assign(&mut self, partitions: &[u32]) {
        self.held.extend(partitions);
    }

    /// Gives those whose owners have to drain.
    pub(super) fn revoke(&mut self, revoked: Vec<u32>, until: Duration) -> Vec<u32> {
        let waiting: BTreeSet<u32> = revoked.iter().copied().filter(|each| self.held.remove(each)).collect();
        let owned = waiting.iter().copied().collect();
        self.drain = Some(Drain { revoked, waiting, until });
        owned
    }

    pub(super) fn release(&mut self, partition: u32) {
        if let Some(drain) = &mut self.drain {
            drain.waiting.remove(&partition);
        }
    }

    /// The revoked set, once all its owners have let go or their time is over.
    pub(super) fn drained(&mut self, now: Duration) -> Option<Drained> {
        let Drain { revoked, waiting, .. } =
            self.drain.take_if(|drain| drain.waiting.is_empty() || drain.until <= now)?;
        Some(Drained { revoked, overruled: waiting.into_iter().collect() })
    }

    /// Ours, and nobody has asked for it.
    pub(super) fn holds(&self, partition: u32) -> bool {
        self.held.contains(&partition)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.drain.is_none()
    }

    /// Takes these out of what we hold; gives those that were in it.
    pub(super) fn lose(&mut self, partitions: &[u32]) -> Vec<u32> {
        partitions.iter().copied().filter(|each| self.held.remove(each)).collect()
    }

    /// Takes everything: what has an owner here, drained or not.
    pub(super) fn lose_all(&mut self) -> Vec<u32> {
        let mut lost = std::mem::take(&mut self.held);
        lost.extend(self.drain.take().into_iter().flat_map(|drain| drain.waiting));
        lost.into_iter().collect()
    }
}
