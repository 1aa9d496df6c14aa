//! What of a gap can't be read for now: set aside, so that older time goes on, and tried again.

use std::ops::Range;
use std::time::Duration;

use super::Plan;
use crate::clock::Time;
use crate::ledger::Coverage;

/// When what was set aside is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(900);
/// Where so many parts of a gap can't be read, the rest is no longer halved.
pub(super) const MOST_GIVEN_UP: usize = 32;

/// Why a part of a gap is set aside for a quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aside {
    /// A millisecond that holds more than a page, and the API gives no usable cursor.
    Unpageable,
    /// Its answers are never whole, or no JSON.
    Unreadable,
    /// The API refuses to show it, while it shows other time.
    Refused,
}

impl Aside {
    /// A gap's reason, as the status says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Aside::Unpageable | Aside::Unreadable => "unpageable",
            Aside::Refused => "refused",
        }
    }
}

impl Plan {
    pub(super) fn halve(&mut self, range: Range<Time>, now: Time, why: Aside) {
        if self.given_up >= MOST_GIVEN_UP || !self.cuts.halve(range.clone()) {
            self.set_aside(range, now, why);
        }
    }

    /// Neighbours set aside for the same cause are one.
    pub(super) fn set_aside(&mut self, mut range: Range<Time>, now: Time, why: Aside) {
        self.aside.retain(|(other, _, cause)| {
            let joins = *cause == why && other.start <= range.end && range.start <= other.end;
            if joins {
                range = other.start.min(range.start)..other.end.max(range.end);
            }
            !joins
        });
        self.given_up += 1;
        self.aside.push((range, now + AGAIN, why));
    }

    /// What stays a gap for now, since it can't be read.
    pub fn unpageable(&self) -> Coverage {
        Coverage::of(self.aside.iter().map(|(range, ..)| range.clone()))
    }

    /// Why all of `gap` has been set aside; none where some of it is still to be read.
    pub fn aside(&self, gap: &Range<Time>) -> Option<Aside> {
        let touches = |range: &Range<Time>| range.start < gap.end && gap.start < range.end;
        let why = self.aside.iter().filter(|(range, ..)| touches(range)).map(|(.., why)| *why).max();
        why.filter(|_| self.unpageable().covers(gap))
    }
}
