//! What has been read, delivered and verified: *coverage* (time ranges read), *minutes* (what was delivered, by the
//! minute of the event's own timestamp) and *standing* (what the API was heard to say of it since).
//!
//! A ledger belongs to one stream and is owned by that stream's task. Everything admitted is provisional until the
//! [`Checkpoint`] taken behind it is committed; after a failed commit the ledger is read again from the store, never
//! trusted in memory.
//!
//! # Invariants
//! Pure: no I/O, no clock, no `await`; it cannot fail. An event is new exactly once between two loads. Coverage never
//! grows but by [`Ledger::cover`]. A fingerprint is needed until its minute has a final mark: no read meets it after
//! that. It holds no personal data: fingerprints are keyed hashes.

pub mod checkpoint;
pub mod coverage;
pub mod hindrances;
pub mod minutes;
pub mod rebuild;
mod reopened;
pub mod standing;
mod summary;

pub use checkpoint::{Checkpoint, Hour, Minute, hour_of, minutes_of};
pub use coverage::{Coverage, length};
pub use hindrances::{Cause, Hindrances};
pub use minutes::{Digest, Fingerprint, FingerprintKey, HourTotal};
pub use rebuild::Rebuild;
pub use standing::{Mark, Standing};
pub use summary::{RETENTION, Summary};

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::event::Event;
use crate::record::Delivery;
use minutes::{Minutes, further};

/// An hour's total is kept so long: the API holds no event longer than 90 days, so nothing is left to compare it with.
pub const TOTALS_KEPT: Duration = Duration::from_secs(100 * 86_400);
/// So many totals one checkpoint drops at most.
const DROPPED_AT_ONCE: usize = 256;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Where events without a readable timestamp are filed; no read covers it, so it is never forgotten.
pub const UNTIMED: Minute = Minute::MIN;

/// What a ledger belongs to: an organization and a service (`all` by default).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// 24 hexadecimal digits.
    pub organization: String,
    pub service: String,
}

impl std::fmt::Display for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Both may have come from outside.
        write!(f, "{}/{}", self.organization.escape_debug(), self.service.escape_debug())
    }
}

/// What one stream has read and delivered.
#[derive(Debug, Clone)]
pub struct Ledger {
    key: FingerprintKey,
    first_run: Time,
    start: Time,
    edge: Option<Time>,
    coverage: Coverage,
    standing: Standing,
    oldest_shown: Duration,
    revision: u64,
    hindrances: Hindrances,
    /// What keeps the stream from reading now.
    hindered_by: Option<Cause>,
    minutes: Minutes,
    hours: BTreeMap<Hour, HourTotal>,
    change: Change,
    /// The minutes that the last checkpoint touched: packed when the next one leaves them alone.
    warm: BTreeSet<Minute>,
}

/// What happened since the last checkpoint.
#[derive(Debug, Clone, Default)]
struct Change {
    delivered: BTreeMap<Minute, Vec<Fingerprint>>,
    hours: BTreeSet<Hour>,
    forgotten: Vec<Range<Minute>>,
    dropped: Vec<Hour>,
    /// Coverage, standing, hindrances, edge or start moved.
    moved: bool,
}

/// Where an event is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub minute: Minute,
    hour: Hour,
    pub fingerprint: Fingerprint,
}

impl Ledger {
    /// The ledger of a stream that is seen for the first time, at `now`; coverage is declared from `start`.
    pub fn begin(key: FingerprintKey, now: Time, start: Time) -> Ledger {
        Ledger {
            key,
            first_run: now,
            start,
            edge: None,
            coverage: Coverage::default(),
            standing: Standing::default(),
            oldest_shown: Duration::ZERO,
            revision: 0,
            hindrances: Hindrances::default(),
            hindered_by: None,
            minutes: Minutes::default(),
            hours: BTreeMap::new(),
            change: Change { moved: true, ..Change::default() },
            warm: BTreeSet::new(),
        }
    }

