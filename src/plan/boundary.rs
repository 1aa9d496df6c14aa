//! Whether the API includes the end of a query, which its documents don't say: learned from the first event that decides it.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;

const MILLISECOND: Duration = Duration::from_millis(1);
/// An event this old is on every replica.
const EVERYWHERE: Duration = Duration::from_secs(300);

/// What is known of a query's end.
#[derive(Debug, Default)]
pub struct Boundary {
    end: Option<End>,
    /// An event's time, with nothing in the millisecond before it.
    apart: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exclusive,
    Inclusive,
}

impl Boundary {
    /// A read in ascending order showed an event at `time` next after one at `last`.
    pub fn saw(&mut self, last: Time, time: Time) {
        let apart = last < time - MILLISECOND * 2 && time.floor(MILLISECOND) == time;
        if self.end.is_none() && self.apart.is_none() && apart {
            self.apart = Some(time);
        }
    }

    /// A read showed an event in the millisecond that it was to end at.
    pub fn saw_end(&mut self) {
        self.end = Some(End::Inclusive);
    }

    /// The range to ask for, so that what is answered is of `range` without its end.
    pub fn bounded(&self, range: Range<Time>) -> Range<Time> {
        match self.end {
            Some(End::Inclusive) => range.start..(range.end - MILLISECOND).max(range.start + MILLISECOND),
            _ => range,
        }
    }

    /// The range whose count decides it; none where it is known, or no event can decide it.
    pub fn probe(&self, now: Time) -> Option<Range<Time>> {
        let time = self.apart.filter(|time| self.end.is_none() && *time <= now - EVERYWHERE)?;
        Some(time - MILLISECOND..time)
    }

    /// How many events [`Self::probe`] holds: the one at its end, or none.
    pub fn probed(&mut self, counted: u64) {
        self.end = Some(if counted == 0 { End::Exclusive } else { End::Inclusive });
    }
}
