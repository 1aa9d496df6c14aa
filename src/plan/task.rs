//! What verification still has to find out: a range and a question.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;

/// A range to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub range: Range<Time>,
    pub task: Task,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Is as much counted as was shown?
    Count { age: Duration },
    /// Too much for a page was counted, so which minutes differ?
    Locate { age: Duration, counted: u64 },
    /// So much was counted: does a read show it?
    Settle { age: Duration, counted: u64 },
    /// A read showed so many records and fewer than were counted: are they still counted?
    Recount { age: Duration, shown: u64 },
    /// The last age's read, after so many of them.
    Compare { tries: u8 },
    /// Nothing was shown, and then other time was: is still nothing shown? The same read once more.
    Witnessed { tries: u8 },
    /// A window first read after its last age showed so many records: is that what is counted?
    Confirm { shown: u64 },
    /// Does a range that ends with this event's millisecond include it?
    Probe,
    /// Nothing was shown from `from` to `to`, where `unseen` events had been delivered, which proves nothing while the API
    /// shows nothing at all: does it show an hour in which events were delivered?
    Witness { from: Time, to: Time, tries: u8, unseen: u64 },
}
