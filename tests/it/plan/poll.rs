//! Live polls: where they begin, what moves the edge, and how far they look back.

use super::*;
use jumpstream::plan::OVERLAP;

#[test]
fn a_poll_begins_an_overlap_behind_the_edge_and_a_minute_ago_without_one() {
    // How long after the last poll, and how long before that moment the next one begins.
    let check = |away: Duration, expected: Duration| {
        let mut desk = Desk::polled();
        desk.now = noon() + away;
        let ask = desk.page();
        assert_eq!((ask.from, ask.to, ask.cursor), (desk.now - expected, None, None), "{away:?} later");
    };
    let mut first = Desk::new(minutes(60));
    assert_eq!(first.page().from, noon() - minutes(1));
    check(seconds(15), seconds(15 + 2 + 60));
    check(seconds(298), seconds(298 + 2 + 60));
    check(seconds(299), seconds(60));
    check(minutes(10_000), seconds(60));
}

#[test]
fn the_edge_is_the_time_of_the_first_request_less_two_seconds() {
    let mut desk = Desk::new(minutes(0));
    desk.page();
    desk.shows(PAGE, noon(), Some("[1]"));
    desk.now = noon() + seconds(30);
    assert_eq!(desk.page().cursor.as_deref(), Some("[1]"));
    assert_eq!(desk.ledger.edge(), None, "not before the read has ended");
    desk.end(0);
    assert_eq!(desk.ledger.edge(), Some(noon() - seconds(2)));
    assert!(desk.ledger.gaps().is_empty());
}

#[test]
fn what_lies_between_a_lagging_edge_and_the_poll_is_a_gap_an_overlap_longer() {
    let mut desk = Desk::polled();
    // Seen from the first second on, so that the gap is not cut off by the start.
    desk.ledger.move_start(noon() - minutes(60));
    desk.ledger.cover(noon() - minutes(60)..noon());
    desk.now = noon() + minutes(60);
    desk.page();
    desk.end(0);
    let edge = noon() - seconds(2);
    assert_eq!(desk.ledger.gaps(), [edge - OVERLAP.end..desk.now - OVERLAP.end]);
}

#[test]
fn the_overlap_fits_half_a_page_between_10_and_60_seconds() {
    let check = |knowns: &[u32], expected: u64| {
        let mut desk = Desk::polled();
        // All ids are known before the first look.
        desk.page();
        let time = desk.now;
        (0..1_000).for_each(|id| assert!(matches!(desk.admit(id, time), Taken::New(_))));
        desk.end(0);
        let mut overlap = desk.plan.overlap();
        for count in knowns {
            desk.now = desk.now + INTERVAL;
            desk.page();
            (0..u64::from(*count)).for_each(|id| assert_eq!(desk.admit(id, time), Taken::Known));
            desk.end(0);
            overlap = desk.plan.overlap();
        }
        assert_eq!(overlap, seconds(expected), "{knowns:?}");
    };
    check(&[0], 60);
    check(&[5], 60);
    check(&[10], 30);
    check(&[20], 15);
    check(&[1_000], 10);
    check(&[1_000, 4], 10);
    check(&[1_000, 1], 20);
    check(&[1_000, 0, 0, 0, 0], 60);
}

#[test]
fn a_future_crowd_is_left_out_but_every_five_minutes() {
    let mut desk = Desk::polled();
    let ahead = noon() + minutes(120);
    desk.page();
    (0..6).for_each(|id| assert!(matches!(desk.admit(id, ahead), Taken::New(_))));
    desk.end(0);
    let mut bounds = Vec::new();
    for _ in 0..45 {
        desk.now = desk.now + INTERVAL;
        let ask = desk.page();
        assert!(ask.to.is_none_or(|to| to == desk.now + minutes(2)));
        if ask.to.is_none() {
            (0..6).for_each(|id| assert_eq!(desk.admit(id, ahead), Taken::Known));
        }
        desk.end(0);
        bounds.push(ask.to.is_some());
        assert_eq!(desk.ledger.edge(), Some(desk.now - seconds(2)), "a bound holds nothing back");
    }
    // 5 min are 20 polls.
    let unbounded: Vec<usize> = (0..45).filter(|place| !bounds[*place]).collect();
    assert_eq!(unbounded, [0, 20, 40]);
    // The crowd has passed: nothing is known beyond two minutes, so polls have no end again.
    desk.now = desk.now + minutes(4);
    desk.page();
    desk.end(0);
    desk.now = desk.now + INTERVAL;
    assert_eq!(desk.page().to, None);
}

