//! Comparing with the API, asked step by step: what is due, how a difference is settled, and what is claimed.

use std::ops::Range;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::{FingerprintKey, Ledger, Mark};
use jumpstream::plan::cut::Unit;
use jumpstream::plan::verify::{Step, Verify};
use jumpstream::plan::{Ages, Ask, CheckFailure, Plan, Settings, Taken};

use super::{Desk, INTERVAL, PAGE, minutes, noon, seconds};

pub const AGE: Duration = Duration::from_secs(600);
pub const LAST: Duration = Duration::from_secs(3_600);

/// Read from eleven to noon, with an event in each of the last forty minutes of it; ages of ten minutes and an hour.
pub fn read() -> Desk {
    let mut desk = Desk::new(minutes(60));
    let ages = Ages::of([AGE, LAST]);
    desk.plan = Plan::new(Settings { interval: INTERVAL, page_size: PAGE, windows: 3, ages, retention: None });
    for minute in 1..=40 {
        desk.admit_to_ledger(minute, noon() - minutes(minute) + seconds(7)).unwrap();
    }
    desk.ledger.cover(noon() - minutes(60)..noon());
    desk.ledger.advance_edge(noon());
    desk
}

/// Time passes up to `to`, in which nothing happens, and polls read it.
pub fn pass(desk: &mut Desk, to: Time) {
    desk.ledger.cover(noon()..to);
    desk.ledger.advance_edge(to);
    desk.now = to;
}

/// Polls find nothing, until comparing asks for something.
pub fn compared(desk: &mut Desk) -> Ask {
    for _ in 0..10 {
        match desk.next() {
            Ask::Page(_) if desk.plan.is_polling() => desk.end(0),
            Ask::Wait { until } => desk.now = until,
            ask => return ask,
        }
    }
    panic!("nothing is compared: {:?}", desk.plan)
}

pub fn counted(desk: &mut Desk) -> Range<Time> {
    match compared(desk) {
        Ask::Count { range } => range,
        other => panic!("no count but {other:?}"),
    }
}

pub fn settle(desk: &mut Desk) -> Range<Time> {
    match compared(desk) {
        Ask::Page(ask) => ask.from..ask.to.unwrap(),
        other => panic!("no page but {other:?}"),
    }
}

pub fn answer(desk: &mut Desk, events: u64) {
    desk.plan.count_read(&mut desk.ledger, events, desk.now);
}

/// Whatever is asked is answered with nothing.
pub fn show_nothing(desk: &mut Desk) {
    match desk.next() {
        Ask::Count { .. } => answer(desk, 0),
        Ask::Page(_) => desk.end(0),
        Ask::Wait { until } => desk.now = until,
        Ask::Interval { .. } => desk.plan.interval_read(&mut desk.ledger, &[], desk.now),
    }
}

/// The page shows these of the events that were read before.
pub fn show(desk: &mut Desk, ids: impl IntoIterator<Item = u64>) {
    ids.into_iter().for_each(|id| assert_eq!(desk.admit(id, noon() - minutes(id) + seconds(7)), Taken::Known));
}

pub fn mark(desk: &Desk, at: Time) -> Option<Mark> {
    desk.ledger.standing().at(at)
}

#[test]
fn what_is_counted_as_shown_is_counted_and_not_asked_about_again_at_that_age() {
    let mut desk = read();
    pass(&mut desk, noon() + seconds(1));
    let range = counted(&mut desk);
    assert_eq!(range, noon() - minutes(60)..noon() - minutes(10), "side by side, they are one");
    answer(&mut desk, 30);
    assert_eq!(mark(&desk, range.start), Some(Mark::Counted { age: AGE }));
    pass(&mut desk, noon() + minutes(10));
    assert_eq!(counted(&mut desk), range.end..noon(), "the next ten minutes");
}

#[test]
fn what_is_counted_more_is_read_and_what_the_read_brings_is_late() {
    let mut desk = read();
    pass(&mut desk, noon() + minutes(10));
    let range = counted(&mut desk);
    // More than a page, so which minutes differ is asked.
    answer(&mut desk, 41);
    let minute = noon() - minutes(5);
    let Ask::Interval { range: asked, unit: Unit::Minute } = compared(&mut desk) else { panic!("{:?}", desk.plan) };
    assert_eq!(asked, range);
    let buckets: Vec<(Time, u64)> =
        (1..=40).map(|back| noon() - minutes(back)).map(|at| (at, if at == minute { 2 } else { 1 })).collect();
    desk.plan.interval_read(&mut desk.ledger, &buckets, desk.now);
    assert_eq!(mark(&desk, range.start), Some(Mark::Counted { age: AGE }), "the minutes that agree are counted");
    assert_eq!(settle(&mut desk), minute..minute + minutes(1), "and the one that differs is read");
    desk.admit(5, minute + seconds(7));
    desk.shows(1, minute + seconds(30), None);
    assert_eq!(mark(&desk, minute), Some(Mark::Counted { age: AGE }));
}

