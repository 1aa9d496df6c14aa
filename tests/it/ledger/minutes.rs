//! Minutes against a set of pairs, and what they take in memory.

use std::collections::HashSet;

use jumpstream::ledger::minutes::Minutes;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Change {
    Insert(i64, u64),
    Settle(i64),
    Forget(i64, i64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..5i64, 0..20u64).prop_map(|(minute, fingerprint)| Change::Insert(minute, fingerprint)),
        2 => (0..5i64).prop_map(Change::Settle),
        1 => (0..5i64, 0..6i64).prop_map(|(from, to)| Change::Forget(from, to.max(from))),
    ]
}

proptest! {
    #[test]
    fn minutes_are_a_set_of_fingerprints_each(changes in prop::collection::vec(change(), 0..80)) {
        let (mut minutes, mut model) = (Minutes::default(), HashSet::new());
        for change in changes {
            match change {
                Change::Insert(minute, fingerprint) => {
                    prop_assert_eq!(minutes.insert(minute, fingerprint), model.insert((minute, fingerprint)));
                }
                Change::Settle(minute) => minutes.settle(minute),
                Change::Forget(from, to) => {
                    minutes.forget(from..to);
                    model.retain(|(minute, _)| !(from..to).contains(minute));
                }
            }
            prop_assert_eq!((minutes.len(), minutes.is_empty()), (model.len(), model.is_empty()));
            for minute in 0..5 {
                for fingerprint in 0..20 {
                    let known = model.contains(&(minute, fingerprint));
                    prop_assert_eq!(minutes.contains(minute, fingerprint), known);
                }
            }
        }
    }
}

#[test]
fn a_settled_minute_takes_8_bytes_an_event() {
    let mut minutes = Minutes::default();
    for (place, fingerprint) in std::iter::repeat_with(|| fastrand::u64(..)).take(10_000).enumerate() {
        minutes.insert(1, fingerprint);
        if place % 900 == 0 {
            minutes.settle(1);
        }
    }
    assert!(minutes.bytes() > minutes.len() * 8, "a growing one takes more");
    minutes.settle(1);
    assert_eq!(minutes.bytes(), minutes.len() * 8);
}