#[test]
fn a_read_ends_at_a_page_that_is_short_against_its_own_limit() {
    let check = |limit: Option<u32>, elements: u32, ended: bool| {
        let mut desk = Desk::polled();
        let edge = desk.ledger.edge();
        assert_eq!(desk.page().limit, PAGE);
        desk.page_read(limit, elements, Some("[1]"));
        assert_eq!(desk.ledger.edge() > edge, ended, "X-Limit {limit:?}, {elements} elements");
        assert_eq!(desk.plan.is_polling(), !ended, "X-Limit {limit:?}, {elements} elements");
    };
    check(Some(PAGE), PAGE - 1, true);
    check(Some(PAGE), PAGE, false);
    check(Some(PAGE), PAGE + 1, false);
    check(Some(4), 3, true);
    check(Some(4), 4, false);
    // What the API claims to take as the limit says nothing once it gave all that we asked for.
    check(Some(1_000), PAGE - 1, true);
    check(Some(1_000), PAGE, false);
    check(None, 1, false);
    check(None, 0, true);
    check(Some(0), 1, false);
    check(Some(0), 0, true);
}

#[test]
fn a_poll_that_cannot_be_paged_leaves_a_gap_and_the_edge_goes_on() {
    for cursors in [[None, None], [Some("[1]"), Some("[1]")]] {
        let mut desk = Desk::polled();
        desk.ledger.move_start(noon() - minutes(60));
        desk.ledger.cover(noon() - minutes(60)..noon());
        let edge = desk.ledger.edge().unwrap();
        for cursor in cursors {
            desk.now = desk.now + minutes(1);
            desk.page();
            desk.page_read(Some(PAGE), PAGE, cursor);
        }
        assert!(!desk.plan.is_polling(), "{cursors:?}");
        let new_edge = desk.ledger.edge().unwrap();
        assert!(edge < new_edge && new_edge <= desk.now - OVERLAP.end, "{new_edge}");
        // The last poll that ended promised to look back a minute; nobody else will.
        assert_eq!(desk.ledger.gaps(), [edge - OVERLAP.end..new_edge], "{cursors:?}");
    }
}

#[test]
fn a_cursor_never_outlives_its_read() {
    let mut desk = Desk::polled();
    desk.page();
    desk.shows(PAGE, noon(), Some("[1]"));
    assert!(desk.page().cursor.is_some());
    desk.plan.abandon_read(desk.now);
    assert_eq!(desk.page().cursor, None);
    desk.shows(PAGE, noon(), Some("[2]"));
    desk.end(0);
    desk.now = desk.now + INTERVAL;
    assert_eq!(desk.page().cursor, None);
}

#[test]
fn a_clock_that_was_set_back_does_not_silence_the_polls() {
    let mut desk = Desk::polled();
    desk.page();
    desk.end(0);
    assert!(matches!(desk.next(), Ask::Wait { .. }));
    desk.now = desk.now - minutes(60);
    let ask = desk.page();
    assert!(ask.to.is_none(), "{ask:?}");
    desk.end(0);
    let edge = desk.ledger.edge();
    assert_eq!(desk.next(), Ask::Wait { until: desk.now + INTERVAL });
    assert_eq!(edge, Some(noon() + INTERVAL - seconds(2)), "a reading of the clock takes nothing back");
}

#[test]
fn a_clock_that_was_ahead_is_cut_back_with_what_was_read_by_it() {
    let mut desk = Desk::new(minutes(30));
    desk.now = noon() + minutes(60);
    desk.page();
    desk.end(0);
    desk.plan.cut_back(&mut desk.ledger, noon() + minutes(60), noon());
    let edge = desk.ledger.edge().unwrap();
    assert_eq!(edge, noon() - seconds(2) - OVERLAP.end);
    desk.now = noon();
    assert_eq!(desk.page().from, edge - OVERLAP.end);
    // Where the edge lies behind, the poll begins anew and nothing is taken back.
    let mut desk = Desk::polled();
    let edge = desk.ledger.edge();
    desk.plan.cut_back(&mut desk.ledger, noon() + minutes(60), noon());
    assert_eq!(desk.ledger.edge(), edge);
}

#[test]
fn events_before_the_start_and_outside_the_window_are_no_duplicates() {
    let mut desk = Desk::new(minutes(10));
    desk.page();
    assert_eq!(desk.admit(1, noon() - minutes(10) - Duration::from_nanos(1)), Taken::Outside);
    assert!(matches!(desk.admit(1, noon() - minutes(10)), Taken::New(_)), "a poll takes whatever comes");
    assert_eq!(desk.admit(1, noon() - minutes(10)), Taken::Known);
    desk.end(0);
}

#[test]
fn slow_polls_starve_no_gap_and_slow_windows_no_poll() {
    // Every request takes longer than the interval.
    let mut desk = Desk::new(minutes(60 * 24));
    let (mut polls, mut windows) = (0, 0);
    for _ in 0..60 {
        match desk.next() {
            Ask::Page(_) if desk.plan.is_polling() => {
                polls += 1;
                desk.now = desk.now + INTERVAL * 2;
                desk.end(0);
            }
            Ask::Page(_) => {
                windows += 1;
                desk.now = desk.now + INTERVAL * 2;
                desk.end(0);
            }
            Ask::Interval { .. } => {
                desk.now = desk.now + INTERVAL * 2;
                // Nothing is few enough to be one window.
                let hours = (0..30).map(|hour| (noon() - minutes(60 * hour), 1_000)).collect::<Vec<_>>();
                desk.plan.interval_read(&mut desk.ledger, &hours, desk.now);
            }
            Ask::Count { .. } | Ask::Wait { .. } => break,
        }
    }
    assert!(polls >= 20 && windows >= 10, "{polls} polls, {windows} windows");
}

