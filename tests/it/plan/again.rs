//! A range read once more: all of it, from the oldest event to the newest, each event once but for what a crash repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use fastrand::Rng;
use jumpstream::ledger::Coverage;
use jumpstream::plan::again::Again;

use super::*;
use crate::random;
use crate::simulation::api::{Answer, Api, Cursors, Held, Manner, hold, hold_again};

const SAMPLE: u64 = 300;
const ALL: u64 = 100_000;

/// A replay with what survives its crashes: what was delivered, and what it has saved as done.
struct Rerun {
    api: Api,
    range: Range<Time>,
    page_size: u32,
    batch: usize,
    done: Coverage,
    /// Numbers of events, batch by batch.
    delivered: Vec<Vec<usize>>,
    asked: Vec<Range<Time>>,
    unread: Vec<(Range<Time>, Aside)>,
    most_remembered: usize,
}

/// How a life ends early: before the request of this number, or at the commit of this number, before it is saved.
#[derive(Clone, Copy)]
enum Crash {
    Never,
    AtRequest(u64),
    BeforeSaving(u64),
}

impl Rerun {
    fn new(held: Vec<Held>, manner: Manner, range: Range<Time>, page_size: u32, batch: usize) -> Rerun {
        Rerun {
            api: Api::new(held, manner, 10_000),
            range,
            page_size,
            batch,
            done: Coverage::default(),
            delivered: Vec::new(),
            asked: Vec::new(),
            unread: Vec::new(),
            most_remembered: 0,
        }
    }

    /// One life; whether it came to its end.
    fn live(&mut self, crash: Crash, rng: &mut Rng) -> bool {
        let now = self.range.end + minutes(60);
        let mut again = Again::new(self.page_size, FingerprintKey([7; 16]), self.range.clone(), self.done.clone());
        let (mut gathered, mut requests, mut commits, mut failures, mut torn) = (Vec::new(), 0, 0, 0, false);
        while let Some(ask) = again.ask() {
            requests += 1;
            if matches!(crash, Crash::AtRequest(at) if at == requests) {
                return false;
            }
            let ask = match ask {
                Ask::Page(ask) => ask,
                Ask::Interval { range, unit } => {
                    match self.api.interval(range.start, range.end, unit, now) {
                        Some(buckets) => again.interval_read(&buckets),
                        None => again.interval_refused(),
                    }
                    continue;
                }
                Ask::Wait { .. } | Ask::Count { .. } => panic!("it waits, or compares"),
            };
            self.asked.push(ask.from..ask.to.unwrap());
            let (places, page) = match self.api.events(&ask, now, rng) {
                Answer::Page(page) => (page.places.clone(), Some(page)),
                Answer::Cut(places) => (places, None),
                Answer::Failed | Answer::FutureStart => (Vec::new(), None),
            };
            for place in &places {
                let held = &self.api.held[*place];
                let taken = again.admit(&held.event);
                let (shown, due) = (again.passed(), torn || gathered.len() >= self.batch);
                if due && shown.is_some() || gathered.len() >= 2 * self.batch {
                    commits += 1;
                    torn = shown.is_none();
                    if !self.commit(&mut again, &mut gathered, shown, crash, commits) {
                        return false;
                    }
                }
                if let Taken::New(delivery) = taken {
                    assert_eq!(delivery, Delivery::Replay);
                    gathered.push(self.api.held[*place].number);
                }
                self.most_remembered = self.most_remembered.max(again.remembered());
            }
            let shown = match page {
                Some(page) => {
                    failures = 0;
                    let elements = page.places.len() as u32;
                    again.page_read(PageEnd { limit: page.limit, elements, cursor: page.cursor, sent_at: now })
                }
                None => {
                    failures += 1;
                    if failures % 3 == 0 {
                        again.begin_again();
                    }
                    None
                }
            };
            if let Some(shown) = shown {
                (commits, torn) = (commits + 1, false);
                if !self.commit(&mut again, &mut gathered, Some(shown), crash, commits) {
                    return false;
                }
            }
        }
        self.delivered.push(gathered);
        self.unread = again.unread().to_vec();
        true
    }

    fn commit(
        &mut self,
        again: &mut Again,
        gathered: &mut Vec<usize>,
        shown: Option<Range<Time>>,
        crash: Crash,
        number: u64,
    ) -> bool {
        self.delivered.push(std::mem::take(gathered));
        if matches!(crash, Crash::BeforeSaving(at) if at == number) {
            return false;
        }
        if let Some(shown) = shown {
            again.delivered(shown);
        }
        self.done = again.done().clone();
        true
    }

    /// How often each event was delivered.
    fn counts(&self) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for number in self.delivered.iter().flatten() {
            *counts.entry(*number).or_default() += 1;
        }
        counts
    }

    /// The events of the range, each once.
    fn wanted(&self) -> BTreeMap<usize, usize> {
        let inside = self.api.held.iter().filter(|held| self.range.contains(&held.time));
        inside.map(|held| (held.number, 1)).collect()
    }
}

/// Events that keep the API busy: crowded milliseconds, quiet hours, and some stored twice.
fn crowd(rng: &mut Rng, range: &Range<Time>, tie: f64) -> Vec<Held> {
    let length = range.end.since(range.start).as_millis() as u64;
    let mut held: Vec<Held> = Vec::new();
    for number in 0..rng.usize(0..1_500) {
        let time = match held.last() {
            Some(last) if rng.f64() < tie => last.time,
            Some(last) if rng.f64() < 0.8 => last.time + Duration::from_micros(rng.u64(..400_000)),
            // A little of it lies outside.
            _ => range.start - minutes(2) + Duration::from_millis(rng.u64(..length + 240_000)),
        };
        held.push(hold(number, time, Time::MIN, rng));
        if rng.u8(..20) == 0 {
            let again = hold_again(held.last().unwrap(), rng);
            held.push(again);
        }
    }
    held
}

