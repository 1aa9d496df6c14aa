//! How a gap is cut: whatever the API counts, the windows are the gap, newest first.

use std::ops::Range;

use jumpstream::clock::Time;
use jumpstream::plan::cut::{Cuts, Next, Unit};
use proptest::prelude::*;

use super::*;

/// What may be asked in one answer.
const BUCKETS: usize = 1_500;

/// The windows of a gap, where `counted` says how many events each unit holds; and how often it was asked.
fn cut(gap: Range<Time>, few: u64, counted: impl Fn(Range<Time>, Unit) -> Option<Vec<(Time, u64)>>) -> Cut {
    let mut cuts = Cuts::default();
    let (mut windows, mut asked) = (Vec::new(), Vec::new());
    cuts.begin(gap);
    while let Some(next) = cuts.next(few) {
        match next {
            Next::Window(range) => windows.push(range),
            Next::Ask { range, unit } => {
                assert!(buckets(&range, unit) <= BUCKETS, "{range:?} by {unit:?}");
                asked.push(unit);
                match counted(range, unit) {
                    Some(counted) => assert_eq!(cuts.split(&counted, few), oldest(&counted, unit)),
                    None => cuts.take_whole(),
                }
            }
        }
        assert!(windows.len() < 100_000);
    }
    assert!(cuts.is_empty());
    Cut { windows, asked }
}

/// The end of the oldest unit that holds anything.
fn oldest(counted: &[(Time, u64)], unit: Unit) -> Option<Time> {
    let ends =
        counted.iter().filter(|(_, events)| *events > 0).map(|(start, _)| start.floor(unit.length()) + unit.length());
    ends.min()
}

struct Cut {
    windows: Vec<Range<Time>>,
    asked: Vec<Unit>,
}

fn buckets(range: &Range<Time>, unit: Unit) -> usize {
    let length = unit.length();
    (range.end.ceil(length).since(range.start.floor(length)).as_secs() / length.as_secs()) as usize
}

/// Newest first, without a hole and without an overlap.
fn assert_tiles(gap: &Range<Time>, windows: &[Range<Time>]) {
    assert!(windows.iter().all(|window| window.start < window.end), "{windows:?}");
    assert_eq!(windows.first().map(|first| first.end), Some(gap.end));
    assert_eq!(windows.last().map(|last| last.start), Some(gap.start));
    assert!(windows.windows(2).all(|pair| pair[1].end == pair[0].start), "{windows:?}");
}

#[test]
fn a_gap_is_counted_by_the_coarsest_unit_that_divides_it() {
    let check = |length: Duration, asked: &[Unit]| {
        let gap = noon()..noon() + length;
        let cut = cut(gap.clone(), 50, |_, _| Some(Vec::new()));
        assert_eq!(cut.asked, asked, "{length:?}");
        assert_tiles(&gap, &cut.windows);
        assert_eq!(cut.windows.len(), asked.len().max(1), "what holds nothing is one window");
    };
    check(Duration::from_nanos(1), &[]);
    check(minutes(5), &[]);
    check(minutes(6), &[Unit::Minute]);
    check(minutes(120), &[Unit::Minute]);
    check(minutes(121), &[Unit::Hour]);
    check(minutes(48 * 60), &[Unit::Hour]);
    check(minutes(49 * 60), &[Unit::Day]);
    // More than 1,500 days are asked in two answers.
    check(minutes(60 * 24 * 2_000), &[Unit::Day, Unit::Day]);
}

#[test]
fn only_what_is_full_is_counted_finer() {
    // Ten days, of which one hour holds everything, evenly over its minutes.
    let gap = noon()..noon() + minutes(60 * 24 * 10);
    let busy = noon() + minutes(60 * 24 * 4)..noon() + minutes(60 * 24 * 4 + 60);
    let counted = |range: Range<Time>, unit: Unit| {
        let mut found = std::collections::BTreeMap::new();
        for minute in 0..60 {
            let time = busy.start + minutes(minute);
            if range.contains(&time) {
                *found.entry(time.floor(unit.length())).or_default() += 20u64;
            }
        }
        Some(found.into_iter().collect())
    };
    let cut = cut(gap.clone(), 50, counted);
    assert_eq!(cut.asked, [Unit::Day, Unit::Hour, Unit::Minute]);
    assert_tiles(&gap, &cut.windows);
    let within = |window: &&Range<Time>| window.start < busy.end && busy.start < window.end;
    assert!(cut.windows.iter().filter(within).all(|window| window.end.since(window.start) <= minutes(2)));
    assert_eq!(cut.windows.iter().filter(within).count(), 30);
}

