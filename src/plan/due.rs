//! Which time is due to be compared with the API again, by how long ago it ended.
//!
//! Every instant wants the highest age that it has reached, so what a later age has overtaken is not asked any more,
//! ages that had passed at the first read are one, and ranges due side by side are one.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::{Ledger, Mark};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The ages at which what was read is compared with the API, ascending: the last one reads, the others count. None: no
/// verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ages(Vec<Duration>);

impl Default for Ages {
    /// 2 min, 15 min, 1 h, 6 h, 24 h, 48 h, 8 days.
    fn default() -> Ages {
        Ages::of([MINUTE * 2, MINUTE * 15, HOUR, HOUR * 6, DAY, DAY * 2, DAY * 8])
    }
}

impl Ages {
    /// Of ages in any order, whole minutes each.
    pub fn of(ages: impl IntoIterator<Item = Duration>) -> Ages {
        let mut ages: Vec<Duration> = ages.into_iter().collect();
        ages.sort_unstable();
        ages.dedup();
        Ages(ages)
    }

    pub fn last(&self) -> Option<Duration> {
        self.0.last().copied()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Duration> + ExactSizeIterator {
        self.0.iter().copied()
    }

    /// Up to where everything has reached `age` by `now`, in steps as long as the age, at most a day.
    fn reached(age: Duration, now: Time) -> Time {
        (now - age).floor(Ages::step(age))
    }

    fn step(age: Duration) -> Duration {
        age.clamp(MINUTE, DAY)
    }

    /// Where nothing is due at `now`: for how long that stays so.
    pub fn nothing_due(&self, ledger: &Ledger, now: Time) -> NothingDue {
        let reached_next = self.iter().map(|age| Ages::reached(age, now) + Ages::step(age) + age);
        let doubted = ledger.standing().ranges().iter().filter_map(|(_, mark)| match mark {
            Mark::Doubted { again, .. } => Some(*again).filter(|again| now < *again),
            _ => None,
        });
        NothingDue {
            since: now,
            until: reached_next.chain(doubted).min().unwrap_or(now),
            reached: self.iter().next().map_or(Time::MAX, |first| Ages::reached(first, now)),
            revision: ledger.revision(),
            edge: ledger.edge(),
        }
    }

    /// The oldest range that is due to be counted, with its age, the highest first.
    pub fn due_to_count(&self, ledger: &Ledger, now: Time) -> Option<(Range<Time>, Duration)> {
        let last = self.last()?;
        let mut above = Ages::reached(last, now);
        for age in self.iter().rev().skip(1) {
            let reached = Ages::reached(age, now);
            let due = first_part(ledger, above..reached, |mark| mark.is_none_or(|mark| !mark.satisfies(age)));
            if let Some(range) = due {
                return Some((range, age));
            }
            above = above.max(reached);
        }
        None
    }

    /// The oldest range that is due to be read once more, and how often it was before.
    pub fn due_to_read(&self, ledger: &Ledger, now: Time) -> Option<(Range<Time>, u8)> {
        let reached = Ages::reached(self.last()?, now);
        let is_due = |mark: Option<Mark>| match mark {
            Some(Mark::Doubted { again, .. }) => again <= now,
            mark => Mark::is_open(mark),
        };
        let range = first_part(ledger, Time::MIN..reached, is_due)?;
        // What was doubted at one time is read as one, and alone.
        let first = ledger.standing().at(range.start);
        let is_same = |mark: Option<Mark>| match (first, mark) {
            (Some(Mark::Doubted { .. }), mark) => mark == first,
            (_, mark) => !matches!(mark, Some(Mark::Doubted { .. })),
        };
        let tries = if let Some(Mark::Doubted { tries, .. }) = first { tries } else { 0 };
        ledger.standing().parts(range, is_same).next().map(|range| (range, tries))
    }
}

/// Nothing is due, for as long as it [holds](Self::holds).
#[derive(Debug, Clone, Copy)]
pub struct NothingDue {
    since: Time,
    until: Time,
    /// Younger time has not reached any age.
    reached: Time,
    revision: u64,
    edge: Option<Time>,
}

impl NothingDue {
    pub fn holds(&self, ledger: &Ledger, now: Time) -> bool {
        let same_edge = self.edge == ledger.edge() || self.edge.is_some_and(|edge| edge >= self.reached);
        same_edge && self.revision == ledger.revision() && self.since <= now && now < self.until
    }
}

/// The oldest part of `band` that was read and of whose mark `is_due` holds: whole minutes, a day at most, within one
/// day by UTC.
fn first_part(ledger: &Ledger, band: Range<Time>, is_due: impl Fn(Option<Mark>) -> bool) -> Option<Range<Time>> {
    let edge = ledger.edge()?;
    let band = band.start.max(ledger.start())..band.end.min(edge);
    if band.start >= band.end {
        return None;
    }
    ledger.coverage().within(band).find_map(|covered| {
        // A minute that was read in part is compared once it is whole; the first of all has no other part.
        let from = if covered.start == ledger.start() { covered.start } else { covered.start.ceil(MINUTE) };
        let whole = from..covered.end.floor(MINUTE);
        if whole.start >= whole.end {
            return None;
        }
        let part = ledger.standing().parts(whole.clone(), &is_due).next()?;
        let from = part.start.floor(MINUTE).max(whole.start);
        let midnight = from.floor(DAY) + DAY;
        let minutes = from..part.end.ceil(MINUTE).min(whole.end).min(midnight);
        // A settled part of a minute, as there is where the start was moved, must not be read again.
        let mut open = ledger.standing().parts(minutes, Mark::is_open);
        open.find(|open| part.start < open.end)
    })
}