#[test]
fn an_edge_that_an_earlier_life_put_into_the_future_goes_back_to_the_last_trace() {
    let day = minutes(60 * 24);
    // Polled until noon, then by a clock nine days ahead; down for two days.
    let damaged = |delivered: Option<Time>| {
        let mut desk = Desk::new(day * 20);
        desk.page();
        desk.end(0);
        desk.ledger.cover(noon() - day * 20..noon() + day * 9);
        desk.ledger.advance_edge(noon() + day * 9);
        delivered.inspect(|time| assert!(desk.admit_to_ledger(1, *time).is_some()));
        desk.now = noon() + day * 2;
        desk
    };
    for (delivered, expected) in [
        (Some(noon() - seconds(59)), noon() - minutes(2)),
        (Some(noon() - day * 12), noon() - day * 12),
        // Nothing was ever delivered that has passed by now.
        (Some(noon() + day * 5), noon() - day * 20),
        (None, noon() - day * 20),
    ] {
        let mut desk = damaged(delivered);
        let edge = desk.plan.check_edge(&mut desk.ledger, desk.now);
        assert_eq!(edge, Some(noon() + day * 9));
        let (first, wanted) = (desk.ledger.edge().unwrap(), expected.max(noon() - day * 20) - OVERLAP.end);
        assert!(first == expected || first == wanted, "{delivered:?}: {first}");
        desk.page();
        desk.end(0);
        let gaps = desk.ledger.gaps();
        assert!(gaps.iter().any(|gap| gap.start <= expected && noon() + day < gap.end), "{delivered:?}: {gaps:?}");
        // The same where the API is the first to say so, whatever was believed at this start.
        let mut desk = damaged(delivered);
        desk.plan.cut_back(&mut desk.ledger, desk.now, desk.now);
        assert_eq!(desk.ledger.edge(), Some(first), "{delivered:?}");
    }
    let mut desk = Desk::polled();
    assert_eq!(desk.plan.check_edge(&mut desk.ledger, desk.now - minutes(10)), None, "clocks differ by minutes");
}

#[test]
fn where_all_traces_are_forgotten_the_end_of_the_last_hour_counts() {
    let day = minutes(60 * 24);
    let mut desk = Desk::new(day * 30);
    desk.admit_to_ledger(1, noon() - day * 20).unwrap();
    desk.ledger.cover(noon() - day * 30..noon() + day * 9);
    desk.ledger.advance_edge(noon() + day * 9);
    crate::ledger::settle(&mut desk.ledger, noon());
    assert_eq!(desk.ledger.fingerprints(), 0);
    desk.plan.check_edge(&mut desk.ledger, noon());
    assert_eq!(desk.ledger.edge(), Some(noon() - day * 20 + minutes(60)));
}

#[test]
fn a_poll_that_is_never_whole_begins_anew_a_minute_ago_and_the_rest_is_a_gap() {
    let mut desk = Desk::polled();
    desk.ledger.move_start(noon() - minutes(60));
    desk.ledger.cover(noon() - minutes(60)..noon());
    let edge = desk.ledger.edge().unwrap();
    desk.now = noon() + seconds(100);
    assert_eq!(desk.page().from, edge - OVERLAP.end);
    desk.plan.read_unreadable(desk.now);
    assert_eq!(desk.page().from, desk.now - OVERLAP.end);
    assert_eq!(desk.ledger.edge(), Some(edge), "nothing was read");
    desk.end(0);
    assert_eq!(desk.ledger.gaps(), [edge - OVERLAP.end..desk.now - OVERLAP.end]);
}

#[test]
fn where_the_api_refuses_an_end_in_its_future_polls_have_none() {
    let mut desk = Desk::polled();
    desk.page();
    let ahead = noon() + minutes(120);
    (0..6).for_each(|id| assert!(matches!(desk.admit(id, ahead), Taken::New(_))));
    desk.end(0);
    let crowded = |desk: &mut Desk| {
        desk.now = desk.now + INTERVAL;
        let ask = desk.page();
        if ask.to.is_none() {
            (0..6).for_each(|id| assert_eq!(desk.admit(id, ahead), Taken::Known));
        }
        ask.to
    };
    assert_eq!(crowded(&mut desk), None);
    desk.end(0);
    assert!(crowded(&mut desk).is_some());
    let edge = desk.ledger.edge();
    desk.plan.read_refused(desk.now);
    for _ in 0..10 {
        assert_eq!(crowded(&mut desk), None);
        desk.end(0);
    }
    assert!(desk.ledger.edge() > edge);
}
