//! What the runs of all seeds came to.

use std::ops::AddAssign;

/// What all runs did, so that a simulation in which nothing happened fails.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub runs: u64,
    pub events: u64,
    pub requests: u64,
    pub crashes: u64,
    pub aborts: u64,
    pub repeats: u64,
    pub late: u64,
    pub clock_resets: u64,
    pub restarts_behind: u64,
    /// Lives begun while every `Date` was days off.
    pub misled: u64,
    /// Answers taken in while others were in the air.
    pub overtaken: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.runs += other.runs;
        self.events += other.events;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.aborts += other.aborts;
        self.repeats += other.repeats;
        self.late += other.late;
        self.clock_resets += other.clock_resets;
        self.restarts_behind += other.restarts_behind;
        self.misled += other.misled;
        self.overtaken += other.overtaken;
    }
}

impl Tally {
    pub fn assert_it_bit(&self) {
        let Tally { crashes, aborts, repeats, late, clock_resets, restarts_behind, misled, overtaken, .. } = *self;
        let all = [crashes, aborts, repeats, late, clock_resets, restarts_behind, misled, overtaken];
        assert!(all.iter().all(|count| *count > 0), "some fault never happened: {self:?}");
    }
}
