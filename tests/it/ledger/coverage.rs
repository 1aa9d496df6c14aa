//! Coverage against a set of small integers.

use std::collections::BTreeSet;
use std::ops::Range;

use jumpstream::clock::Time;
use jumpstream::ledger::Coverage;
use proptest::prelude::*;

const END: i64 = 24;

#[derive(Debug, Clone)]
enum Change {
    Add(Range<i64>),
    CutBack(i64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..END, 0..END).prop_map(|(from, to)| Change::Add(from..to)),
        1 => (0..END).prop_map(Change::CutBack),
    ]
}

fn times(range: Range<i64>) -> Range<Time> {
    Time::from_nanos(range.start)..Time::from_nanos(range.end)
}

proptest! {
    #[test]
    fn coverage_is_a_set_of_instants(changes in prop::collection::vec(change(), 0..20)) {
        let (mut coverage, mut model) = (Coverage::default(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Add(range) => {
                    coverage.add(times(range.clone()));
                    model.extend(range);
                }
                Change::CutBack(end) => {
                    coverage.cut_back(Time::from_nanos(end));
                    model.retain(|instant| *instant < end);
                }
            }
            for instant in -1..=END {
                prop_assert_eq!(coverage.contains(Time::from_nanos(instant)), model.contains(&instant));
            }
            for from in 0..END {
                for to in 0..END {
                    let all = (from..to).all(|instant| model.contains(&instant));
                    prop_assert_eq!(coverage.covers(&times(from..to)), all, "{}..{}", from, to);
                    let gaps = coverage.gaps(times(from..to));
                    let missing: Vec<i64> = (from..to).filter(|instant| !model.contains(instant)).collect();
                    let listed: Vec<i64> =
                        gaps.iter().flat_map(|gap| gap.start.as_nanos()..gap.end.as_nanos()).collect();
                    prop_assert_eq!(listed, missing);
                    prop_assert!(gaps.iter().all(|gap| gap.start < gap.end));
                    prop_assert!(gaps.windows(2).all(|pair| pair[0].end < pair[1].start));
                }
            }
            let ranges = coverage.ranges();
            prop_assert!(ranges.iter().all(|range| range.start < range.end));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", ranges);
            prop_assert_eq!(&Coverage::of(ranges.iter().rev().cloned()), &coverage);
        }
    }
}