#[test]
fn what_is_counted_and_not_shown_stays_unsettled_and_is_read_at_the_next_age() {
    let mut desk = read();
    let plan = |age| {
        Plan::new(Settings {
            interval: INTERVAL,
            page_size: 100,
            windows: 3,
            ages: Ages::of([age, LAST]),
            retention: None,
        })
    };
    desk.plan = plan(AGE);
    pass(&mut desk, noon() + minutes(10));
    let range = counted(&mut desk);
    answer(&mut desk, 43);
    assert_eq!(settle(&mut desk), range);
    show(&mut desk, 1..=40);
    desk.page_read(Some(100), 40, None);
    assert_eq!(counted(&mut desk), range, "it is counted once more");
    answer(&mut desk, 43);
    assert_eq!(mark(&desk, range.start), Some(Mark::Unsettled { age: AGE, missing: 3 }));
    assert_eq!(desk.ledger.summary().missing, 3);
    // At the next age the count is what was shown, and it is read all the same.
    desk.plan = plan(AGE * 2);
    pass(&mut desk, noon() + minutes(25));
    let again = counted(&mut desk);
    answer(&mut desk, 40);
    assert_eq!(settle(&mut desk), again);
    show(&mut desk, 1..=40);
    desk.page_read(Some(100), 40, None);
    assert_eq!(mark(&desk, range.start), Some(Mark::Counted { age: AGE * 2 }));
    assert_eq!(desk.ledger.summary().missing, 0);
}

#[test]
fn where_minutes_are_not_counted_halves_are() {
    let mut desk = read();
    pass(&mut desk, noon() + minutes(10));
    let range = counted(&mut desk);
    answer(&mut desk, 41);
    assert!(matches!(compared(&mut desk), Ask::Interval { .. }));
    desk.plan.interval_refused();
    let half = counted(&mut desk);
    assert_eq!((half.start, half.end.since(half.start)), (range.start, minutes(30)));
    answer(&mut desk, 10);
    assert_eq!(mark(&desk, half.start), Some(Mark::Counted { age: AGE }));
    assert_eq!(counted(&mut desk), half.end..range.end);
}

