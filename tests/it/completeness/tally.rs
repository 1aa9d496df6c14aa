//! What the runs of all seeds came to.

use std::ops::AddAssign;

/// What all runs did, so that a simulation in which nothing happened fails.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub runs: u64,
    pub events: u64,
    pub requests: u64,
    pub polls: u64,
    pub counts: u64,
    /// Read to be compared.
    pub compared_pages: u64,
    pub crashes: u64,
    pub outages: u64,
    pub failures: u64,
    /// Delivered although their time had been read before.
    pub late: u64,
    pub lapses: u64,
    pub lies: u64,
    pub removed: u64,
    pub verified_days: u64,
    pub unsettled: u64,
    pub doubted: u64,
    pub gone: u64,
    pub unprovable: u64,
    pub lost: u64,
    pub starts_moved: u64,
    /// Answers taken in while others were in the air.
    pub overtaken: u64,
    /// Accounts with more than one organization.
    pub accounts_shared: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.runs += other.runs;
        self.events += other.events;
        self.requests += other.requests;
        self.polls += other.polls;
        self.counts += other.counts;
        self.compared_pages += other.compared_pages;
        self.crashes += other.crashes;
        self.outages += other.outages;
        self.failures += other.failures;
        self.late += other.late;
        self.lapses += other.lapses;
        self.lies += other.lies;
        self.removed += other.removed;
        self.verified_days += other.verified_days;
        self.unsettled += other.unsettled;
        self.doubted += other.doubted;
        self.gone += other.gone;
        self.unprovable += other.unprovable;
        self.lost += other.lost;
        self.starts_moved += other.starts_moved;
        self.overtaken += other.overtaken;
        self.accounts_shared += other.accounts_shared;
    }
}

impl Tally {
    pub fn assert_it_bit(&self) {
        let Tally { crashes, outages, failures, late, lapses, lies, removed, verified_days, .. } = *self;
        let Tally { unsettled, doubted, gone, unprovable, lost, starts_moved, overtaken, accounts_shared, .. } = *self;
        let all = [crashes, outages, failures, late, lapses, lies, removed, verified_days];
        let marks = [unsettled, doubted, gone, unprovable, lost, starts_moved, overtaken, accounts_shared];
        assert!(all.iter().chain(&marks).all(|count| *count > 0), "some fault never happened: {self:?}");
    }
}
