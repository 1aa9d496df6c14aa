//! A stream as its ledger would feed the book, without events: only numbers of fingerprints.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::{Checkpoint, Digest, HourTotal, Minute, UNTIMED, hour_of, minutes_of};
use jumpstream::store::kafka::book::Book;
use jumpstream::store::kafka::format::Entry;

use super::{quiet, stream};
use crate::ledger::LAST_AGE;

pub struct Feed {
    pub book: Book,
    minutes: BTreeMap<Minute, usize>,
    /// Key and value bytes of each key that has a value.
    pub live: BTreeMap<Vec<u8>, usize>,
}

pub fn minute(time: Time) -> Minute {
    time.as_secs().div_euclid(60)
}

impl Feed {
    pub fn new() -> Feed {
        Feed { book: Book::new(stream(0)), minutes: BTreeMap::new(), live: BTreeMap::new() }
    }

    /// So many events of each minute are delivered; what is old enough is forgotten.
    pub fn commit(&mut self, now: Time, delivered: &[(Minute, usize)]) -> Vec<Entry> {
        let due = self.book.due(now);
        let forgotten: Range<Minute> = UNTIMED + 1..minute(now - LAST_AGE);
        while let Some((old, _)) = self.minutes.range(forgotten.clone()).next() {
            let old = *old;
            self.minutes.remove(&old);
        }
        let kept = || delivered.iter().filter(|(minute, _)| !forgotten.contains(minute));
        for (minute, count) in kept() {
            *self.minutes.entry(*minute).or_default() += count;
        }
        let total = HourTotal { events: 40_000, shown: 40_400, late: 400, digest: Digest([1; 32]) };
        let whole = |hour| self.minutes.range(minutes_of(hour)).map(|(minute, count)| (*minute, vec![0; *count]));
        let checkpoint = Checkpoint {
            delivered: kept().map(|(minute, count)| (*minute, vec![0; *count])).collect(),
            hours: delivered
                .iter()
                .map(|(minute, _)| hour_of(*minute))
                .chain(due.clone())
                .map(|hour| (hour, total))
                .collect(),
            forgotten: vec![forgotten.clone()],
            whole: due.iter().map(|hour| (*hour, whole(*hour).collect())).collect(),
            ..quiet(now)
        };
        let entries = self.book.entries(&checkpoint, now);
        for entry in &entries {
            match entry.value {
                Some(_) => self.live.insert(entry.key.clone(), entry.size()),
                None => self.live.remove(&entry.key),
            };
        }
        entries
    }

    pub fn live_commits(&self) -> usize {
        self.book.live().count()
    }

    /// Fingerprints that are not forgotten.
    pub fn fingerprints(&self) -> usize {
        self.minutes.values().sum()
    }

    /// Nothing but idle checkpoints, until nothing is due.
    pub fn rest(&mut self, mut now: Time) -> Time {
        for _ in 0..2_000 {
            now = now + Duration::from_secs(60);
            self.commit(now, &[]);
        }
        now
    }
}
