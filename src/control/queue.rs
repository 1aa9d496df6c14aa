//! Records that wait to be written: so many at most, since nobody waits for them.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::record::Kind;
use crate::sink::ControlRecord;

/// So many records wait; past that the oldest heartbeat goes, else the oldest record.
pub const MOST: usize = 10_000;
/// So many are written at once.
const BATCH: usize = 500;

/// What was taken from it counts as waiting until it is written.
#[derive(Debug)]
pub struct Queue(watch::Sender<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<(Kind, ControlRecord)>,
    /// Being written.
    taken: usize,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue(watch::Sender::new(Waiting::default()))
    }
}

impl Queue {
    /// Never waits; gives what had to go for it.
    pub fn push(&self, kind: Kind, record: ControlRecord) -> Option<Kind> {
        let mut dropped = None;
        self.0.send_modify(|waiting| {
            if waiting.records.len() >= MOST {
                let heartbeat = waiting.records.iter().position(|(kind, _)| *kind == Kind::Heartbeat);
                dropped = waiting.records.remove(heartbeat.unwrap_or(0)).map(|(kind, _)| kind);
            }
            waiting.records.push_back((kind, record));
        });
        dropped
    }

    /// The oldest, once there are any; they count until [`Queue::written`].
    pub async fn take(&self) -> Vec<(Kind, ControlRecord)> {
        let mut waits = self.0.subscribe();
        // The sender is ours, so it is there.
        let _ = waits.wait_for(|waiting| !waiting.records.is_empty()).await;
        let mut taken = Vec::new();
        self.0.send_modify(|waiting| {
            let count = waiting.records.len().min(BATCH);
            taken.extend(waiting.records.drain(..count));
            waiting.taken = count;
        });
        taken
    }

    /// What was taken last has been written.
    pub fn written(&self) {
        self.0.send_modify(|waiting| waiting.taken = 0);
    }

    /// Returns when everything has been written.
    pub async fn emptied(&self) {
        let mut waits = self.0.subscribe();
        let _ = waits.wait_for(|waiting| waiting.records.is_empty() && waiting.taken == 0).await;
    }

    /// How many are not written yet.
    pub fn len(&self) -> usize {
        let waiting = self.0.borrow();
        waiting.records.len() + waiting.taken
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
