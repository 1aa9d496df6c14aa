//! One account: its organizations, step by step under one rate limit, in one process that dies now and then.

use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::plan::Ages;

use super::run::{Life, Run, Step};
use super::tally::Tally;
use super::{days, hours};

/// A fortnight at the ages that are the default, with an API that answers.
pub fn run_at_default_ages(seed: u64) -> Tally {
    let mut run = Run::new(seed);
    run.settings.ages = Ages::default();
    run.end = run.now + days(14);
    run.api.held.retain(|held| held.time < run.end);
    run.api.manner.faults = 0;
    run.api.manner.lies.clear();
    run.outages.clear();
    let run = run_alone(run, seed);
    run.judge_requests();
    run.judge()
}

/// To its end, by itself.
pub fn run_alone(run: Run, seed: u64) -> Run {
    let mut account = Account::of(vec![run], seed);
    while account.live() {}
    account.organizations.remove(0)
}

/// Several organizations under one rate limit, which share nothing else but the process that dies.
pub fn run(seed: u64) -> Tally {
    let organizations = if seed.is_multiple_of(3) { 1 + seed / 3 % 3 } else { 1 };
    let runs = (0..organizations).map(|number| Run::new(seed + (number << 40))).collect();
    let mut account = Account::of(runs, seed);
    while account.live() {
        account.crash();
    }
    account.judge()
}

struct Account {
    organizations: Vec<Run>,
    rng: Rng,
    /// Between one request of any organization and the next.
    pace: Duration,
}

impl Account {
    fn of(organizations: Vec<Run>, seed: u64) -> Account {
        let mut rng = Rng::with_seed(!seed);
        let pace = Duration::from_millis(rng.u64(..1_000));
        Account { organizations, rng, pace }
    }

    /// One life; false once all is over.
    fn live(&mut self) -> bool {
        let mut lives: Vec<Option<Life>> = self.organizations.iter_mut().map(|run| Some(run.begin())).collect();
        let mut free_at = Time::MIN;
        loop {
            let waiting = self.organizations.iter_mut().zip(&mut lives).filter(|(_, life)| life.is_some());
            let Some((run, slot)) = waiting.min_by_key(|(run, _)| run.now) else { return false };
            let Some(life) = slot else { return false };
            run.now = run.now.max(free_at);
            let (asked_at, requests) = (run.now, run.api.requests);
            match run.step(life) {
                Step::Goes => {}
                Step::Over => *slot = None,
                Step::Dies => return true,
            }
            if run.api.requests > requests {
                free_at = asked_at + self.pace;
            }
        }
    }

    fn crash(&mut self) {
        let now = self.organizations.iter().map(|run| run.now).min().expect("there is one");
        let back = if self.rng.u8(..4) == 0 { now + hours(self.rng.u64(1..60)) } else { now };
        let moved = (self.rng.u8(..6) == 0).then(|| hours(self.rng.u64(1..200)));
        for run in &mut self.organizations {
            run.tally.crashes += 1;
            if back > run.now {
                run.outages.push(run.now..back);
                run.now = back;
            }
            if let Some(moved) = moved {
                run.start = run.start - moved;
                run.wanted.push((run.start, run.now));
                run.tally.starts_moved += 1;
            }
        }
    }

    fn judge(self) -> Tally {
        let shared = u64::from(self.organizations.len() > 1);
        let mut total = Tally { accounts_shared: shared, ..Tally::default() };
        self.organizations.into_iter().for_each(|run| total += run.judge());
        total
    }
}