    /// The ledger that the stored checkpoint describes.
    pub fn open(stored: Checkpoint) -> Ledger {
        let mut minutes = Minutes::default();
        for (minute, fingerprints) in stored.delivered {
            minutes.extend(minute, fingerprints);
            minutes.settle(minute);
        }
        Ledger {
            key: stored.key,
            first_run: stored.first_run,
            start: stored.start,
            edge: stored.edge,
            coverage: stored.coverage,
            standing: stored.standing,
            oldest_shown: stored.oldest_shown,
            revision: 0,
            hindrances: stored.hindrances,
            hindered_by: None,
            minutes,
            hours: stored.hours,
            change: Change::default(),
            warm: BTreeSet::new(),
        }
    }

    pub fn start(&self) -> Time {
        self.start
    }

    /// When the stream was first seen.
    pub fn first_run(&self) -> Time {
        self.first_run
    }

    /// The end of the newest time that a live poll read; none before the first.
    pub fn edge(&self) -> Option<Time> {
        self.edge
    }

    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What is known of the time that was read.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The age of the oldest event that the API was ever seen to show: it keeps events at least so long.
    pub fn oldest_shown(&self) -> Duration {
        self.oldest_shown
    }

    /// Another one whenever something changed of what had been read before, or lies before the edge.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn revised(&mut self) {
        self.revision += 1;
        self.change.moved = true;
    }

    /// Whether the API has ever shown anything of this stream.
    pub fn has_shown_any(&self) -> bool {
        !self.hours.is_empty()
    }

    /// Records that the API has shown of these minutes, repeats included, as long as their fingerprints are held.
    pub fn shown(&self, minutes: Range<Minute>) -> u64 {
        self.minutes.count(minutes)
    }

    /// What is held of these minutes, by minute, each ascending.
    pub fn held(&self, minutes: Range<Minute>) -> BTreeMap<Minute, Vec<Fingerprint>> {
        self.minutes.of(minutes)
    }

    /// The newest minute below `end` of which anything is held.
    pub fn newest_held(&self, end: Minute) -> Option<Minute> {
        self.minutes.newest_below(end).filter(|minute| *minute != UNTIMED)
    }

    /// Each hour's events and digest.
    pub fn hours(&self) -> &BTreeMap<Hour, HourTotal> {
        &self.hours
    }

    /// How many fingerprints are held in memory; 8 bytes each once quiet.
    pub fn fingerprints(&self) -> usize {
        self.minutes.len()
    }

    /// Wanted but not covered, ascending; what lies above the edge is not looked at.
    pub fn gaps(&self) -> Vec<Range<Time>> {
        self.edge.map_or_else(Vec::new, |edge| self.coverage.gaps(self.start..edge))
    }

    /// Moves the start to an earlier instant; a later one is not heard, since what was promised stays promised.
    pub fn move_start(&mut self, start: Time) {
        if start < self.start {
            self.start = start;
            self.revised();
        }
    }

    /// Where `event` is filed, whether the ledger has it or not.
    pub fn place(&self, event: &Event) -> Place {
        let (minute, hour) = filed(event.time());
        Place { minute, hour, fingerprint: self.key.fingerprint(&event.identity()) }
    }

    /// Takes an event in: how it is to be delivered, or none for a duplicate.
    ///
    /// `fresh` is how an event is delivered whose time had not been read before.
    pub fn admit(&mut self, event: &Event, fresh: Delivery) -> Option<Delivery> {
        self.admit_at(self.place(event), event, fresh)
    }

    /// As [`Self::admit`], of an event whose place is known.
    pub fn admit_at(&mut self, place: Place, event: &Event, fresh: Delivery) -> Option<Delivery> {
        let Place { minute, hour, fingerprint } = place;
        if !self.minutes.insert(minute, fingerprint) {
            return None;
        }
        self.change.delivered.entry(minute).or_default().push(fingerprint);
        self.change.hours.insert(hour);
        let delivery = match event.time() {
            Some(time) if self.coverage.contains(time) => Delivery::Late,
            Some(time) if time < self.first_run => Delivery::Backfill,
            _ => fresh,
        };
        let total = self.hours.entry(hour).or_default();
        total.add(event);
        total.late += u64::from(delivery == Delivery::Late);
        Some(delivery)
    }

    /// One read showed `further` records of an event more than the one that was delivered.
    pub fn saw_further(&mut self, minute: Minute, fingerprint: Fingerprint, records: u64) {
        for number in 1..=records {
            let fingerprint = further(fingerprint, number);
            if self.minutes.insert(minute, fingerprint) {
                self.change.delivered.entry(minute).or_default().push(fingerprint);
                let hour = hour_of(minute);
                self.hours.entry(hour).or_default().shown += 1;
                self.change.hours.insert(hour);
            }
        }
    }

    /// The API showed an event of that age.
    pub fn saw_age(&mut self, age: Duration) {
        // By whole hours: it only says how far back the API can be asked.
        if age >= self.oldest_shown + HOUR {
            self.oldest_shown = age;
            self.revised();
        }
    }

    /// Notes what is known of `range` from now on.
    pub fn mark(&mut self, range: Range<Time>, mark: Mark) {
        if self.standing.all(range.clone(), |own| own == Some(mark)) {
            return;
        }
        self.standing.set(range, mark);
        self.revised();
    }

    /// The newest hour within `range` of which events were delivered.
    pub fn newest_hour(&self, range: Range<Time>) -> Option<Range<Time>> {
        let hours = hour_of(minute_of(range.start)) + 1..hour_of(minute_of(range.end));
        let within = self.hours.range(hours.start..hours.end.max(hours.start));
        let (hour, _) = within.rev().find(|(_, total)| total.events > 0)?;
        let minutes = minutes_of(*hour);
        Some(instant(minutes.start)..instant(minutes.end))
    }

    /// Whether nothing is asked about `time` any more, so that no fingerprint of it may be left.
    pub fn is_settled(&self, time: Time) -> bool {
        self.standing.at(time).is_some_and(|mark| mark.is_final())
    }

    /// Whether [`Self::admit_head`] has had it.
    pub fn knows_head(&self, head: &[u8]) -> bool {
        self.minutes.contains(UNTIMED, self.key.fingerprint_of_head(head))
    }

    /// Takes in what stands for something that is no event to us, too large to hold or malformed: whether it is new.
    pub fn admit_head(&mut self, head: &[u8]) -> bool {
        let fingerprint = self.key.fingerprint_of_head(head);
        let new = self.minutes.insert(UNTIMED, fingerprint);
        if new {
            self.change.delivered.entry(UNTIMED).or_default().push(fingerprint);
        }
        new
    }

    /// All of `range` has been read, to the end, and everything in it admitted.
    pub fn cover(&mut self, range: Range<Time>) {
        if self.coverage.covers(&range) {
            return;
        }
        let edge = self.edge.unwrap_or(Time::MAX);
        if !self.coverage.covers(&(range.start..range.end.min(edge))) {
            self.revised();
        }
        self.coverage.add(range);
        self.change.moved = true;
    }

    /// A live poll has read up to `edge`; the edge never goes back by this.
    pub fn advance_edge(&mut self, edge: Time) {
        if self.edge.is_none_or(|own| own < edge) {
            self.edge = Some(edge);
            self.change.moved = true;
        }
    }

    /// Up to where reading has left a trace by `now`: the newest minute that holds a delivered event, else the end of
    /// the newest hour that held any, else the start.
    pub fn last_trace(&self, now: Time) -> Time {
        let minute =
            self.minutes.below(minute_of(now).saturating_add(1)).next_back().filter(|minute| *minute != UNTIMED);
        let hour = || {
            let (hour, _) = self.hours.range(..=filed(Some(now)).1).next_back()?;
            (*hour != Hour::MIN).then(|| Time::from_secs(hour.saturating_add(1).saturating_mul(3_600)).min(now))
        };
        minute.map(instant).or_else(hour).unwrap_or(self.start).max(self.start)
    }

    /// Lets go of the fingerprints that no read will meet again: those of minutes before `limit` that are settled.
    /// `now` is a time that has surely passed.
    pub fn forget_settled(&mut self, limit: Time, now: Time) {
        let settled: Vec<Minute> = self
            .minutes
            .below(minute_of(limit))
            .filter(|minute| *minute != UNTIMED)
            .filter(|minute| {
                let range = instant(*minute).max(self.start)..instant(*minute + 1);
                self.standing.all(range, |mark| !Mark::is_open(mark))
            })
            .collect();
        for minute in settled {
            self.minutes.forget(minute..minute + 1);
            // Stored before this checkpoint, or never if it was delivered within it.
            self.change.delivered.remove(&minute);
            match self.change.forgotten.last_mut() {
                Some(last) if last.end == minute => last.end = minute + 1,
                _ => self.change.forgotten.push(minute..minute + 1),
            }
        }
        self.drop_old_totals(now);
    }

    /// The newest total stays, however old: it says up to where there was anything.
    fn drop_old_totals(&mut self, now: Time) {
        let Some(newest) = self.hours.last_key_value().map(|(hour, _)| *hour) else { return };
        let limit = filed(Some(now - TOTALS_KEPT)).1.min(newest);
        let is_settled = |hour: &Hour| {
            self.minutes.below(minutes_of(*hour).end).next_back().is_none_or(|minute| minute < minutes_of(*hour).start)
        };
        let old: Vec<Hour> = self
            .hours
            .range(Hour::MIN + 1..limit.max(Hour::MIN + 1))
            .map(|(hour, _)| *hour)
            .filter(is_settled)
            .take(DROPPED_AT_ONCE)
            .collect();
        for hour in old {
            self.hours.remove(&hour);
            self.change.hours.remove(&hour);
            self.change.dropped.push(hour);
        }
    }

    /// Whether a checkpoint would hold events, and not only a moved edge.
    pub fn has_admitted(&self) -> bool {
        !self.change.delivered.is_empty() || !self.change.hours.is_empty()
    }

    /// Whether a checkpoint would say anything.
    pub fn has_changed(&self) -> bool {
        self.has_admitted() || self.change.moved || !self.change.forgotten.is_empty() || !self.change.dropped.is_empty()
    }

    /// The change since the last checkpoint.
    pub fn checkpoint(&mut self) -> Checkpoint {
        self.checkpoint_with(&[])
    }

    /// The change since the last checkpoint, and all there is of the `whole` hours.
    pub fn checkpoint_with(&mut self, whole: &[Hour]) -> Checkpoint {
        self.forget_hindrances();
        let change = mem::take(&mut self.change);
        let touched: BTreeSet<Minute> = change.delivered.keys().copied().collect();
        for minute in self.warm.difference(&touched) {
            self.minutes.settle(*minute);
        }
        self.warm = touched;
        let hours = change.hours.iter().chain(whole);
        Checkpoint {
            key: self.key,
            first_run: self.first_run,
            start: self.start,
            edge: self.edge,
            coverage: self.coverage.clone(),
            standing: self.standing.clone(),
            oldest_shown: self.oldest_shown,
            hindrances: self.hindrances.clone(),
            delivered: change.delivered,
            hours: hours.filter_map(|hour| Some((*hour, *self.hours.get(hour)?))).collect(),
            forgotten: change.forgotten,
            dropped: change.dropped,
            whole: whole.iter().map(|hour| (*hour, self.minutes.of(minutes_of(*hour)))).collect(),
        }
    }
}

fn filed(time: Option<Time>) -> (Minute, Hour) {
    time.map_or((UNTIMED, Hour::MIN), |time| (minute_of(time), time.as_nanos().div_euclid(HOUR.as_nanos() as i64)))
}

/// The minute that `time` lies in.
pub fn minute_of(time: Time) -> Minute {
    time.as_nanos().div_euclid(MINUTE.as_nanos() as i64)
}

/// A minute's first instant.
pub fn instant(minute: Minute) -> Time {
    Time::from_nanos(minute.saturating_mul(MINUTE.as_nanos() as i64))
}
