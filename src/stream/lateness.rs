//! How late events are here, and whether the ages at which they are looked for fit that.
//!
//! A poll looks a moment back, over its overlap; what becomes visible later is found when its time is compared with the
//! API again. So how late an event was is known no finer than by the look that found it.

use std::time::Duration;

use crate::clock::Time;
use crate::plan::{Ages, OVERLAP};
use crate::telemetry::status::{Lateness, Verdict};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Fewer events say nothing of how many are late.
const FEW: u64 = 100;
/// Fewer late events say nothing of how late most of them are.
const FEW_LATE: u64 = 10;
/// An age is long after the one before it where it is more than so many times as long.
const STEP: u32 = 8;
/// The configuration takes no longer age, and no more of them.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const MOST: usize = 12;
/// "Half of them within …" is one of these.
const BOUNDS: [Duration; 14] = [
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(1_800),
    HOUR,
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(12 * 3_600),
    DAY,
    Duration::from_secs(2 * 86_400),
    Duration::from_secs(4 * 86_400),
    Duration::from_secs(8 * 86_400),
    Duration::from_secs(16 * 86_400),
    Duration::from_secs(32 * 86_400),
];

/// What was seen since the stream was opened.
#[derive(Debug, Clone)]
pub struct Tally {
    ages: Vec<Duration>,
    since: Time,
    live: u64,
    within_overlap: u64,
    /// By the age that found them; first of all those that were found before any age.
    found: Vec<u64>,
    /// By the first of [`BOUNDS`] that they are within.
    within: [u64; BOUNDS.len()],
    latest: Duration,
}

impl Tally {
    pub fn begin(ages: &Ages, since: Time) -> Tally {
        let ages: Vec<Duration> = ages.iter().collect();
        let found = vec![0; ages.len() + 1];
        Tally { ages, since, live: 0, within_overlap: 0, found, within: [0; BOUNDS.len()], latest: Duration::ZERO }
    }

    /// An event came whose time had not been read.
    pub fn live(&mut self) {
        self.live += 1;
    }

    /// A poll found an event of time that had been read.
    pub fn within_overlap(&mut self) {
        self.within_overlap += 1;
    }

    /// Comparing found an event so long after its own time.
    pub fn beyond_overlap(&mut self, late: Duration) {
        self.found[self.ages.partition_point(|age| *age <= late)] += 1;
        self.within[BOUNDS.partition_point(|bound| *bound < late).min(BOUNDS.len() - 1)] += 1;
        self.latest = self.latest.max(late);
    }

    /// What that comes to, after `watched`; the API keeps events for `retention`.
    pub fn lateness(&self, watched: Duration, retention: Duration) -> Lateness {
        let beyond: u64 = self.found.iter().sum();
        let (verdict, suggested) = self.judge(beyond, watched, retention);
        let last = self.ages.last().copied().unwrap_or_default();
        Lateness {
            since: self.since,
            events: self.live + self.within_overlap + beyond,
            within_overlap: self.within_overlap,
            beyond_overlap: beyond,
            half_within_seconds: (beyond >= FEW_LATE).then(|| self.half(beyond).as_secs()),
            latest_seconds: (beyond > 0).then_some(self.latest.as_secs()),
            last_age_seconds: last.as_secs(),
            verdict,
            suggested_ages_seconds: suggested.map(|ages| ages.iter().map(Duration::as_secs).collect()),
        }
    }

    /// The first bound that half of them are within.
    fn half(&self, beyond: u64) -> Duration {
        let mut sum = 0;
        let reaches = |(_, count): &(&Duration, &u64)| {
            sum += **count;
            sum * 2 >= beyond
        };
        let half = BOUNDS.iter().zip(&self.within).find(reaches).map_or(self.latest, |(bound, _)| *bound);
        half.min(self.latest)
    }

    fn judge(&self, beyond: u64, watched: Duration, retention: Duration) -> (Verdict, Option<Vec<Duration>>) {
        let Some(last) = self.ages.last().copied() else { return (Verdict::TooLittle, None) };
        if self.live + self.within_overlap + beyond < FEW {
            return (Verdict::TooLittle, None);
        }
        if let Some(suggested) = self.age_missing(beyond) {
            return (Verdict::AgeMissing, Some(suggested));
        }
        match self.found.last() {
            Some(1..) => (Verdict::LastAgeTooShort, self.longer(last, retention)),
            _ if watched < last => (Verdict::FitsSoFar, None),
            _ => (Verdict::Fits, None),
        }
    }

    /// Where half of them were found at an age long after the look before it: the usual ages between them are added.
    fn age_missing(&self, beyond: u64) -> Option<Vec<Duration>> {
        let (place, most) = self.found.iter().enumerate().skip(1).max_by_key(|(_, count)| **count)?;
        let age = self.ages[place - 1];
        let before = if place > 1 { self.ages[place - 2] } else { OVERLAP.end };
        let usual = Ages::default();
        let between: Vec<Duration> = usual.iter().filter(|own| before < *own && *own < age).collect();
        let helps = beyond >= FEW_LATE && most * 2 >= beyond && age > before * STEP && !between.is_empty();
        let ages: Vec<Duration> = Ages::of(between.into_iter().chain(self.ages.iter().copied())).iter().collect();
        (helps && ages.len() <= MOST).then_some(ages)
    }

    /// The last age twice as long, as far as the API keeps events; none where that leaves no room.
    fn longer(&self, last: Duration, retention: Duration) -> Option<Vec<Duration>> {
        let longest = LONGEST.min(retention.saturating_sub(DAY));
        let whole = |age: Duration| Duration::from_secs(age.as_secs() / MINUTE.as_secs() * MINUTE.as_secs());
        let longer = whole((last * 2).min(longest));
        let mut ages = self.ages.clone();
        // The last one still counts, and a longer one reads.
        if ages.len() == MOST {
            ages.pop();
        }
        ages.push(longer);
        (longer > last).then_some(ages)
    }
}
