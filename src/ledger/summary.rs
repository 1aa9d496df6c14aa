//! The standing in figures: up to where everything was counted and verified, and what is missing, unsettled or unprovable.

use std::time::Duration;

use crate::clock::Time;
use crate::ledger::standing::Mark;
use crate::ledger::{Ledger, coverage::Coverage};

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
        self.standing().parts(wanted, |mark| !mark.is_some_and(&holds)).first().map_or(read_until, |part| part.start)
    }

    /// Of `range`, what was verified.
    pub fn verified(&self, range: std::ops::Range<Time>) -> Coverage {
        Coverage::of(self.standing().parts(range, |mark| mark == Some(Mark::Verified)))
    }
}
