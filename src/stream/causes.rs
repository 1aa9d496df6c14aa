//! Why time went by unread: what hindered a stream, and when. So a gap that comes of it can say so.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::control::blindness::Reason;
use crate::source::{Class, Error as SourceError, Phase};
use crate::telemetry::status::Cause;

/// So many spells are remembered, the newest.
const KEPT: usize = 64;
/// What is over so soon makes no gap.
const SHORT: Duration = Duration::from_secs(1);
/// Two spells of one cause are one where so little lies between them.
const NEAR: Duration = Duration::from_secs(60);

/// The spells in which a stream could not read, by the server's clock.
#[derive(Debug, Default)]
pub struct Causes {
    spells: VecDeque<(Range<Time>, Cause)>,
    under_way: Option<(Time, Cause)>,
}

impl Causes {
    /// Requests have failed since `now` at the latest.
    pub fn met(&mut self, error: &SourceError, now: Time) {
        self.hindered(cause(reason(error)), now);
    }

    /// Nothing has been read since `now` at the latest.
    pub fn hindered(&mut self, cause: Cause, now: Time) {
        if self.under_way.is_none_or(|(_, own)| own != cause) {
            self.healed(now);
            self.under_way = Some((now, cause));
        }
    }

    /// A request succeeded.
    pub fn healed(&mut self, now: Time) {
        if let Some((since, cause)) = self.under_way.take() {
            self.note(since..now, cause);
        }
    }

    /// A sink was waited for.
    pub fn waited(&mut self, spell: Range<Time>) {
        self.note(spell, Cause::SinkBlocked);
    }

    /// Why most of `gap` was not read.
    pub fn of(&self, gap: &Range<Time>, first_run: Time) -> Cause {
        if gap.end <= first_run {
            return Cause::Backfill;
        }
        let under_way = self.under_way.map(|(since, cause)| (since..Time::MAX, cause));
        let mut hindered = BTreeMap::<Cause, Duration>::new();
        for (spell, cause) in self.spells.iter().cloned().chain(under_way) {
            let (from, to) = (spell.start.max(gap.start), spell.end.min(gap.end));
            *hindered.entry(cause).or_default() += to.since(from);
        }
        let most = hindered.into_iter().max_by_key(|(_, length)| *length);
        let half = gap.end.since(gap.start) / 2;
        most.filter(|(_, length)| *length >= half).map_or(Cause::NotRunningOrUnknown, |(cause, _)| cause)
    }

    fn note(&mut self, spell: Range<Time>, cause: Cause) {
        // Before the API's time was known there was none to speak of.
        if spell.end.since(spell.start) < SHORT || spell.start == Time::default() {
            return;
        }
        if let Some((last, own)) = self.spells.back_mut()
            && *own == cause
            && spell.start <= last.end + NEAR
        {
            last.end = last.end.max(spell.end);
            return;
        }
        self.spells.push_back((spell, cause));
        if self.spells.len() > KEPT {
            self.spells.pop_front();
        }
    }
}

/// What an error keeps a stream from reading by.
pub fn reason(error: &SourceError) -> Reason {
    match (error, error.class()) {
        (SourceError::RateLimited { .. }, _) => Reason::Throttled,
        (SourceError::Unlicensed { .. }, _) => Reason::Unlicensed,
        (_, Class::Credential) => Reason::KeyRefused,
        (_, Class::Refused) => Reason::RequestsRefused,
        (SourceError::Unreachable { .. } | SourceError::Tls { .. }, _)
        | (SourceError::Timeout { phase: Phase::Connect | Phase::Answer, .. }, _) => Reason::ApiUnreachable,
        _ => Reason::ApiFailing,
    }
}

/// A gap's cause, in fewer words than a control record has.
fn cause(reason: Reason) -> Cause {
    match reason {
        Reason::KeyRefused => Cause::KeyRefused,
        Reason::Throttled => Cause::Throttled,
        Reason::Unlicensed | Reason::RequestsRefused => Cause::RequestsRefused,
        Reason::SinkBlocked => Cause::SinkBlocked,
        Reason::ApiUnreachable | Reason::ApiFailing => Cause::ApiFailing,
        Reason::Down | Reason::Stopped | Reason::Behind | Reason::Retention => Cause::NotRunningOrUnknown,
    }
}
