//! Blindness against a model of a stream that sleeps, stands still, polls, reads its gaps and is started anew.

use std::ops::Range;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::control::blindness::{Blindness, Change, Losses, Reach, Reason, Settings};
use jumpstream::ledger::{Coverage, FingerprintKey, Ledger, Mark};
use proptest::prelude::*;

const THRESHOLD: i64 = 300;
const OVERLAP: i64 = 60;
/// From a poll's beginning back to the edge that it brings.
const SETTLING: i64 = 2;

fn at(seconds: i64) -> Time {
    Time::from_secs(seconds)
}

fn begin(first_run: i64) -> Blindness {
    let seconds = |seconds: i64| Duration::from_secs(seconds as u64);
    Blindness::new(Settings { threshold: seconds(THRESHOLD), overlap: seconds(OVERLAP) }, at(first_run))
}

#[derive(Debug, Clone)]
enum Step {
    /// Time passes, and it is looked at.
    Sleep(i64),
    /// Nobody looks meanwhile.
    StandStill(i64),
    Poll,
    /// The newest part of the newest gap; more than an overlap of it is left, or nothing.
    Read(i64),
    /// Another process goes on after so long.
    StartAnew(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..120i64).prop_map(Step::Sleep),
        1 => (300..900i64).prop_map(Step::Sleep),
        1 => (THRESHOLD + 10..2_000i64).prop_map(Step::StandStill),
        4 => Just(Step::Poll),
        2 => (1..600i64).prop_map(Step::Read),
        1 => (0..400i64).prop_map(Step::StartAnew),
    ]
}

/// A stream as the plan treats it: an edge that lies too far behind is left, and what lies between is a gap.
struct World {
    now: i64,
    edge: i64,
    gaps: Coverage,
    blindness: Blindness,
    /// What the stream did not see while it passed.
    blind: Vec<Range<i64>>,
    told: Vec<Change>,
    open: Option<Time>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            now: 10_000,
            edge: 10_000 - SETTLING,
            gaps: Coverage::default(),
            blindness: begin(0),
            blind: Vec::new(),
            told: Vec::new(),
            open: None,
        };
        world.look();
        world
    }

    fn look(&mut self) {
        let reach = Reach { edge: at(self.edge), gaps: self.gaps.ranges().to_vec() };
        while let Some(change) = self.blindness.look(at(self.now), &reach, None) {
            match &change {
                Change::Opened { from, .. } => assert_eq!(self.open.replace(*from), None, "opened twice: {change:?}"),
                Change::Closed { range, .. } => assert_eq!(self.open.take(), Some(range.start), "{change:?}"),
            }
            assert_eq!(self.blindness.is_open(), self.open.is_some());
            self.told.push(change);
        }
    }

    fn poll(&mut self) {
        if self.now - self.edge > THRESHOLD {
            self.blind.push(self.edge..self.now - SETTLING);
            self.gaps.add(at(self.edge - OVERLAP)..at(self.now - OVERLAP));
        }
        self.edge = self.now - SETTLING;
        self.look();
    }

    fn read(&mut self, seconds: i64) {
        let Some(gap) = self.gaps.ranges().last().cloned() else { return };
        let from = gap.end - Duration::from_secs(seconds as u64);
        let leaves_enough = from.since(gap.start) > Duration::from_secs(OVERLAP as u64);
        self.gaps.remove(if leaves_enough { from } else { gap.start }..gap.end);
        self.look();
    }

    fn start_anew(&mut self, after: i64) {
        self.now += after;
        self.blindness = begin(0);
        let open = self.open.take();
        self.look();
        if open.is_some() {
            assert_eq!(self.open, open, "what was open is opened again by the same name");
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Sleep(seconds) => {
                self.now += seconds;
                self.look();
            }
            Step::StandStill(seconds) => self.now += seconds,
            Step::Poll => self.poll(),
            Step::Read(seconds) => self.read(*seconds),
            Step::StartAnew(after) => self.start_anew(*after),
        }
    }

    /// Everything comes to its end.
    fn finish(&mut self) {
        self.poll();
        while !self.gaps.ranges().is_empty() {
            self.read(1_000);
        }
        self.now += 1;
        self.look();
    }
}

proptest! {
    #[test]
    fn openings_and_closings_alternate_and_what_was_blind_is_within_one_closing(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        world.finish();
        prop_assert_eq!(world.open, None, "closed in the end");
        let closed: Vec<&Range<Time>> = world.told.iter().filter_map(|change| match change {
            Change::Closed { range, .. } => Some(range),
            Change::Opened { .. } => None,
        }).collect();
        prop_assert!(closed.iter().all(|range| range.start < range.end));
        prop_assert!(closed.windows(2).all(|pair| pair[0].end <= pair[1].start), "{:?}", closed);
        for blind in &world.blind {
            let (from, to) = (at(blind.start), at(blind.end));
            let within = closed.iter().filter(|range| range.start <= from && to <= range.end).count();
            prop_assert_eq!(within, 1, "{:?} in {:?}", blind, closed);
        }
        prop_assert_eq!(world.told.is_empty(), world.blind.is_empty(), "{:?}", world.told);
    }

    #[test]
    fn nothing_is_told_of_a_stream_whose_polls_are_slow_within_the_threshold(
        polls in prop::collection::vec((1..=THRESHOLD - SETTLING, 0..4i64), 0..60)
    ) {
        let mut world = World::new();
        for (pause, looks) in polls {
            for _ in 0..looks {
                world.look();
            }
            world.now += pause;
            world.poll();
        }
        prop_assert_eq!(&world.told, &[]);
    }
}

