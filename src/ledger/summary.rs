//! The standing in figures: up to where everything was counted and verified, and what is missing, unsettled or unprovable.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::standing::Mark;
use crate::ledger::{Ledger, coverage::Coverage};

/// The API keeps events at least so long (insights-api §1.11), until it shows older ones.
pub const RETENTION: Duration = Duration::from_secs(15 * 86_400);

const DAY: Duration = Duration::from_secs(86_400);

/// What is known of the wanted time below the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Everything from the start to here was read, and counted or more; what is unprovable does not hold it back.
    pub counted_until: Option<Time>,
    /// Everything from the start to here was verified at its last age, or is unprovable.
    pub verified_until: Option<Time>,
    /// Events known to exist that were not delivered.
    pub missing: u64,
    /// Delivered events that the API shows no more.
    pub gone: u64,
    /// Delivered events that the API did not show when it was last asked; it is asked again.
    pub doubted: u64,
    /// Time whose count still differs.
    pub unsettled: Duration,
    /// Time that was read and of which the API can't tell any more whether that was all.
    pub unprovable: Duration,
    /// Time that was first read when the API had forgotten it.
    pub lost: Duration,
}

impl Ledger {
    /// The standing in figures.
    pub fn summary(&self) -> Summary {
        let Some(edge) = self.edge() else { return Summary::default() };
        let mut summary = Summary {
            counted_until: Some(self.holds_until(edge, |mark| !matches!(mark, Mark::Unsettled { .. }))),
            verified_until: Some(self.holds_until(edge, |mark| mark.is_final())),
            ..Summary::default()
        };
        for (range, mark) in self.standing().ranges() {
            let length = range.end.since(range.start);
            match mark {
                Mark::Unsettled { missing, .. } => {
                    summary.missing += missing;
                    summary.unsettled += length;
                }
                mark if *mark == Mark::LOST => summary.lost += length,
                Mark::Gone { events } => summary.gone += events,
                Mark::Doubted { unseen, .. } => summary.doubted += unseen,
                Mark::Unprovable => summary.unprovable += length,
                Mark::Counted { .. } | Mark::Verified => {}
            }
        }
        summary
    }

    /// The first instant since the start that was not read, or of whose mark `holds` does not.
    fn holds_until(&self, edge: Time, holds: impl Fn(Mark) -> bool) -> Time {
        let read_until = self.gaps().first().map_or(edge, |gap| gap.start);
        let wanted = self.start()..read_until;
        self.standing().parts(wanted, |mark| !mark.is_some_and(&holds)).next().map_or(read_until, |part| part.start)
    }

    /// How far back the API can be asked: as configured, else as far as is known.
    pub fn retention(&self, configured: Option<Duration>) -> Duration {
        configured.unwrap_or_else(|| RETENTION.max(self.oldest_shown()))
    }

    /// Until the API, which keeps events for `retention`, forgets the oldest wanted time that has not been read.
    pub fn retention_left(&self, retention: Duration, now: Time) -> Duration {
        let unread = self.gaps().first().map_or(self.edge(), |gap| Some(gap.start)).unwrap_or(now);
        retention.saturating_sub(now.since(unread))
    }

    /// What lies before this the API, which keeps events for `retention`, had forgotten before the stream's first run, or
    /// within the day that this may have taken.
    pub fn to_be_had(&self, retention: Duration) -> Time {
        self.first_run() - retention + DAY
    }

    /// Wanted time that has not been read and that the API, which keeps events for `retention`, has forgotten since the
    /// first run.
    pub fn past_retention(&self, retention: Duration, now: Time) -> Vec<Range<Time>> {
        let to_be_had = self.to_be_had(retention)..now - retention;
        let within = |gap: Range<Time>| gap.start.max(to_be_had.start)..gap.end.min(to_be_had.end);
        self.gaps().into_iter().map(within).filter(|gap| gap.start < gap.end).collect()
    }

    /// Of `range`, what was verified.
    pub fn verified(&self, range: Range<Time>) -> Coverage {
        Coverage::of(self.standing().parts(range, |mark| mark == Some(Mark::Verified)))
    }
}
