//! What the plan makes of an API that shows nothing, which a lapsed licence looks just like.

use std::ops::Range;

use jumpstream::clock::Time;
use jumpstream::ledger::{FingerprintKey, Ledger, Mark};
use jumpstream::plan::{Ages, Ask, CheckFailure, Plan, Settings, Taken};
use jumpstream::record::Delivery;

use super::verify::{
    AGE, LAST, answer, at_the_last_age, compared, counted, days, lost, mark, pass, read, read_again, settle,
    show_nothing,
};
use super::{Desk, INTERVAL, PAGE, minutes, noon, seconds};

/// One event is asked for, of an hour in which some were delivered.
fn witness(desk: &mut Desk) -> Range<Time> {
    match compared(desk) {
        Ask::Page(ask) if ask.limit == 1 => ask.from..ask.to.unwrap(),
        other => panic!("no witness but {other:?}"),
    }
}

/// The API shows an event of that hour; whatever it is, it is not taken, since of settled time none would be known.
fn testify(desk: &mut Desk) {
    assert_eq!(desk.admit(1_000, noon() - minutes(40)), Taken::Outside);
    desk.page_read(Some(1), 1, Some("more"));
}

/// A day before noon is read and shows nothing, nor is anything counted.
fn empty_gap() -> (Desk, Range<Time>) {
    let mut desk = read();
    desk.ledger.move_start(noon() - days(1));
    let gap = desk.ledger.start()..noon() - minutes(60);
    assert!(matches!(compared(&mut desk), Ask::Interval { .. }));
    desk.plan.interval_read(&mut desk.ledger, &[], desk.now);
    assert_eq!(settle(&mut desk), gap);
    desk.end(0);
    assert_eq!(counted(&mut desk), gap);
    answer(&mut desk, 0);
    assert_eq!(mark(&desk, gap.start), None, "nothing is no proof");
    assert_eq!(witness(&mut desk), noon() - minutes(60)..noon(), "an hour of which events were delivered");
    (desk, gap)
}

#[test]
fn a_look_while_the_api_shows_nothing_at_all_costs_no_try() {
    let mut desk = at_the_last_age();
    for shows_other_time in [false, false, false, false, true] {
        let range = read_again(&mut desk, |_| false);
        assert_eq!(witness(&mut desk), range);
        if shows_other_time {
            testify(&mut desk);
            assert_eq!(settle(&mut desk), range, "is it still not shown?");
        }
        desk.end(0);
        let again = desk.now + days(1);
        let tries = u8::from(shows_other_time);
        assert_eq!(mark(&desk, range.start), Some(Mark::Doubted { tries, unseen: 40, again }));
        pass(&mut desk, again);
        desk.ledger.mark(noon()..again, Mark::Verified);
    }
}

#[test]
fn an_empty_range_is_verified_where_the_api_shows_other_time_and_then_still_nothing_of_it() {
    let (mut desk, gap) = empty_gap();
    testify(&mut desk);
    assert_eq!(mark(&desk, gap.start), None, "the silence may have ended since the range was read");
    assert_eq!(settle(&mut desk), gap);
    desk.end(0);
    assert_eq!(mark(&desk, gap.start), Some(Mark::Verified));
}

#[test]
fn an_empty_range_is_doubted_while_the_api_shows_nothing_of_other_time_whatever_it_counts() {
    let (mut desk, gap) = empty_gap();
    desk.end(0);
    let doubted = Some(Mark::Doubted { tries: 0, unseen: 0, again: desk.now + days(1) });
    assert_eq!(mark(&desk, gap.start), doubted);
}

#[test]
fn what_a_silence_hid_of_an_empty_range_is_shown_once_other_time_is() {
    let (mut desk, gap) = empty_gap();
    testify(&mut desk);
    assert_eq!(settle(&mut desk), gap);
    assert_eq!(desk.admit(100, gap.start + minutes(30)), Taken::New(Delivery::Late));
    desk.end(1);
    assert_eq!(mark(&desk, gap.start), Some(Mark::Verified));
}