fn reach(edge: i64, gaps: &[(i64, i64)]) -> Reach {
    Reach { edge: at(edge), gaps: gaps.iter().map(|(from, to)| at(*from)..at(*to)).collect() }
}

#[test]
fn the_reason_is_what_the_stream_waited_for_when_it_was_opened() {
    let mut blindness = begin(0);
    assert_eq!(blindness.look(at(1_000), &reach(998, &[]), None), None);
    assert_eq!(blindness.look(at(1_298), &reach(998, &[]), Some(Reason::KeyRefused)), None);
    let opened = Change::Opened { from: at(998), reason: Reason::KeyRefused };
    assert_eq!(blindness.look(at(1_299), &reach(998, &[]), Some(Reason::KeyRefused)), Some(opened));
    assert_eq!(blindness.look(at(1_500), &reach(998, &[]), Some(Reason::ApiUnreachable)), None);
    // It sees again, and what lies between is still to be read.
    assert_eq!(blindness.look(at(2_000), &reach(1_990, &[(938, 1_932)]), None), None);
    assert_eq!(blindness.look(at(2_060), &reach(2_050, &[(938, 1_000)]), None), None);
    let closed = Change::Closed { range: at(998)..at(1_990), reason: Reason::KeyRefused };
    assert_eq!(blindness.look(at(2_061), &reach(2_050, &[]), None), Some(closed));
}

#[test]
fn a_second_absence_before_the_first_is_read_makes_one_gap_of_both() {
    let mut blindness = begin(0);
    blindness.look(at(1_000), &reach(998, &[]), None);
    let opened = Change::Opened { from: at(998), reason: Reason::Throttled };
    assert_eq!(blindness.look(at(1_400), &reach(998, &[]), Some(Reason::Throttled)), Some(opened));
    assert_eq!(blindness.look(at(1_500), &reach(1_498, &[(938, 1_440)]), None), None);
    assert_eq!(blindness.look(at(1_900), &reach(1_498, &[(938, 1_440)]), Some(Reason::KeyRefused)), None);
    assert_eq!(blindness.look(at(2_000), &reach(1_998, &[(938, 1_940)]), None), None);
    let closed = Change::Closed { range: at(998)..at(1_998), reason: Reason::Throttled };
    assert_eq!(blindness.look(at(2_001), &reach(1_998, &[]), None), Some(closed));
}

#[test]
fn a_second_absence_that_goes_on_when_the_first_is_read_is_another_gap() {
    let mut blindness = begin(0);
    blindness.look(at(1_000), &reach(998, &[]), None);
    blindness.look(at(1_400), &reach(998, &[]), Some(Reason::Throttled));
    assert_eq!(blindness.look(at(1_500), &reach(1_498, &[(938, 1_440)]), None), None);
    assert_eq!(blindness.look(at(1_900), &reach(1_498, &[(938, 1_440)]), Some(Reason::KeyRefused)), None);
    let closed = Change::Closed { range: at(998)..at(1_498), reason: Reason::Throttled };
    assert_eq!(blindness.look(at(1_910), &reach(1_498, &[]), Some(Reason::KeyRefused)), Some(closed));
    let opened = Change::Opened { from: at(1_498), reason: Reason::KeyRefused };
    assert_eq!(blindness.look(at(1_911), &reach(1_498, &[]), Some(Reason::KeyRefused)), Some(opened));
}

#[test]
fn an_old_edge_at_the_first_look_is_an_absence_and_a_near_one_is_not() {
    let down = |from| Some(Change::Opened { from: at(from), reason: Reason::Down });
    assert_eq!(begin(0).look(at(2_000), &reach(1_000, &[]), Some(Reason::KeyRefused)), down(1_000));
    assert_eq!(begin(0).look(at(1_300), &reach(1_000, &[]), None), None);
    // A process before this one left it half read.
    assert_eq!(begin(0).look(at(1_300), &reach(1_298, &[(500, 700)]), None), down(560));
    // Nor is a millisecond that can't be paged an absence.
    assert_eq!(begin(0).look(at(1_300), &reach(1_298, &[(500, 501)]), None), None);
}

#[test]
fn an_edge_that_is_set_back_closes_nothing() {
    let mut blindness = begin(0);
    blindness.look(at(1_000), &reach(998, &[]), None);
    blindness.look(at(1_400), &reach(998, &[]), None);
    assert_eq!(blindness.look(at(1_450), &reach(1_448, &[(938, 1_390)]), None), None);
    // The clock was wrong.
    assert_eq!(blindness.look(at(1_000), &reach(990, &[]), None), None);
    assert_eq!(blindness.look(at(1_100), &reach(1_090, &[]), None), None);
    assert_eq!(blindness.look(at(1_300), &reach(1_290, &[]), None), None);
    let closed = Change::Closed { range: at(998)..at(1_448), reason: Reason::Behind };
    assert_eq!(blindness.look(at(1_500), &reach(1_490, &[]), None), Some(closed));
}

#[test]
fn a_loss_is_news_once() {
    let mut ledger = Ledger::begin(FingerprintKey([7; 16]), at(0), at(0));
    ledger.mark(at(0)..at(60), Mark::LOST);
    let mut losses = Losses::of(&ledger);
    assert_eq!(losses.news(&ledger), []);
    ledger.mark(at(60)..at(180), Mark::LOST);
    ledger.mark(at(180)..at(240), Mark::Verified);
    assert_eq!(losses.news(&ledger), [at(60)..at(180)]);
    assert_eq!(losses.news(&ledger), []);
}
