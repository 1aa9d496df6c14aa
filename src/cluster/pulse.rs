//! Whether the partitions' loops still turn: one that stands still would keep its partition from every other replica.
//!
//! # Invariants
//! Reads no clock: it counts its own turns, so that a process that was frozen finds nobody guilty of it. Sees nothing
//! where the whole runtime stands still; then `/livez` doesn't answer either.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// After how long without a beat a partition is stuck.
pub const STUCK: Duration = Duration::from_secs(120);
/// In so many turns.
const TURNS: u32 = 24;

/// Listens to the pulse of every partition that has an owner here.
#[derive(Debug, Default)]
pub struct Watchdog(Mutex<Vec<Weak<Heart>>>);

#[derive(Debug)]
struct Heart {
    partition: u32,
    /// The watchdog's turns since the last beat.
    silent: AtomicU32,
}

/// One owner's pulse, heard until it is dropped.
#[derive(Debug)]
pub struct Pulse(Arc<Heart>);

impl Pulse {
    /// The loop has turned, or waits for what it has said.
    pub fn beat(&self) {
        self.0.silent.store(0, Ordering::Relaxed);
    }
}

impl Watchdog {
    /// Listens to a new owner of `partition`.
    pub fn listen(&self, partition: u32) -> Pulse {
        let heart = Arc::new(Heart { partition, silent: AtomicU32::new(0) });
        self.hearts().push(Arc::downgrade(&heart));
        Pulse(heart)
    }

    /// Returns with the first partition that has not beaten for [`STUCK`].
    ///
    /// Dropping it and beginning anew counts on.
    pub async fn stuck(&self) -> u32 {
        loop {
            tokio::time::sleep(STUCK / TURNS).await;
            if let Some(partition) = self.turn() {
                return partition;
            }
        }
    }

    fn turn(&self) -> Option<u32> {
        let mut stuck = None;
        self.hearts().retain(|heart| {
            let Some(heart) = heart.upgrade() else { return false };
            if heart.silent.fetch_add(1, Ordering::Relaxed) >= TURNS {
                stuck = Some(heart.partition);
            }
            true
        });
        stuck
    }

    fn hearts(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Heart>>> {
        // Nothing in here panics half way, so a poisoned list is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