#[test]
fn all_of_a_range_is_delivered_once_and_a_crash_repeats_only_the_batch_in_flight() {
    for seed in random::seeds(SAMPLE, ALL) {
        let mut rng = Rng::with_seed(seed);
        let start = noon() + Duration::from_nanos(rng.u64(..120_000_000_000));
        let range = start..start + minutes(rng.u64(1..4_000)) + Duration::from_nanos(rng.u64(..1_000_000_000));
        let manner = Manner {
            end_inclusive: rng.bool(),
            limit_header: rng.bool(),
            intervals: rng.u8(..4) > 0,
            faults: rng.choice([0, 5, 50]).unwrap(),
            ..Manner::faithful()
        };
        let held = crowd(&mut rng, &range, 0.3);
        let (page_size, batch) = (rng.u32(3..60), rng.usize(1..40));
        let mut desk = Rerun::new(held, manner, range.clone(), page_size, batch);
        let mut crashes = 0;
        loop {
            let crash = match rng.u8(..3) {
                _ if crashes == 4 => Crash::Never,
                0 => Crash::AtRequest(rng.u64(1..30)),
                1 => Crash::BeforeSaving(rng.u64(1..10)),
                _ => Crash::Never,
            };
            if desk.live(crash, &mut rng) {
                break;
            }
            crashes += 1;
        }
        let counts = desk.counts();
        assert_eq!(counts.keys().collect::<Vec<_>>(), desk.wanted().keys().collect::<Vec<_>>(), "seed {seed}");
        let repeats: usize = counts.values().map(|count| count - 1).sum();
        // A batch ends within a millisecond only where that is larger than a batch.
        let largest = desk.delivered.iter().map(Vec::len).max().unwrap_or(0);
        assert!(
            repeats <= crashes * (largest + milliseconds(&desk)),
            "{repeats} repeats, {crashes} crashes, seed {seed}"
        );
        assert_eq!((desk.done.gaps(range.clone()), desk.unread.len()), (Vec::new(), 0), "seed {seed}");
    }
}

/// The most events of one millisecond, where they are more than a batch holds.
fn milliseconds(desk: &Rerun) -> usize {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for held in &desk.api.held {
        *counts.entry(held.time.as_millis()).or_default() += 1;
    }
    counts.into_values().max().filter(|most| *most > desk.batch).unwrap_or(0)
}

#[test]
fn without_a_crash_or_a_tie_nothing_comes_twice_and_all_in_the_order_of_time() {
    for seed in random::seeds(SAMPLE, ALL) {
        let mut rng = Rng::with_seed(seed);
        let range = noon()..noon() + minutes(rng.u64(1..10_000));
        let held = crowd(&mut rng, &range, 0.1);
        let mut desk = Rerun::new(held, Manner::faithful(), range, rng.u32(30..60), rng.usize(1..40));
        assert!(desk.live(Crash::Never, &mut rng));
        assert_eq!(desk.counts(), desk.wanted(), "seed {seed}");
        let time = |number: &usize| desk.api.held.iter().find(|held| held.number == *number).unwrap().time.as_millis();
        assert!(desk.delivered.iter().flatten().map(time).is_sorted(), "seed {seed}");
        assert!(desk.asked.iter().map(|asked| asked.start).is_sorted(), "seed {seed}");
    }
}

#[test]
fn what_cannot_be_paged_is_named_and_all_else_is_delivered() {
    for seed in random::seeds(SAMPLE / 3, ALL) {
        let mut rng = Rng::with_seed(seed);
        let range = noon()..noon() + minutes(rng.u64(1..300));
        let cursors = if rng.bool() { Cursors::Absent } else { Cursors::Repeated };
        let held = crowd(&mut rng, &range, 0.7);
        let mut desk =
            Rerun::new(held, Manner { cursors, ..Manner::faithful() }, range.clone(), rng.u32(3..12), rng.usize(1..40));
        assert!(desk.live(Crash::Never, &mut rng));
        let unread = Coverage::of(desk.unread.iter().map(|(range, _)| range.clone()));
        assert_eq!(Coverage::of(desk.done.gaps(range)), unread, "seed {seed}");
        let delivered: BTreeSet<usize> = desk.counts().into_keys().collect();
        for held in desk.api.held.iter().filter(|held| desk.range.contains(&held.time)) {
            assert!(delivered.contains(&held.number) || unread.contains(held.time), "seed {seed}: {}", held.time);
        }
        assert!(desk.counts().values().all(|count| *count == 1), "seed {seed}");
    }
}

#[test]
fn only_a_window_is_remembered_though_nothing_was_counted() {
    let mut rng = Rng::with_seed(1);
    let second = |number: usize| noon() + seconds(number as u64);
    let held = (0..20_000).map(|number| hold(number, second(number), Time::MIN, &mut rng)).collect();
    let range = noon()..second(20_000);
    let mut desk = Rerun::new(held, Manner { intervals: false, ..Manner::faithful() }, range, 30, 50);
    assert!(desk.live(Crash::Never, &mut rng));
    assert_eq!(desk.counts().len(), 20_000);
    // Five pages, and what is left of a minute.
    assert!(desk.most_remembered <= 5 * 30 + 60, "{}", desk.most_remembered);
}
