//! What comparing costs in requests, and how soon a late event is found, at the default ages: a day of events followed
//! until nothing looks for more of them.

use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::plan::{Ages, Settings};

use super::account;
use super::days;
use super::run::{Run, lateness};
use super::tally::Tally;
use crate::random;
use crate::simulation::api::{self, Api, Held, Manner};

const DAY: u64 = 86_400;
/// The day itself, the last age, and what may be read again after it.
const FOLLOWED: i64 = 14;
/// A single event: where the API has never shown any, nothing is compared.
const IDLE: usize = 1;
/// Of the events.
const LATE_SHARE: f64 = 0.01;
/// Each minute of a day may differ, and is read in a request of less than a second.
const SLACK: Duration = Duration::from_secs(1_440 + 120);

/// At each rate: `make prove` has the figures that the documentation gives.
#[test]
fn a_late_event_is_found_when_the_next_age_comes_and_what_it_costs() {
    let rates: &[usize] = if random::is_prove() { &[IDLE, 100_000, 1_000_000] } else { &[IDLE, 5_000] };
    for seed in random::seeds(1, 1) {
        let all: Vec<Run> = rates.iter().map(|rate| follow_a_day(*rate, seed)).collect();
        let idle = &all[0];
        println!("one event in {FOLLOWED} days: {}", Requests::of(idle).per_day());
        for (run, rate) in all.iter().zip(rates).skip(1) {
            each_is_found_at_the_next_age(run);
            run.judge_requests();
            println!("{rate} events on one day, besides: {:?}", Requests::of(run).besides(&Requests::of(idle)));
        }
        let last = all.into_iter().next_back().expect("there are rates");
        println!("{} events were late\n{}", last.found.len(), delays(&last));
        assert!(last.found.len() > 10, "hardly any event was late");
        last.judge();
    }
}

/// A day of events, polled as it passes, and compared until its last age is over.
fn follow_a_day(events: usize, seed: u64) -> Run {
    let mut rng = Rng::with_seed(seed);
    let began = Time::parse("2026-03-02T00:00:00Z").unwrap();
    let settings = Settings {
        interval: Duration::from_secs(10),
        page_size: 10_000,
        windows: 4,
        ages: Ages::default(),
        retention: Some(days(90)),
    };
    let held = (0..events).map(|number| hold(number, began, &mut rng)).collect();
    let api = Api::new(held, Manner::faithful(), settings.page_size);
    let run = Run::untroubled(seed, settings, api, began..began, began + days(1));
    account::run_alone(run, seed)
}

fn hold(number: usize, began: Time, rng: &mut Rng) -> Held {
    let time = began + Duration::from_millis(rng.u64(..DAY * 1_000));
    let late = if rng.f64() < LATE_SHARE { lateness(rng) } else { Duration::from_secs(rng.u64(..4)) };
    api::hold(number, time, time + late, rng)
}

/// Its next age is the first that comes to its minute after it became visible.
fn each_is_found_at_the_next_age(run: &Run) {
    for (place, at) in &run.found {
        let held = &run.api.held[*place];
        let due = run.settings.ages.iter().map(|age| comes(held.time, age)).find(|due| *due >= held.visible_at);
        let due = due.expect("it became visible before its last age");
        let (time, visible) = (held.time, held.visible_at);
        assert!(*at <= due + SLACK, "of {time}, visible at {visible}, due at {due}, found only at {at}");
    }
}

/// When an age comes to what happened at `time`: ranges are as long as the age, a day at most.
fn comes(time: Time, age: Duration) -> Time {
    let step = age.clamp(Duration::from_secs(60), days(1));
    time.floor(step) + step + age
}

/// Requests of a run, by what they were for, or the difference between two runs'.
#[derive(Debug)]
struct Requests {
    polls: i64,
    counts: i64,
    /// Counts by the minute, to locate a difference.
    intervals: i64,
    compared_pages: i64,
}

impl Requests {
    fn of(run: &Run) -> Requests {
        let Tally { polls, counts, compared_pages, .. } = run.tally;
        let intervals = run.api.requests - polls - counts - compared_pages;
        let [polls, counts, intervals, compared_pages] =
            [polls, counts, intervals, compared_pages].map(|count| count as i64);
        Requests { polls, counts, intervals, compared_pages }
    }

    fn besides(self, idle: &Requests) -> Requests {
        Requests {
            polls: self.polls - idle.polls,
            counts: self.counts - idle.counts,
            intervals: self.intervals - idle.intervals,
            compared_pages: self.compared_pages - idle.compared_pages,
        }
    }

    fn per_day(&self) -> String {
        let Requests { polls, counts, intervals, compared_pages } = self;
        let [polls, compared] = [*polls, counts + intervals + compared_pages].map(|count| count / FOLLOWED);
        format!("{polls} polls and {compared} requests to compare a day")
    }
}

/// From visible to found, by how late the event was.
fn delays(run: &Run) -> String {
    let classes =
        [("up to 15 min", 900), ("1 h", 3_600), ("6 h", 6 * 3_600), ("24 h", DAY), ("48 h", 2 * DAY), ("7 d", 7 * DAY)];
    let mut from = Duration::ZERO;
    let rows = classes.map(|(name, to)| {
        let to = Duration::from_secs(to);
        let of = |held: &Held| (from..to).contains(&held.visible_at.since(held.time));
        let found = run.found.iter().map(|(place, at)| (&run.api.held[*place], at)).filter(|(held, _)| of(held));
        let mut delays: Vec<Duration> = found.map(|(held, at)| at.since(held.visible_at)).collect();
        delays.sort_unstable();
        from = to;
        let (median, worst) = (delays.get(delays.len() / 2), delays.last());
        format!("late by {name}: {} found, after {median:?} (median), {worst:?} (worst)\n", delays.len())
    });
    rows.concat()
}