#[test]
fn where_counting_is_refused_the_gap_is_one_window() {
    let gap = noon()..noon() + minutes(60 * 24 * 30);
    assert_eq!(cut(gap.clone(), 50, |_, _| None).windows, [gap]);
}

#[test]
fn what_is_expected_never_overflows() {
    let mut cuts = Cuts::default();
    cuts.begin(noon()..noon() + minutes(60));
    cuts.next(50);
    let lies: Vec<(Time, u64)> = (0..60).map(|minute| (noon() + minutes(minute), u64::MAX)).collect();
    cuts.split(&[lies.clone(), lies].concat(), 50);
    assert_eq!(cuts.expected(), Some(u64::MAX));
}

#[test]
fn halves_end_at_whole_minutes_then_at_milliseconds() {
    let millisecond = Duration::from_millis(1);
    let micros = |count: u64| Duration::from_micros(count);
    let check = |window: Range<Time>, middle: Option<Time>| {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.halve(window.clone()), middle.is_some(), "{window:?}");
        let expected: Vec<Range<Time>> =
            middle.into_iter().flat_map(|middle| [middle..window.end, window.start..middle]).collect();
        let halves: Vec<Range<Time>> = std::iter::from_fn(|| match cuts.next(0)? {
            Next::Window(half) => Some(half),
            Next::Ask { .. } => None,
        })
        .collect();
        assert_eq!(halves, expected, "{window:?}");
    };
    check(noon()..noon() + minutes(5), Some(noon() + minutes(2)));
    check(noon() + seconds(30)..noon() + seconds(150), Some(noon() + minutes(1)));
    check(noon()..noon() + seconds(119), Some(noon() + Duration::from_millis(59_500)));
    check(noon()..noon() + millisecond * 2, Some(noon() + millisecond));
    check(noon()..noon() + millisecond, None);
    check(noon()..noon() + micros(1), None);
    // Short, but of two milliseconds.
    check(noon() + micros(900)..noon() + micros(1_100), Some(noon() + millisecond));
    check(noon() + micros(500)..noon() + micros(1_500), Some(noon() + millisecond));
}

proptest! {
    #[test]
    fn windows_are_the_gap_whatever_is_counted(
        from in 0..100_000_000_000_000i64,
        length in prop_oneof![1..1_000_000_000i64, 1..600_000_000_000i64, 1..200_000_000_000_000i64, 1..300_000_000_000_000_000i64],
        few in 1..200u64,
        answers in prop::collection::vec(
            prop::option::weighted(0.9, prop::collection::vec((-5..105i64, prop_oneof![0..300u64, Just(u64::MAX)], 0..999i64), 0..40)),
            1..6,
        ),
    ) {
        let begin = noon().as_nanos();
        let gap = Time::from_nanos(begin + from)..Time::from_nanos(begin + from + length);
        let turn = std::cell::Cell::new(0);
        let cut = cut(gap.clone(), few, |range, _| {
            let answer = &answers[turn.replace(turn.get() + 1) % answers.len()];
            // Buckets in the range, before and behind it, on a unit's beginning or not.
            let length = range.end.since(range.start).as_nanos() as i64;
            let place = |percent: i64, off: i64| range.start.as_nanos() + length / 100 * percent + off;
            Some(answer.as_ref()?.iter().map(|(at, events, off)| (Time::from_nanos(place(*at, *off)), *events)).collect())
        });
        assert_tiles(&gap, &cut.windows);
    }

    #[test]
    fn halves_are_the_window(from in 0..200_000_000i64, length in 1..400_000_000_000i64) {
        let window = Time::from_nanos(from)..Time::from_nanos(from + length);
        let mut cuts = Cuts::default();
        if cuts.halve(window.clone()) {
            let halves: Vec<Range<Time>> = std::iter::from_fn(|| match cuts.next(0)? {
                Next::Window(half) => Some(half),
                Next::Ask { .. } => None,
            }).collect();
            prop_assert_eq!(halves.len(), 2);
            assert_tiles(&window, &halves);
        } else {
            prop_assert_eq!(window.start.as_millis(), Time::from_nanos(window.end.as_nanos() - 1).as_millis());
        }
    }
}