#[test]
fn where_other_time_cannot_be_read_the_look_comes_an_hour_later() {
    for (failure, failures) in [(CheckFailure::Passing, 5), (CheckFailure::Garbled, 5), (CheckFailure::Refused, 1)] {
        let mut desk = at_the_last_age();
        let range = read_again(&mut desk, |_| false);
        assert_eq!(witness(&mut desk), range);
        (0..failures).for_each(|_| desk.plan.check_failed(&mut desk.ledger, desk.now, failure));
        let again = desk.now + minutes(60);
        assert_eq!(mark(&desk, range.start), Some(Mark::Doubted { tries: 0, unseen: 40, again }));
    }
}

#[test]
fn a_second_look_that_is_refused_is_a_try() {
    let mut desk = at_the_last_age();
    let range = read_again(&mut desk, |_| false);
    assert_eq!(witness(&mut desk), range);
    testify(&mut desk);
    assert_eq!(settle(&mut desk), range);
    desk.plan.check_failed(&mut desk.ledger, desk.now, CheckFailure::Refused);
    assert!(matches!(mark(&desk, range.start), Some(Mark::Doubted { tries: 1, .. })));
}

#[test]
fn a_long_silence_that_ends_is_read_again_and_not_lost() {
    let mut desk = read();
    let silent = noon() - days(20)..noon();
    desk.ledger = Ledger::begin(FingerprintKey([7; 16]), noon() - days(21), silent.start - minutes(60));
    desk.ledger.cover(silent.start - minutes(60)..silent.end);
    desk.admit_to_ledger(1, silent.start - minutes(1)).unwrap();
    desk.ledger.advance_edge(noon());
    desk.page();
    desk.admit(2, desk.now - seconds(3));
    desk.end(1);
    assert!(matches!(compared(&mut desk), Ask::Interval { .. }));
    desk.plan.interval_read(&mut desk.ledger, &[], desk.now);
    let again = settle(&mut desk);
    assert!(again.start <= silent.start && again.end > silent.start + days(5), "{again:?}");
    desk.end(0);
    while !desk.ledger.gaps().is_empty() {
        show_nothing(&mut desk);
    }
    assert_eq!(lost(&desk), []);
}

#[test]
fn the_first_event_after_a_silence_has_the_silence_read_again() {
    let mut desk = Desk::polled();
    desk.ledger.move_start(noon() - minutes(300));
    desk.ledger.cover(noon() - minutes(300)..noon());
    desk.admit_to_ledger(1, noon() - minutes(200)).unwrap();
    desk.page();
    desk.admit(2, desk.now - seconds(3));
    desk.end(1);
    let gaps = desk.ledger.gaps();
    assert_eq!(gaps.first().map(|gap| gap.start), Some(noon() - minutes(199)), "{gaps:?}");
    // An event at a busy time reopens nothing.
    let mut desk = Desk::polled();
    desk.ledger.move_start(noon() - minutes(300));
    desk.ledger.cover(noon() - minutes(300)..noon());
    desk.admit_to_ledger(1, noon() - minutes(30)).unwrap();
    desk.page();
    desk.admit(2, desk.now - seconds(3));
    desk.end(1);
    assert_eq!(desk.ledger.gaps(), []);
}

#[test]
fn nothing_is_compared_while_the_api_has_never_shown_anything() {
    let mut desk = Desk::new(minutes(600));
    let ages = Ages::of([AGE, LAST]);
    desk.plan = Plan::new(Settings { interval: INTERVAL, page_size: PAGE, windows: 3, ages, retention: None });
    desk.ledger.cover(noon() - minutes(600)..noon());
    desk.ledger.advance_edge(noon());
    pass(&mut desk, noon() + minutes(10));
    for _ in 0..20 {
        match desk.next() {
            Ask::Page(_) => {
                assert!(desk.plan.is_polling());
                desk.end(0);
            }
            Ask::Wait { until } => desk.now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!(desk.plan.has_settled(&desk.ledger, desk.now));
}
