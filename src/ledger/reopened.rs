//! Time that was read or looked at, and is to be again.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::{Coverage, Hour, Ledger, Mark, filed, hour_of, instant, minute_of, minutes_of};

impl Ledger {
    /// What held nothing and could not be proven to is looked at again.
    pub fn look_again(&mut self, range: Range<Time>) {
        let mut empty = Coverage::of([range.clone()]);
        for (hour, _) in self.hours.range(hour_of(minute_of(range.start))..=hour_of(minute_of(range.end))) {
            let minutes = minutes_of(*hour);
            empty.remove(instant(minutes.start)..instant(minutes.end));
        }
        for part in empty.ranges() {
            self.standing.clear(part.clone());
            self.revised();
        }
    }

    /// What was read from `from` on has to be read again, since late events of that time may have come.
    ///
    /// Settled time stays: its fingerprints are gone, so what it holds would be taken for new.
    pub fn reopen(&mut self, from: Time) {
        self.reopen_range(from..Time::MAX);
    }

    /// As [`Self::reopen`], of a range.
    pub fn reopen_range(&mut self, range: Range<Time>) {
        let open: Vec<_> = self.standing.parts(range, Mark::is_open).collect();
        for part in open {
            self.coverage.remove(part.clone());
            self.standing.clear(part);
        }
        self.revised();
    }

    /// After the first event of an hour, at `time`: that the time before it is empty proves nothing where it is longer
    /// than `least`, so back to the last event it is to be read again. Gives what of that had been read.
    pub fn reopen_silence(&mut self, time: Time, least: Duration) -> Vec<Range<Time>> {
        if self.hours.get(&filed(Some(time)).1).is_some_and(|total| total.events > 1) {
            return Vec::new();
        }
        let silence = self.last_event_before(time).max(self.start)..instant(minute_of(time));
        let reopens = silence.start < silence.end && silence.end.since(silence.start) > least;
        let read: Vec<_> = self.coverage.within(silence.clone()).collect();
        if !reopens || read.is_empty() {
            return Vec::new();
        }
        self.coverage.remove(silence.clone());
        self.standing.clear(silence);
        self.revised();
        read
    }

    /// The end of the newest minute before that of `time` that may hold an event, where its hour has no other.
    pub fn last_event_before(&self, time: Time) -> Time {
        let end = minute_of(time);
        let held = self.newest_held(end).map_or(Time::MIN, |minute| instant(minute + 1));
        let Some((hour, _)) = self.hours.range(Hour::MIN + 1..hour_of(end)).next_back() else { return held };
        let hour_end = instant(minutes_of(*hour).end);
        // Of settled minutes only their hour's total is left, which does not say when in it.
        let is_settled = |mark: Option<Mark>| !Mark::is_open(mark);
        let known =
            held >= instant(minutes_of(*hour).start) && !self.standing.any(held..hour_end.max(held), is_settled);
        if known { held } else { held.max(hour_end) }
    }

    /// The server's clock turned out to be behind: nothing from `now` on can have been read.
    pub fn cut_back(&mut self, now: Time) {
        self.coverage.cut_back(now);
        self.standing.clear(now..Time::MAX);
        self.edge = self.edge.map(|edge| edge.min(now));
        self.revised();
    }
}
