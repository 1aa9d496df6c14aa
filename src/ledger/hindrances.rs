//! What hindered the reading, and when, so that a gap that came of it can say why it came to be.
//!
//! # Invariants
//! Pure, and told to people only: nothing that is read or delivered depends on it. Its size is bounded.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::ledger::Ledger;

/// So many spells are remembered, the newest.
pub const KEPT: usize = 64;
/// What is over so soon makes no gap.
const SHORT: Duration = Duration::from_secs(1);
/// Two spells of one cause are one where so little lies between them.
const NEAR: Duration = Duration::from_secs(60);

/// Why time went by without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It lies before the stream's first run.
    Backfill,
    KeyRefused,
    /// The API limited the account's rate.
    Throttled,
    /// The API refused the requests: no licence, no such path.
    RequestsRefused,
    /// The API was out of reach, or its answers were not whole.
    ApiFailing,
    SinkBlocked,
    /// No process ran, or none came to store why.
    #[default]
    NotRunningOrUnknown,
}

impl Cause {
    pub fn words(self) -> &'static str {
        match self {
            Cause::Backfill => "before the first run",
            Cause::KeyRefused => "the key was refused",
            Cause::Throttled => "the API limited our rate",
            Cause::RequestsRefused => "the API refused our requests",
            Cause::ApiFailing => "the API failed or was out of reach",
            Cause::SinkBlocked => "a sink was blocked",
            Cause::NotRunningOrUnknown => "not running or unknown",
        }
    }
}

/// The spells in which a stream could not read, by the server's clock, in the order in which they began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hindrances {
    spells: Vec<(Range<Time>, Cause)>,
}

impl Hindrances {
    /// The newest [`KEPT`] of them.
    pub fn of(spells: impl IntoIterator<Item = (Range<Time>, Cause)>) -> Hindrances {
        let mut hindrances = Hindrances { spells: spells.into_iter().collect() };
        hindrances.bound();
        hindrances
    }

    pub fn spells(&self) -> &[(Range<Time>, Cause)] {
        &self.spells
    }

    /// The cause of which at least half of `gap` is.
    fn cause(&self, gap: &Range<Time>) -> Option<Cause> {
        let mut hindered = BTreeMap::<Cause, Duration>::new();
        for (spell, cause) in &self.spells {
            let (from, to) = (spell.start.max(gap.start), spell.end.min(gap.end));
            *hindered.entry(*cause).or_default() += to.since(from);
        }
        let half = gap.end.since(gap.start) / 2;
        let most = hindered.into_iter().max_by_key(|(_, length)| *length);
        most.filter(|(_, length)| *length >= half).map(|(cause, _)| cause)
    }

    fn begin(&mut self, now: Time, cause: Cause) {
        // What began later did so by a clock that was ahead.
        self.spells.retain(|(spell, _)| spell.start <= now);
        self.spells.push((now..now, cause));
        self.bound();
    }

    /// The newest one has lasted until now.
    fn last_until(&mut self, now: Time) {
        if let Some((last, _)) = self.spells.last_mut() {
            last.end = last.end.max(now);
        }
    }

    /// The newest one is over: it goes where it was short, and into the one before where that was near and of one cause.
    fn end(&mut self) {
        let Some((last, cause)) = self.spells.pop() else { return };
        if last.end.since(last.start) < SHORT {
            return;
        }
        match self.spells.last_mut() {
            Some((before, own)) if *own == cause && last.start <= before.end + NEAR => {
                before.end = before.end.max(last.end);
            }
            _ => self.spells.push((last, cause)),
        }
    }

    fn bound(&mut self) {
        let over = self.spells.len().saturating_sub(KEPT);
        self.spells.drain(..over);
    }
}

impl Ledger {
    /// Nothing has been read since `now` at the latest.
    pub fn hindered(&mut self, cause: Cause, now: Time) {
        // Before the API's time was known there was none to speak of.
        if now == Time::default() {
            return;
        }
        if self.hindered_by == Some(cause) {
            self.hindrances.last_until(now);
        } else {
            self.healed(now);
            self.hindrances.begin(now, cause);
            self.hindered_by = Some(cause);
        }
        self.change.moved = true;
    }

    /// Something was read.
    pub fn healed(&mut self, now: Time) {
        if self.hindered_by.take().is_some() {
            self.hindrances.last_until(now);
            self.hindrances.end();
            self.change.moved = true;
        }
    }

    /// What hinders the reading, if anything does, does so until now.
    pub fn still_hindered(&mut self, now: Time) {
        if let Some(cause) = self.hindered_by {
            self.hindered(cause, now);
        }
    }

    /// Nothing was read for that long; then whatever hindered the reading before does so again.
    pub fn was_hindered(&mut self, cause: Cause, spell: Range<Time>) {
        let before = self.hindered_by;
        if spell.end.since(spell.start) >= SHORT {
            self.hindered(cause, spell.start);
            self.healed(spell.end);
            before.into_iter().for_each(|before| self.hindered(before, spell.end));
        }
    }

    /// What hindered the reading, as far as it matters to a gap that there is or that the next read may leave.
    pub fn hindrances(&self) -> &Hindrances {
        &self.hindrances
    }

    /// Why most of `gap` was not read.
    pub fn cause(&self, gap: &Range<Time>) -> Cause {
        if gap.end <= self.first_run {
            return Cause::Backfill;
        }
        self.hindrances.cause(gap).unwrap_or_default()
    }

    /// Of time that has been read nobody asks why it was not.
    pub(super) fn forget_hindrances(&mut self) {
        if self.hindered_by.is_some() || self.hindrances.spells.is_empty() {
            return;
        }
        let (gaps, edge) = (self.gaps(), self.edge);
        let matters = |spell: &Range<Time>| {
            edge.is_none_or(|edge| spell.end >= edge)
                || gaps.iter().any(|gap| gap.start < spell.end && spell.start < gap.end)
        };
        self.hindrances.spells.retain(|(spell, _)| matters(spell));
    }
}