/// At the last age, one window's read shows these of its events; gives the window.
pub fn read_again(desk: &mut Desk, shown: impl Fn(u64) -> bool) -> Range<Time> {
    let range = loop {
        match compared(desk) {
            Ask::Count { .. } => {
                // Whatever was read since holds nothing.
                let events = if desk.ledger.standing().ranges().is_empty() { 40 } else { 0 };
                answer(desk, events);
            }
            Ask::Page(ask) => break ask.from..ask.to.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let inside: Vec<u64> = (1..=40).filter(|id| range.contains(&(noon() - minutes(*id) + seconds(7)))).collect();
    let shown: Vec<u64> = inside.into_iter().filter(|id| shown(*id)).collect();
    show(desk, shown.iter().copied());
    desk.page_read(Some(100), shown.len() as u32, None);
    range
}

pub fn at_the_last_age() -> Desk {
    let mut desk = read();
    let ages = Ages::of([LAST]);
    desk.plan = Plan::new(Settings { interval: INTERVAL, page_size: 100, windows: 3, ages, retention: None });
    pass(&mut desk, noon() + LAST);
    desk
}

#[test]
fn a_window_is_verified_only_where_everything_delivered_is_shown_again() {
    let mut desk = at_the_last_age();
    let range = read_again(&mut desk, |_| true);
    assert_eq!(range, noon() - minutes(60)..noon());
    assert_eq!(mark(&desk, range.start), Some(Mark::Verified));
    assert_eq!(desk.ledger.fingerprints(), 40);
    desk.ledger.forget_settled(noon(), desk.now);
    assert_eq!(desk.ledger.fingerprints(), 0, "no read meets them again");
}

#[test]
fn what_is_not_shown_again_is_read_twice_more_on_later_days_and_then_gone() {
    let mut desk = at_the_last_age();
    let day = minutes(60 * 24);
    for tries in 1..=3 {
        let range = read_again(&mut desk, |id| id != 3 && id != 4);
        let again = desk.now + day;
        let expected = match tries {
            3 => Mark::Gone { events: 2 },
            tries => Mark::Doubted { tries, unseen: 2, again },
        };
        assert_eq!(mark(&desk, range.start), Some(expected), "try {tries}");
        desk.ledger.forget_settled(noon(), desk.now);
        assert_eq!(desk.ledger.fingerprints() == 0, tries == 3, "they are kept for as long as they are asked for");
        pass(&mut desk, again);
        // What came since is another day's business.
        desk.ledger.mark(noon()..again, Mark::Verified);
    }
}

#[test]
fn a_window_first_read_after_its_last_age_is_verified_by_a_count_behind_it() {
    for (count, expected) in [(4, Some(Mark::Verified)), (5, None)] {
        let mut desk = read();
        desk.ledger.move_start(noon() - minutes(60 * 24));
        let gap = desk.ledger.start()..noon() - minutes(60);
        // As many as are one window.
        assert!(matches!(compared(&mut desk), Ask::Interval { .. }));
        desk.plan.interval_read(&mut desk.ledger, &[(gap.start, 4)], desk.now);
        assert_eq!(settle(&mut desk), gap);
        (0..4).for_each(|id| assert!(matches!(desk.admit(100 + id, gap.start + minutes(30)), Taken::New(_))));
        desk.end(4);
        assert_eq!(counted(&mut desk), gap);
        answer(&mut desk, count);
        assert_eq!(mark(&desk, gap.start), expected, "{count}");
        if expected.is_none() {
            assert_eq!(settle(&mut desk).start, gap.start, "it is read again and compared");
        }
    }
}

#[test]
fn what_lies_before_all_that_the_api_is_known_to_hold_is_not_verified() {
    let day = minutes(60 * 24);
    for (counted_age, before) in [(Duration::ZERO, Mark::Unprovable), (day + minutes(60), Mark::Verified)] {
        let mut desk = read();
        let mut verify = Verify::new(Ages::of([LAST]), Some(day), PAGE);
        verify.api_holds(counted_age);
        let horizon = (desk.now - day).ceil(minutes(1));
        let window = horizon - minutes(30)..horizon + minutes(30);
        verify.window_read(&mut desk.ledger, window.clone(), 4, desk.now);
        assert_eq!(verify.next(&mut desk.ledger, desk.now), Some(Step::Count(window.clone())));
        verify.counted(&mut desk.ledger, 4, desk.now);
        assert_eq!(mark(&desk, window.start), Some(before));
        assert_eq!(mark(&desk, horizon - seconds(1)), Some(before));
        assert_eq!(mark(&desk, horizon), Some(Mark::Verified));
    }
}

#[test]
fn windows_that_wait_side_by_side_are_counted_as_one_and_an_empty_one_by_itself() {
    let mut desk = read();
    let mut verify = Verify::new(Ages::of([LAST]), None, PAGE);
    let hour = |count: u64| noon() - minutes(60 * (24 - count));
    for (first, shown) in [(4, 0), (1, 4), (3, 5), (2, 3)] {
        verify.window_read(&mut desk.ledger, hour(first)..hour(first + 1), shown, desk.now);
    }
    assert_eq!(verify.next(&mut desk.ledger, desk.now), Some(Step::Count(hour(1)..hour(4))));
    verify.counted(&mut desk.ledger, 12, desk.now);
    let verified = Some(Mark::Verified);
    assert_eq!([1, 2, 3, 4].map(|first| mark(&desk, hour(first))), [verified, verified, verified, None]);
    assert_eq!(verify.next(&mut desk.ledger, desk.now), Some(Step::Count(hour(4)..hour(5))));
}

/// Down for six days, twenty days ago, of which the API is known to keep fifteen; the gap, which begins so long after
/// noon, was empty.
fn down(first_run: Time, after_noon: Duration) -> (Desk, Range<Time>) {
    let mut desk = read();
    let gap = noon() - days(20) + after_noon..noon() - days(14);
    desk.ledger = Ledger::begin(FingerprintKey([7; 16]), first_run, gap.start - minutes(90));
    desk.ledger.cover(gap.start - minutes(90)..gap.start);
    desk.ledger.cover(gap.end..noon());
    desk.admit_to_ledger(1, gap.start - minutes(30)).unwrap();
    desk.admit_to_ledger(2, gap.start - seconds(10)).unwrap();
    desk.ledger.advance_edge(noon());
    assert!(matches!(compared(&mut desk), Ask::Interval { .. }));
    desk.plan.interval_read(&mut desk.ledger, &[], desk.now);
    assert_eq!(settle(&mut desk), gap);
    desk.end(0);
    (desk, gap)
}

pub fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

pub fn lost(desk: &Desk) -> Vec<Range<Time>> {
    desk.ledger.standing().parts(Time::MIN..Time::MAX, |mark| mark == Some(Mark::LOST)).collect()
}

#[test]
fn what_is_read_only_when_the_api_has_forgotten_it_is_lost_and_stays_so() {
    let (mut desk, gap) = down(noon() - days(21), Duration::ZERO);
    let expected = gap.start..(desk.now - days(15)).floor(minutes(1));
    assert_eq!(lost(&desk), std::slice::from_ref(&expected), "at once, so that no crash forgets it");
    assert_eq!(desk.ledger.summary().lost, expected.end.since(expected.start));
    assert_eq!(desk.ledger.summary().gone, 0);
    assert_eq!(counted(&mut desk), gap, "it is counted as any other");
    answer(&mut desk, 0);
    assert_eq!(lost(&desk), [expected]);
    assert_eq!(mark(&desk, gap.end - minutes(1)), Some(Mark::Unprovable));
}

#[test]
fn a_minute_that_holds_an_event_is_not_lost() {
    // The last event before the gap lies in its first minute.
    let (mut desk, gap) = down(noon() - days(21), seconds(30));
    assert_eq!(lost(&desk)[0].start, gap.start.ceil(minutes(1)));
    desk.ledger.forget_settled(noon(), desk.now);
    assert_eq!(desk.ledger.fingerprints(), 2, "what was delivered stays known");
}

#[test]
fn what_was_never_to_be_had_is_not_lost() {
    // Two days before noon it had forgotten what is older than seventeen days, and would what is older than sixteen.
    let (desk, _) = down(noon() - days(2), Duration::ZERO);
    assert_eq!(lost(&desk), [noon() - days(16)..(desk.now - days(15)).floor(minutes(1))]);
    let (desk, _) = down(noon(), Duration::ZERO);
    assert_eq!(lost(&desk), []);
}

#[test]
fn what_seemed_lost_is_looked_at_again_where_the_api_shows_older_time() {
    let (mut desk, gap) = down(noon() - days(21), Duration::ZERO);
    assert_eq!(mark(&desk, gap.start + days(1)), Some(Mark::LOST));
    desk.ledger.saw_age(days(30));
    for _ in 0..50 {
        show_nothing(&mut desk);
    }
    assert_eq!(lost(&desk), []);
}

#[test]
fn a_failed_comparison_rests_and_the_live_edge_goes_on() {
    let mut desk = read();
    pass(&mut desk, noon() + minutes(10));
    let range = counted(&mut desk);
    (0..3).for_each(|_| desk.plan.check_failed(&mut desk.ledger, desk.now, CheckFailure::Passing));
    let begun = desk.now;
    let mut polls = 0;
    while desk.now < begun + seconds(35) {
        match desk.next() {
            Ask::Page(_) => {
                assert!(desk.plan.is_polling());
                polls += 1;
                desk.end(0);
            }
            Ask::Wait { until } => desk.now = until,
            other => panic!("{other:?} while it rests"),
        }
    }
    assert!(polls >= 2);
    pass(&mut desk, begun + minutes(6));
    assert_eq!(counted(&mut desk).start, range.start, "it comes again");
}

#[test]
fn a_look_that_fails_comes_an_hour_later_and_one_that_is_refused_is_a_try() {
    let (hour, day) = (minutes(60), minutes(60 * 24));
    for (failure, failures, tries, pause) in
        [(CheckFailure::Passing, 5, 0, hour), (CheckFailure::Garbled, 5, 1, day), (CheckFailure::Refused, 1, 1, day)]
    {
        let mut desk = at_the_last_age();
        let range = settle(&mut desk);
        (0..failures).for_each(|_| desk.plan.check_failed(&mut desk.ledger, desk.now, failure));
        let again = desk.now + pause;
        assert_eq!(mark(&desk, range.start), Some(Mark::Doubted { tries, unseen: 0, again }));
        pass(&mut desk, again);
        assert_eq!(settle(&mut desk), range);
    }
}
