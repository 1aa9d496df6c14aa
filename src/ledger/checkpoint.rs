//! A checkpoint: the ledger's change since the last commit, in a form that stores can fold without understanding it.
//!
//! Every part is an absolute value or an addition to a set, so folding one twice changes nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::UNTIMED;
use crate::ledger::coverage::Coverage;
use crate::ledger::hindrances::Hindrances;
use crate::ledger::minutes::{Fingerprint, FingerprintKey, HourTotal};
use crate::ledger::standing::Standing;

/// Minutes since 1970.
pub type Minute = i64;
/// Hours since 1970; [`Hour::MIN`] is that of events without a readable timestamp.
pub type Hour = i64;

/// The hour that a minute is filed under.
pub fn hour_of(minute: Minute) -> Hour {
    if minute == UNTIMED { Hour::MIN } else { minute.div_euclid(60) }
}

/// An hour's minutes.
pub fn minutes_of(hour: Hour) -> Range<Minute> {
    if hour == Hour::MIN {
        UNTIMED..UNTIMED + 1
    } else {
        hour.saturating_mul(60)..hour.saturating_mul(60).saturating_add(60)
    }
}

/// The ledger's change since the last commit; folded together, the whole ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Absolute; never changes once the stream has been seen.
    pub key: FingerprintKey,
    /// Absolute: when the stream was first seen, by the server's clock.
    pub first_run: Time,
    /// Absolute: coverage is declared from here.
    pub start: Time,
    /// Absolute: the end of the newest time that a live poll read; none before the first.
    pub edge: Option<Time>,
    /// Absolute: the time ranges read.
    pub coverage: Coverage,
    /// Absolute: what is known of them beside that.
    pub standing: Standing,
    /// Absolute: the age of the oldest event that the API was ever seen to show; zero before the first.
    pub oldest_shown: Duration,
    /// Absolute: what hindered the reading of what is not read yet.
    pub hindrances: Hindrances,
    /// Additions: what was delivered, by the minute of the event's own timestamp.
    pub delivered: BTreeMap<Minute, Vec<Fingerprint>>,
    /// Absolute, hour by hour: those that changed.
    pub hours: BTreeMap<Hour, HourTotal>,
    /// Minutes whose fingerprints are no longer needed. Applied before `delivered`.
    pub forgotten: Vec<Range<Minute>>,
    /// Hours whose totals are no longer kept. Applied before `hours`.
    pub dropped: Vec<Hour>,
    /// Whole hours, for a store that asked for them: every fingerprint that the ledger has of each, those of
    /// `delivered` included, while `hours` holds the total of each that has one. It adds nothing to what the
    /// checkpoints so far fold into.
    pub whole: BTreeMap<Hour, BTreeMap<Minute, Vec<Fingerprint>>>,
}

impl Checkpoint {
    /// Folds a later checkpoint into this one.
    pub fn fold(&mut self, later: Checkpoint) {
        for range in &later.forgotten {
            self.delivered.retain(|minute, _| !range.contains(minute));
        }
        for (minute, fingerprints) in later.delivered {
            let all = self.delivered.entry(minute).or_default();
            all.extend(fingerprints);
            all.sort_unstable();
            all.dedup();
        }
        for hour in &later.dropped {
            self.hours.remove(hour);
        }
        self.hours.extend(later.hours);
        self.first_run = later.first_run;
        self.start = later.start;
        self.edge = later.edge;
        self.coverage = later.coverage;
        self.standing = later.standing;
        self.oldest_shown = later.oldest_shown;
        self.hindrances = later.hindrances;
        self.whole.clear();
    }

    /// Both as one change, where neither delivers anything.
    pub fn absorb_idle(&mut self, later: Checkpoint) {
        debug_assert!(
            self.delivered.is_empty() && later.delivered.is_empty(),
            "a checkpoint that delivers is no idle one"
        );
        self.first_run = later.first_run;
        self.start = later.start;
        self.edge = later.edge;
        self.coverage = later.coverage;
        self.standing = later.standing;
        self.oldest_shown = later.oldest_shown;
        self.hindrances = later.hindrances;
        for hour in &later.dropped {
            self.hours.remove(hour);
        }
        self.hours.extend(later.hours);
        self.dropped.extend(later.dropped);
        self.forgotten.extend(later.forgotten);
        self.whole.extend(later.whole);
    }
}
