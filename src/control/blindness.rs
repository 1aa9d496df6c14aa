//! Whether a stream is blind, and from when to when: shown the stream again and again, it says what changed.
//!
//! A stream is *blind* from its edge on once the edge lies further behind than the threshold. It sees again when the
//! edge is near once more, and is no longer blind when all between has been delivered too: a gap is closed once.
//!
//! # Invariants
//! Pure: no I/O, no clock, no `await`. Openings and closings alternate. What is blind is within the one closing that
//! follows, and nothing opens on a stream whose edge is never further behind than the threshold.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::{Coverage, Ledger, Mark};

/// Why a stream is blind, or what is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody ran the stream.
    Down,
    KeyRefused,
    Unlicensed,
    /// Refused otherwise: an unknown path or service, a redirect.
    RequestsRefused,
    Throttled,
    /// What was read is not acknowledged.
    SinkBlocked,
    ApiUnreachable,
    ApiFailing,
    /// A fault that waits for a person has ended the stream.
    Stopped,
    /// None of these: requests that take too long, a machine that stood still.
    Behind,
    /// The API no longer keeps it.
    Retention,
}

impl Reason {
    /// As a record says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Down => "down",
            Reason::KeyRefused => "key_refused",
            Reason::Unlicensed => "unlicensed",
            Reason::RequestsRefused => "requests_refused",
            Reason::Throttled => "throttled",
            Reason::SinkBlocked => "sink_blocked",
            Reason::ApiUnreachable => "api_unreachable",
            Reason::ApiFailing => "api_failing",
            Reason::Stopped => "stopped",
            Reason::Behind => "behind",
            Reason::Retention => "retention",
        }
    }
}

/// How far a stream has come, as far as it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Of a stream that was never polled, when it was first seen.
    pub edge: Time,
    /// Wanted and not read since the stream was first seen, ascending: what lies before is no news to miss.
    pub gaps: Vec<Range<Time>>,
}

impl Reach {
    /// Of a ledger that holds nothing uncommitted, or will be committed next.
    pub fn of(ledger: &Ledger) -> Reach {
        let first = ledger.first_run();
        let since = |gap: Range<Time>| Some(gap.start.max(first)..gap.end).filter(|gap| gap.start < gap.end);
        Reach { edge: ledger.edge().unwrap_or(first), gaps: ledger.gaps().into_iter().filter_map(since).collect() }
    }
}

/// What a look found to have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Opened { from: Time, reason: Reason },
    Closed { range: Range<Time>, reason: Reason },
}

/// One stream's.
#[derive(Debug)]
pub struct Blindness {
    settings: Settings,
    first_run: Time,
    /// The edge at the last look.
    edge: Option<Time>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How far the edge may lie behind.
    pub threshold: Duration,
    /// How much earlier than the edge the gap begins that is read after it.
    pub overlap: Duration,
}

#[derive(Debug)]
struct Open {
    from: Time,
    reason: Reason,
    /// Whether the edge was near at the last look.
    sees: bool,
    /// The first edge with which it saw again; none before.
    to: Option<Time>,
}

impl Blindness {
    pub fn new(settings: Settings, first_run: Time) -> Blindness {
        Blindness { settings, first_run, edge: None, open: None }
    }

    /// Whether a gap is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Looks at the stream at the server's time `now`; `trouble` is what it waits for. To be asked until nothing has
    /// changed: one gap may end where another begins.
    pub fn look(&mut self, now: Time, reach: &Reach, trouble: Option<Reason>) -> Option<Change> {
        let last = self.edge.replace(reach.edge);
        let is_blind = now.since(reach.edge) > self.settings.threshold;
        let has_jumped = last.is_some_and(|last| reach.edge.since(last) > self.settings.threshold);
        let Some(open) = &mut self.open else {
            let (from, reason, sees_again) = self.opens(last, reach, is_blind, trouble)?;
            self.open = Some(Open { from, reason, sees: !is_blind, to: sees_again.then_some(reach.edge) });
            return Some(Change::Opened { from, reason });
        };
        // A second absence that is over before the first is read is part of it.
        if !is_blind && (!open.sees || has_jumped) {
            open.to = Some(reach.edge);
        }
        open.sees = !is_blind;
        let range = open.from..open.to?;
        let is_unread = reach.gaps.iter().any(|gap| gap.start < range.end && range.start < gap.end);
        // Where a wrong clock was found out the edge may have been set back.
        if is_unread || range.is_empty() || reach.edge < range.end {
            return None;
        }
        let reason = open.reason;
        self.open = None;
        Some(Change::Closed { range, reason })
    }

    /// Since when it is blind, why, and whether the edge is one with which it sees again.
    fn opens(
        &self,
        last: Option<Time>,
        reach: &Reach,
        is_blind: bool,
        trouble: Option<Reason>,
    ) -> Option<(Time, Reason, bool)> {
        let trouble = trouble.unwrap_or(Reason::Behind);
        let Some(last) = last else {
            // What an earlier life left unread is still open.
            let unread = reach.gaps.iter().map(|gap| self.was_edge(gap)..gap.end).find(|gap| !gap.is_empty());
            let down = |from, sees_again| (from, Reason::Down, sees_again);
            return unread.map(|gap| down(gap.start, true)).or(is_blind.then(|| down(reach.edge, false)));
        };
        // Nobody looked meanwhile.
        let has_jumped = reach.edge.since(last) > self.settings.threshold;
        match is_blind {
            true => Some((reach.edge, trouble, false)),
            false => has_jumped.then_some((last, trouble, true)),
        }
    }

    /// The edge that a gap was left behind by.
    fn was_edge(&self, gap: &Range<Time>) -> Time {
        if gap.start <= self.first_run { gap.start } else { gap.start + self.settings.overlap }
    }
}

/// The time that is known to be lost.
#[derive(Debug, Default)]
pub struct Losses(Coverage);

impl Losses {
    /// What an earlier process has told.
    pub fn of(ledger: &Ledger) -> Losses {
        Losses(Coverage::of(lost(ledger)))
    }

    /// What was not known to be lost the last time.
    pub fn news(&mut self, ledger: &Ledger) -> Vec<Range<Time>> {
        let lost = lost(ledger);
        let news = lost.iter().flat_map(|range| self.0.gaps(range.clone())).collect();
        self.0 = Coverage::of(lost);
        news
    }
}

fn lost(ledger: &Ledger) -> Vec<Range<Time>> {
    ledger.standing().parts(Time::MIN..Time::MAX, |mark| mark == Some(Mark::LOST)).collect()
}
