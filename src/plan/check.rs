//! The plan's requests for verification: [`verify`](super::verify) says what, this reads it.

use super::read::{PageEnd, Read, Reading, Standing};
use super::verify::Step;
use super::{Ask, Asked, Plan, Unit};
use crate::clock::Time;
use crate::ledger::Ledger;

/// After so many failures in a row the read under way is put off.
const TRIES: u32 = 5;

/// How a request of verification failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckFailure {
    /// It may pass by itself.
    Passing,
    /// An answer came and was not what it should be.
    Garbled,
    /// The API refuses this very request, while it answers others.
    Refused,
}

impl Plan {
    pub(super) fn next_check(&mut self, ledger: &mut Ledger, now: Time) -> Option<Ask> {
        if self.is_in_the_air(Asked::Check) {
            return None;
        }
        if self.reads.check.is_none() || self.verify.is_resting(now) {
            match self.verify.next(ledger, now)? {
                Step::Count(range) => {
                    self.asked = Asked::Check;
                    return Some(Ask::Count { range });
                }
                Step::Minutes(range) => {
                    self.asked = Asked::Check;
                    return Some(Ask::Interval { range, unit: Unit::Minute });
                }
                Step::Read { range, reading } => {
                    self.reads.check = Some(Read::new(reading, range.start, Some(range.end)))
                }
            }
        }
        self.asked = Asked::Check;
        let read = self.reads.check.as_mut()?;
        Some(Ask::Page(read.ask(self.settings.page_size)))
    }

    /// The answer to [`Ask::Count`].
    pub fn count_read(&mut self, ledger: &mut Ledger, events: u64, now: Time) {
        self.verify.counted(ledger, events, now);
    }

    pub(super) fn check_read(&mut self, ledger: &mut Ledger, end: PageEnd, now: Time) {
        let Some(mut read) = self.reads.check.take() else { return };
        read.tell(ledger, end.sent_at);
        let standing = read.page_read(end);
        let mut conclude = |read: &mut Read, to: Time| {
            let range = read.from..to;
            let shown = read.shown(&range, ledger);
            self.verify.range_read(ledger, range, shown, now);
        };
        match standing {
            Standing::Goes => {
                if let Some(minute) = read.long_behind().filter(|_| read.reading == Reading::Compare) {
                    conclude(&mut read, minute);
                    read.begin_at(minute);
                }
                self.reads.check = Some(read);
            }
            Standing::Ended => {
                let to = read.range(now).end;
                conclude(&mut read, to);
                self.verify.read_ended();
            }
            Standing::Unpageable => self.verify.unreadable(ledger, read.range(now), now),
        }
    }

    /// A request of verification failed.
    pub fn check_failed(&mut self, ledger: &mut Ledger, now: Time, failure: CheckFailure) {
        self.verify.failed(now);
        if failure != CheckFailure::Refused && self.verify.failures() < TRIES {
            return;
        }
        match self.reads.check.take() {
            None => self.verify.clear(),
            Some(read) if failure == CheckFailure::Passing => self.verify.put_off(ledger, read.range(now), now),
            Some(read) => self.verify.unreadable(ledger, read.range(now), now),
        }
    }

    /// Verification's failures in a row.
    pub fn check_failures(&self) -> u32 {
        self.verify.failures()
    }

    pub(super) fn give_up_check(&mut self) {
        self.in_the_air.retain(|_, asked| *asked != Asked::Check);
        self.reads.check = None;
        self.verify.clear();
    }

    /// How far back the API can be asked, as far as is known.
    pub fn retention(&self, ledger: &Ledger) -> std::time::Duration {
        self.verify.retention(ledger)
    }

    /// Whether the request asked last is verification's.
    pub fn is_checking(&self) -> bool {
        self.asked == Asked::Check
    }

    /// Whether nothing is compared for now, after a failure.
    pub fn rests(&self, now: Time) -> bool {
        self.verify.is_resting(now)
    }

    /// Whether nothing is left to be compared with the API that is due by now.
    pub fn has_settled(&self, ledger: &Ledger, now: Time) -> bool {
        !self.verify.owes(ledger, now)
    }
}
