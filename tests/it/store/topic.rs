//! The ledger topic's entries: any state of compaction folds into the ledger, and what a restart reads stays small.

mod bound;
mod feed;
mod fold;
mod format;
mod golden;
mod log;
mod rebuild;
mod size;

use std::collections::BTreeMap;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::{Checkpoint, Coverage, FingerprintKey, Hindrances, Standing, StreamKey};

fn stream(number: usize) -> StreamKey {
    StreamKey { organization: format!("5f00000000000000000000{number:02x}"), service: "all".into() }
}

/// Says nothing but that everything from `now` − 90 days to `now` was read.
fn quiet(now: Time) -> Checkpoint {
    let start = now - Duration::from_secs(90 * 86_400);
    Checkpoint {
        key: FingerprintKey([7; 16]),
        first_run: start,
        start,
        edge: Some(now),
        coverage: Coverage::of([start..now]),
        standing: Standing::default(),
        oldest_shown: Duration::ZERO,
        hindrances: Hindrances::default(),
        delivered: BTreeMap::new(),
        hours: BTreeMap::new(),
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    }
}
