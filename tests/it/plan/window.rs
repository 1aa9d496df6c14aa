//! Windows: which gap is read, where a long one is cut off, and what can't be paged.

use super::*;
use std::ops::Range;

/// Polls once, so that everything wanted before the last minute is a gap; waits for nothing.
fn gap_of(wanted: Duration) -> Desk {
    let mut desk = Desk::new(wanted);
    desk.page();
    desk.end(0);
    desk
}

fn window(desk: &mut Desk) -> Range<Time> {
    let ask = desk.page();
    ask.from..ask.to.expect("a window ends")
}

#[test]
fn the_newest_gap_is_read_first() {
    let mut desk = gap_of(minutes(10));
    desk.ledger.cover(noon() - minutes(8)..noon() - minutes(4));
    assert_eq!(window(&mut desk), noon() - minutes(4)..noon() - minutes(1));
    desk.end(0);
    assert_eq!(window(&mut desk), noon() - minutes(10)..noon() - minutes(8));
    desk.end(0);
    assert!(matches!(desk.next(), Ask::Wait { .. }) && desk.ledger.gaps().is_empty());
}

#[test]
fn a_window_admits_from_its_beginning_to_before_its_end() {
    let mut desk = gap_of(minutes(3));
    let Range { start, end } = window(&mut desk);
    let nano = Duration::from_nanos(1);
    for (time, inside) in [(start - nano, false), (start, true), (end - nano, true), (end, false), (end + nano, false)]
    {
        assert_eq!(matches!(desk.admit(1, time), Taken::New(_)), inside, "{time}");
    }
}

#[test]
fn a_window_asks_in_whole_milliseconds_around_what_it_covers() {
    let mut desk = Desk::new(minutes(3));
    desk.now = noon() + Duration::from_nanos(1_500);
    desk.ledger = Ledger::begin(FingerprintKey([7; 16]), noon(), noon() - minutes(3) + Duration::from_nanos(700));
    desk.page();
    desk.end(0);
    desk.ledger.advance_edge(noon() + Duration::from_nanos(1_500));
    let gaps = desk.ledger.gaps();
    let asked = window(&mut desk);
    let gap = gaps.last().unwrap();
    assert_eq!(asked.end.as_nanos() % 1_000_000, 0);
    assert!(asked.start <= gap.start && gap.end <= asked.end && gap.end != asked.end, "{asked:?} {gap:?}");
    assert_eq!(desk.admit(1, gap.end), Taken::Outside, "what it covers is compared to the nanosecond");
    desk.end(0);
    let asked = window(&mut desk);
    assert_eq!(asked.start, noon() - minutes(3));
}

/// Reads five full pages, each of one event's time, and gives the gaps then.
fn after_five_pages(times: [Time; 5]) -> Vec<Range<Time>> {
    let mut desk = gap_of(minutes(4));
    for (place, time) in times.into_iter().enumerate() {
        window(&mut desk);
        desk.shows(PAGE, time, Some(&format!("[{place}]")));
    }
    let asked = desk.page();
    assert_eq!((asked.from, asked.cursor.as_deref()), (noon() - minutes(4), Some("[4]")), "the query stays the same");
    desk.ledger.gaps()
}

#[test]
fn a_long_window_is_cut_off_at_the_minute_it_has_passed() {
    let whole = noon() - minutes(4)..noon() - minutes(1);
    let first = whole.start + seconds(5);
    let check = |times: [Time; 5], left: Time| {
        assert_eq!(after_five_pages(times), [left..whole.end], "{times:?}");
    };
    check([first; 5], whole.start);
    check([first, first, first, first, first + seconds(54)], whole.start);
    check([first, first, first, first, first + seconds(55)], whole.start + minutes(1));
    check([first, first, first, first, first + seconds(150)], whole.start + minutes(2));
    // Within a millisecond the API may give any order; otherwise it has shown that it gives none.
    check([first, first + Duration::from_nanos(9), first, first, first + minutes(1)], whole.start + minutes(1));
    check([first, first + minutes(1), first, first, first + minutes(1)], whole.start);
    // An end that the API does not heed: the window's own end is not passed by that.
    check([first, first, first, first, noon()], whole.start);
}

#[test]
fn a_window_that_was_cut_off_admits_only_what_is_left() {
    let mut desk = gap_of(minutes(4));
    let passed = noon() - minutes(3);
    for place in 0..5 {
        window(&mut desk);
        desk.shows(PAGE, passed + seconds(1), Some(&format!("[{place}]")));
    }
    assert_eq!(desk.admit(999, passed - seconds(1)), Taken::Outside);
    assert!(matches!(desk.admit(999, passed), Taken::New(_)));
    desk.end(0);
    assert!(desk.ledger.gaps().is_empty());
}

