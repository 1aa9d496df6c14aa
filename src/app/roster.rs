//! Which streams there are, and which of them run here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::clock::Time;
use crate::ledger::StreamKey;
use crate::source;
use crate::telemetry::status::StreamStatus;

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Mutex<Streams>>);

#[derive(Default)]
struct Streams {
    /// Accounts that don't know their organizations yet.
    unresolved: usize,
    /// Every stream of the configuration, with its home.
    seats: BTreeMap<StreamKey, u32>,
    open: BTreeMap<StreamKey, Opened>,
}

/// A stream that runs here, as the lifecycle sees it.
#[derive(Clone)]
pub(super) struct Opened {
    pub client: source::Client,
    pub status: watch::Receiver<StreamStatus>,
    /// Up to where everything since the start is covered and committed.
    pub covered: watch::Receiver<Option<Time>>,
}

impl Roster {
    pub fn expect_account(&self) {
        self.streams().unresolved += 1;
    }

    pub fn account_resolved(&self) {
        self.streams().unresolved -= 1;
    }

    pub fn unresolved(&self) -> usize {
        self.streams().unresolved
    }

    pub fn seat(&self, stream: StreamKey, home: u32) {
        self.streams().seats.insert(stream, home);
    }

    /// How many streams there are, here or elsewhere.
    pub fn seats(&self) -> usize {
        self.streams().seats.len()
    }

    /// The streams whose homes `ours` names.
    pub fn of_homes(&self, ours: impl Fn(u32) -> bool) -> Vec<StreamKey> {
        self.streams().seats.iter().filter(|(_, home)| ours(**home)).map(|(stream, _)| stream.clone()).collect()
    }

    pub fn open(&self, stream: StreamKey, opened: Opened) {
        self.streams().open.insert(stream, opened);
    }

    pub fn close(&self, stream: &StreamKey) {
        self.streams().open.remove(stream);
    }

    pub fn opened(&self, stream: &StreamKey) -> Option<Opened> {
        self.streams().open.get(stream).cloned()
    }

    /// How many streams run here.
    pub fn running(&self) -> usize {
        self.streams().open.len()
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
