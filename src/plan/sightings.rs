//! What one read has shown: how many records of each event, minute by minute.
//!
//! A page counts once it has come to its end: of one that is cut and asked for again nothing is counted twice.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::clock::Time;
use crate::ledger::minutes::further;
use crate::ledger::{Fingerprint, Ledger, Minute, minute_of};

/// What a read has shown.
#[derive(Debug, Default)]
pub struct Sightings {
    /// Of the page under way.
    page: Vec<(Minute, Fingerprint)>,
    page_untimed: u64,
    /// One for each record, ascending within the minute.
    minutes: BTreeMap<Minute, Vec<Fingerprint>>,
    /// Records without a readable time, and what is no event to us, or not taken for one.
    untimed: u64,
}

impl Sightings {
    pub fn saw(&mut self, minute: Minute, fingerprint: Fingerprint) {
        self.page.push((minute, fingerprint));
    }

    pub fn saw_untimed(&mut self) {
        self.page_untimed += 1;
    }

    /// A page begins, whatever became of the one before.
    pub fn begin_page(&mut self) {
        self.page.clear();
        self.page_untimed = 0;
    }

    /// The page came to its end; of an event that the read has shown several times the ledger hears how often.
    pub fn end_page(&mut self, ledger: &mut Ledger) {
        self.page.sort_unstable();
        for of_minute in self.page.chunk_by(|one, next| one.0 == next.0) {
            let minute = of_minute[0].0;
            let records = self.minutes.entry(minute).or_default();
            records.reserve_exact(of_minute.len());
            records.extend(of_minute.iter().map(|(_, fingerprint)| *fingerprint));
            records.sort_unstable();
            for of_event in records.chunk_by(|one, next| one == next).filter(|of_event| of_event.len() > 1) {
                ledger.saw_further(minute, of_event[0], of_event.len() as u64 - 1);
            }
        }
        self.page.clear();
        self.untimed += std::mem::take(&mut self.page_untimed);
    }

    /// Takes out what was shown of `range`, with what has no time: how many records, and how many of the delivered events
    /// that the ledger has of it were not among them.
    pub fn take(&mut self, range: &Range<Time>, ledger: &Ledger) -> Shown {
        let minutes = minute_of(range.start)..minute_of(range.end.ceil(MINUTE));
        let mut left = self.minutes.split_off(&minutes.end);
        std::mem::swap(&mut left, &mut self.minutes);
        let records: usize = left.range(minutes.clone()).map(|(_, records)| records.len()).sum();
        let held = ledger.held(minutes);
        let unseen = held.iter().map(|(minute, held)| unseen(held, left.get(minute))).sum();
        Shown { records: records as u64 + std::mem::take(&mut self.untimed), unseen }
    }
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

/// What a read showed of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Records, repeats included.
    pub records: u64,
    /// Events that had been delivered and were not shown.
    pub unseen: u64,
}

/// Of what is held of a minute, ascending, how many events were not shown. What stands for further records of an event
/// that was shown is no event.
fn unseen(held: &[Fingerprint], shown: Option<&Vec<Fingerprint>>) -> u64 {
    let Some(shown) = shown else { return held.len() as u64 };
    let was_shown = |fingerprint: &Fingerprint| shown.binary_search(fingerprint).is_ok();
    let mut unseen = held.iter().filter(|fingerprint| !was_shown(fingerprint)).count();
    for of_event in shown.chunk_by(|one, next| one == next) {
        let of_it = (1..).map(|number| further(of_event[0], number));
        let held_of_it = of_it.take_while(|fingerprint| held.binary_search(fingerprint).is_ok());
        unseen -= held_of_it.filter(|fingerprint| !was_shown(fingerprint)).count();
    }
    unseen as u64
}