/// Reads all there is to read of gaps from an API that holds a page and more in each of `full` and gives no cursor.
fn read_without_cursors(desk: &mut Desk, full: &[Time]) -> u32 {
    for requests in 0..2_000 {
        match desk.next() {
            Ask::Page(ask) => {
                assert!(!desk.plan.is_polling(), "the clock stands still");
                let end = ask.to.unwrap();
                assert!(ask.from < end);
                let millisecond = Duration::from_millis(1);
                let shown = full.iter().any(|time| ask.from < *time + millisecond && *time < end);
                desk.end(if shown { PAGE } else { 0 });
            }
            Ask::Interval { .. } => desk.plan.interval_refused(),
            Ask::Count { .. } | Ask::Wait { .. } => return requests,
        }
    }
    panic!("it reads for ever: {:?}", desk.plan);
}

#[test]
fn a_millisecond_that_cannot_be_paged_stays_a_gap_and_the_rest_is_read() {
    let millisecond = Duration::from_millis(1);
    let full = noon() - minutes(30) + Duration::from_millis(123);
    // Side by side they are one gap, and each of them is given up.
    for count in [1, 2, 3] {
        let full: Vec<Time> = (0..count).map(|place| full + millisecond * place).collect();
        let mut desk = gap_of(minutes(60));
        let requests = read_without_cursors(&mut desk, &full);
        let stuck = full[0]..*full.last().unwrap() + millisecond;
        assert_eq!(desk.ledger.gaps(), std::slice::from_ref(&stuck));
        assert!(desk.plan.unpageable().covers(&stuck) && requests < 100, "{requests} requests");
        // Tried again a quarter of an hour later, and read where the API has got better.
        for _ in 0..61 {
            desk.now = desk.now + INTERVAL;
            desk.page();
            desk.end(0);
        }
        read_without_cursors(&mut desk, &[]);
        assert!(desk.ledger.gaps().is_empty());
        desk.now = desk.now + INTERVAL;
        assert!(desk.plan.unpageable().ranges().is_empty());
    }
}

#[test]
fn a_window_that_is_abandoned_is_cut_anew() {
    let mut desk = gap_of(minutes(4));
    let asked = window(&mut desk);
    desk.shows(PAGE, asked.start, Some("[1]"));
    desk.plan.abandon_read(desk.now);
    let again = desk.page();
    assert_eq!((again.from..again.to.unwrap(), again.cursor), (asked, None));
}

/// Reads all there is to read of gaps from an API whose answers for `poison` are never whole.
fn read_around(desk: &mut Desk, poison: Range<Time>, mut fails: impl FnMut(&mut Desk)) -> u32 {
    for requests in 0..20_000 {
        match desk.next() {
            Ask::Page(ask) if ask.from < poison.end && poison.start < ask.to.unwrap() => fails(desk),
            Ask::Page(_) => desk.end(0),
            Ask::Interval { .. } => desk.plan.interval_refused(),
            Ask::Count { .. } | Ask::Wait { .. } => return requests,
        }
    }
    panic!("it reads for ever: {:?}", desk.plan);
}

#[test]
fn what_is_never_whole_is_narrowed_down_and_older_time_goes_on() {
    let at = noon() - minutes(30) + Duration::from_millis(123);
    let poison = at..at + Duration::from_millis(1);
    let mut desk = gap_of(minutes(60 * 24));
    let requests = read_around(&mut desk, poison.clone(), |desk| desk.plan.read_unreadable(desk.now));
    assert_eq!(desk.ledger.gaps(), std::slice::from_ref(&poison));
    assert_eq!(desk.plan.aside(&poison), Some(Aside::Unreadable));
    assert!(requests < 100, "{requests} requests");
}

#[test]
fn much_that_is_never_whole_is_set_aside_in_few_parts() {
    let mut desk = gap_of(minutes(60 * 24));
    let poison = noon() - minutes(600)..noon() - minutes(60);
    let requests = read_around(&mut desk, poison.clone(), |desk| desk.plan.read_unreadable(desk.now));
    let gaps = desk.ledger.gaps();
    assert!(gaps.iter().all(|gap| desk.plan.aside(gap) == Some(Aside::Unreadable)), "{gaps:?}");
    assert!(desk.ledger.coverage().covers(&(noon() - minutes(60 * 24)..noon() - minutes(1_000))));
    assert!(requests < 1_500, "{requests} requests");
}

#[test]
fn what_is_refused_stays_a_gap_and_older_time_goes_on() {
    let refused = noon() - minutes(600)..noon() - minutes(60);
    let mut desk = gap_of(minutes(60 * 24));
    // Cut by hand, so that the refused part is windows of its own.
    for _ in 0..3 {
        let Ask::Interval { range, unit } = desk.next() else { break };
        let mut buckets = Vec::new();
        let mut bucket = range.start.floor(unit.length());
        while bucket < range.end {
            buckets.push((bucket, 40));
            bucket = bucket + unit.length();
        }
        desk.plan.interval_read(&mut desk.ledger, &buckets, desk.now);
    }
    read_around(&mut desk, refused.clone(), |desk| desk.plan.read_refused(desk.now));
    let gaps = desk.ledger.gaps();
    let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert!(gap.start <= refused.start && gap.end >= refused.end, "{gap:?}");
    assert!(gap.start > refused.start - minutes(120) && desk.plan.aside(gap) == Some(Aside::Refused), "{gap:?}");
}

