//! What was delivered against what was true: by the bytes of each event, so that nothing of ours has a say in it.

use std::collections::{HashMap, HashSet};

use jumpstream::emulator::{Emulator, Truth};
use sha2::Digest as _;

use super::{EVENTS, Home};

/// Of an event's bytes, in hexadecimal.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What came of the events that should have been delivered.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    pub true_events: usize,
    pub lost: usize,
    /// Deliveries beyond the first.
    pub repeated: usize,
    /// Delivered, though not among the true ones.
    pub foreign: usize,
}

impl Tally {
    /// `wanted` must have been delivered; `known` may have been.
    pub fn of(wanted: &[Truth], known: &[Truth], delivered: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Tally {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for event in delivered {
            *counts.entry(sha256(event)).or_default() += 1;
        }
        let lost: Vec<&Truth> = wanted.iter().filter(|truth| !counts.contains_key(&truth.sha256)).collect();
        lost.iter().take(10).for_each(|truth| println!("lost: {truth:?}"));
        let known: HashSet<&str> = known.iter().map(|truth| truth.sha256.as_str()).collect();
        Tally {
            true_events: wanted.len(),
            lost: lost.len(),
            repeated: counts.values().map(|count| count - 1).sum(),
            foreign: counts.keys().filter(|sha256| !known.contains(sha256.as_str())).count(),
        }
    }
}

/// The file sink holds every true event exactly once and nothing else; there are `least` of them.
#[track_caller]
pub fn assert_once(emulator: &Emulator, home: &Home, least: usize) {
    let truth = emulator.truth(None);
    assert_each_once(&truth, &home.lines(EVENTS), least);
}

#[track_caller]
pub fn assert_each_once(truth: &[Truth], delivered: &[impl AsRef<[u8]>], least: usize) {
    let tally = Tally::of(truth, truth, delivered);
    assert_eq!(tally, Tally { true_events: truth.len(), lost: 0, repeated: 0, foreign: 0 });
    assert!(truth.len() >= least, "only {} true events, {least} were meant", truth.len());
}
