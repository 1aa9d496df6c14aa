//! A ledger made again from the events that were delivered, for one that was lost.
//!
//! What a topic holds was delivered; what it does not hold may have been delivered as well, or never read. So every
//! event found is known again, and no time counts as read: all of it is read once more from the start, and only what
//! was found is not delivered again.
//!
//! # Invariants
//! Claims no coverage and no edge. An event found twice counts once. 8 bytes an event, and a few for each minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Time;
use crate::event::Event;
use crate::ledger::checkpoint::{Checkpoint, Hour, Minute, hour_of, minutes_of};
use crate::ledger::coverage::Coverage;
use crate::ledger::filed;
use crate::ledger::hindrances::Hindrances;
use crate::ledger::minutes::{Fingerprint, FingerprintKey, HourTotal, Minutes};
use crate::ledger::standing::Standing;

/// So many events are taken in before the minutes that they touched are packed.
const UNPACKED: usize = 1 << 16;
/// How much longer ago a stream may have been first seen than its first event was: the first batch of a busy stream is
/// committed within seconds.
const FIRST_SEEN: Duration = Duration::from_secs(3_600);

/// A stream's ledger being made again.
#[derive(Debug, Clone)]
pub struct Rebuild {
    key: FingerprintKey,
    minutes: Minutes,
    hours: BTreeMap<Hour, HourTotal>,
    /// Touched since minutes were last packed.
    unpacked: BTreeSet<Minute>,
    taken: usize,
    found: Found,
}

/// What was found of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Events, each once.
    pub events: u64,
    /// Further records of the same events.
    pub repeats: u64,
    /// Events without a readable timestamp.
    pub untimed: u64,
    /// The events' own times.
    pub oldest: Option<Time>,
    pub newest: Option<Time>,
    /// When the first of them was taken in, by the server's clock.
    pub since: Option<Time>,
}

/// An hour of the ledger, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    pub hour: Hour,
    pub total: HourTotal,
    pub minutes: BTreeMap<Minute, Vec<Fingerprint>>,
}

impl Rebuild {
    /// Of a stream of which nothing is known; the key is a new one.
    pub fn new(key: FingerprintKey) -> Rebuild {
        Rebuild {
            key,
            minutes: Minutes::default(),
            hours: BTreeMap::new(),
            unpacked: BTreeSet::new(),
            taken: 0,
            found: Found::default(),
        }
    }

    /// An event that was delivered, and when it had been taken in.
    pub fn take(&mut self, event: &Event, ingested_at: Time) {
        let (minute, hour) = filed(event.time());
        let found = &mut self.found;
        found.since = Some(found.since.map_or(ingested_at, |since| since.min(ingested_at)));
        if !self.minutes.insert(minute, self.key.fingerprint(&event.identity())) {
            found.repeats += 1;
            return;
        }
        found.events += 1;
        match event.time() {
            Some(time) => {
                found.oldest = Some(found.oldest.map_or(time, |oldest| oldest.min(time)));
                found.newest = found.newest.max(Some(time));
            }
            None => found.untimed += 1,
        }
        self.hours.entry(hour).or_default().add(event);
        self.unpacked.insert(minute);
        self.taken += 1;
        if self.taken.is_multiple_of(UNPACKED) {
            self.pack();
        }
    }

    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The ledger but for its hours. `since`: when the stream counts as first seen; `start`: what was configured then.
    pub fn head(&self, since: Time, start: Time) -> Checkpoint {
        Checkpoint {
            key: self.key,
            first_run: since,
            start,
            edge: None,
            coverage: Coverage::default(),
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

    /// Takes the oldest hour out, with the memory that it takes.
    pub fn take_hour(&mut self) -> Option<Whole> {
        let (hour, total) = self.hours.pop_first()?;
        let minutes = self.minutes.of(minutes_of(hour));
        self.minutes.forget(minutes_of(hour));
        debug_assert!(minutes.keys().all(|minute| hour_of(*minute) == hour), "an hour holds its own minutes");
        Some(Whole { hour, total, minutes })
    }

    fn pack(&mut self) {
        for minute in std::mem::take(&mut self.unpacked) {
            self.minutes.settle(minute);
        }
    }
}

impl Found {
    /// From when on everything is wanted: what is configured, as if the stream had been seen for the first time when
    /// its first record that is left was taken in; and never later than an event that was wanted.
    ///
    /// The start that the lost ledger held lies no earlier than this, unless records of that time are gone from the
    /// topic. `configured` resolves an age at the time it is given.
    pub fn start(&self, since: Time, configured: impl Fn(Time) -> Time) -> Time {
        let start = configured(since - FIRST_SEEN);
        self.oldest.map_or(start, |oldest| oldest.min(start))
    }
}