#[test]
fn pages_that_show_the_same_again_and_again_with_new_cursors_lead_nowhere() {
    let mut desk = gap_of(minutes(4));
    let start = window(&mut desk).start;
    let mut pages = 0;
    while desk.next() == Ask::Page(desk.page()) && desk.page().cursor.is_some() == (pages > 0) && pages < 20 {
        for id in 0..u64::from(PAGE) {
            desk.admit(id, start);
        }
        desk.page_read(Some(PAGE), PAGE, Some(&format!("[{pages}]")));
        pages += 1;
    }
    assert_eq!(pages, 8, "one brings them, two show that they are known, and 50 events in five more bring nothing");
}

#[test]
fn a_crowd_at_one_instant_is_read_again_to_its_end() {
    let mut desk = gap_of(minutes(4));
    let start = window(&mut desk).start;
    let page = |desk: &mut Desk, place: u64| {
        for id in 0..u64::from(PAGE) {
            desk.admit(place * 1_000 + id, start);
        }
        desk.page_read(Some(PAGE), PAGE, Some(&format!("[{place}]")));
    };
    (0..50).for_each(|place| page(&mut desk, place));
    desk.plan.abandon_read(desk.now);
    for place in 0..50 {
        window(&mut desk);
        page(&mut desk, place);
        assert_eq!(desk.page().cursor, Some(format!("[{place}]")), "known, but not shown before by this read");
    }
}

/// What is asked while nothing is answered, and its tickets.
fn in_the_air(desk: &mut Desk) -> Vec<(Ticket, Range<Time>)> {
    let mut asked = Vec::new();
    while let Ask::Page(ask) = desk.next() {
        asked.push((desk.plan.send_off(), ask.from..ask.to.expect("a window ends")));
    }
    asked
}

/// An hour in gaps of a minute each, which are not worth counting.
fn sixty_gaps() -> Desk {
    let mut desk = gap_of(minutes(121));
    for minute in 0..60 {
        let from = noon() - minutes(121) + minutes(2 * minute);
        desk.ledger.cover(from..from + minutes(1));
    }
    desk
}

#[test]
fn several_windows_are_in_the_air_and_answered_in_any_order() {
    let mut desk = sixty_gaps();
    let gaps = desk.ledger.gaps();
    let asked = in_the_air(&mut desk);
    let ranges: Vec<Range<Time>> = asked.iter().map(|(_, range)| range.clone()).collect();
    assert_eq!(ranges, gaps.iter().rev().take(WINDOWS).cloned().collect::<Vec<_>>(), "the newest, each once");
    for place in [1, 2, 0] {
        let (ticket, range) = &asked[place];
        assert!(desk.plan.answered(*ticket));
        assert!(matches!(desk.admit(place as u64, range.start), Taken::New(_)));
        assert_eq!(desk.admit(99, range.end), Taken::Outside, "that is another window's");
        desk.end(1);
        assert!(desk.ledger.coverage().covers(range));
    }
    assert_eq!(desk.ledger.gaps().len(), gaps.len() - WINDOWS);
    assert_eq!(in_the_air(&mut desk).len(), WINDOWS);
}

#[test]
fn what_waits_for_an_answer_is_not_asked_again_and_what_failed_is() {
    let mut desk = sixty_gaps();
    let asked = in_the_air(&mut desk);
    assert!(matches!(desk.next(), Ask::Wait { .. }));
    let (ticket, range) = &asked[1];
    assert!(desk.plan.answered(*ticket));
    assert_eq!(&window(&mut desk), range, "it failed, so it is asked again");
    desk.plan.abandon_read(desk.now);
    assert_eq!(&window(&mut desk), range, "it is begun anew before any other");
}

#[test]
fn an_answer_to_what_was_given_up_is_nobodys() {
    let mut desk = sixty_gaps();
    let asked = in_the_air(&mut desk);
    desk.ledger.advance_edge(noon() + minutes(60));
    desk.plan.cut_back(&mut desk.ledger, noon() + minutes(60), desk.now);
    for (ticket, _) in asked {
        assert!(!desk.plan.answered(ticket));
    }
}

#[test]
fn what_the_api_soon_forgets_is_read_before_newer_gaps() {
    let day = minutes(24 * 60);
    let mut desk = gap_of(day * 15);
    // Fourteen days are far from forgotten, when fifteen are kept; the oldest is not.
    desk.ledger.cover(noon() - day * 15 + minutes(3)..noon() - day * 2);
    desk.ledger.cover(noon() - day * 2 + minutes(3)..noon() - minutes(4));
    let oldest = window(&mut desk);
    assert_eq!(oldest, noon() - day * 15..noon() - day * 15 + minutes(3));
    desk.end(0);
    assert_eq!(window(&mut desk), noon() - minutes(4)..noon() - minutes(1));
    desk.end(0);
    assert_eq!(window(&mut desk), noon() - day * 2..noon() - day * 2 + minutes(3));
}
