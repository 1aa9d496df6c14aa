//! What every store promises, written once against the trait and run for each implementation.

use std::collections::BTreeMap;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::{
    Cause, Checkpoint, Coverage, Digest, FingerprintKey, Hindrances, HourTotal, Mark, Standing, StreamKey,
};
use jumpstream::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{run, seed};

pub(super) fn stream(organization: &str) -> StreamKey {
    StreamKey { organization: organization.into(), service: "all".into() }
}

pub(super) fn checkpoint(number: i64) -> Checkpoint {
    let time = Time::from_secs;
    Checkpoint {
        key: FingerprintKey([7; 16]),
        first_run: time(1_000),
        start: time(0),
        edge: Some(time(1_000 + number)),
        coverage: Coverage::of([time(0)..time(10), time(20)..time(1_000 + number)]),
        standing: Standing::of([(time(0)..time(10), Mark::Verified), (time(30)..time(40), unsettled(number as u64))]),
        oldest_shown: Duration::from_secs(number as u64),
        hindrances: Hindrances::of([(time(10)..time(11 + number), Cause::Throttled)]),
        delivered: BTreeMap::from([(number / 7, vec![number as u64, u64::MAX]), (3, vec![(number as u64) << 32])]),
        hours: BTreeMap::from([(number / 20, total(number as u64, number as u8))]),
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    }
}

fn unsettled(missing: u64) -> Mark {
    Mark::Unsettled { age: Duration::from_secs(60), missing }
}

fn total(number: u64, digest: u8) -> HourTotal {
    HourTotal { events: number, shown: number + 1, late: number / 2, digest: Digest([digest; 32]) }
}

/// What a store must give back after these were saved.
pub(super) fn folded(saved: &[Checkpoint]) -> Option<Checkpoint> {
    let mut saved = saved.iter().cloned();
    let mut all = saved.next()?;
    saved.for_each(|later| all.fold(later));
    all.forgotten.clear();
    all.dropped.clear();
    all.delivered.retain(|_, fingerprints| {
        fingerprints.sort_unstable();
        fingerprints.dedup();
        !fingerprints.is_empty()
    });
    Some(all)
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let range = |end: i64| (0..end, 0..end).prop_map(|(from, length)| from..from + length);
    let delivered = prop::collection::btree_map(-3..12i64, prop::collection::vec(0..40u64, 0..6), 0..6);
    let total = (any::<[u64; 3]>(), any::<[u8; 32]>()).prop_map(|([events, shown, late], digest)| HourTotal {
        events,
        shown,
        late,
        digest: Digest(digest),
    });
    let mark = prop_oneof![Just(Mark::Verified), Just(Mark::Unprovable), any::<u64>().prop_map(unsettled)];
    let standing = prop::collection::vec((range(1_000), mark), 0..4);
    let cause = prop_oneof![Just(Cause::KeyRefused), Just(Cause::SinkBlocked)];
    let hindrances = prop::collection::vec((range(1_000), cause), 0..3);
    (
        (any::<[u8; 16]>(), any::<i64>(), any::<i64>(), any::<Option<i64>>()),
        (prop::collection::vec(range(1_000), 0..5), standing, any::<u32>(), hindrances),
        delivered,
        prop::collection::btree_map(-2..6i64, total, 0..4),
        (prop::collection::vec(range(12), 0..2), prop::collection::vec(-2..6i64, 0..2)),
    )
        .prop_map(|(head, (coverage, standing, oldest, hindrances), delivered, hours, (forgotten, dropped))| {
            let (key, first_run, start, edge) = head;
            let seconds = |range: std::ops::Range<i64>| Time::from_secs(range.start)..Time::from_secs(range.end);
            Checkpoint {
                key: FingerprintKey(key),
                first_run: Time::from_nanos(first_run),
                start: Time::from_nanos(start),
                edge: edge.map(Time::from_nanos),
                coverage: Coverage::of(coverage.into_iter().map(seconds)),
                standing: Standing::of(standing.into_iter().map(|(range, mark)| (seconds(range), mark))),
                oldest_shown: Duration::from_secs(oldest.into()),
                hindrances: Hindrances::of(hindrances.into_iter().map(|(range, cause)| (seconds(range), cause))),
                delivered,
                hours,
                forgotten,
                dropped,
                whole: BTreeMap::new(),
            }
        })
}

/// What every store promises. `open` opens the same place each time, after the store before it was dropped.
pub(super) fn suite<S: Store>(open: impl Fn() -> S) {
    a_stream_never_saved_has_no_ledger(&open);
    loading_gives_the_fold_of_all_saves(&open);
    streams_do_not_touch_each_other(&open);
    a_save_given_up_is_whole_or_absent(&open);
    a_thousand_small_saves_of_one_minute_are_all_there(&open);
}

fn a_stream_never_saved_has_no_ledger<S: Store>(open: &impl Fn() -> S) {
    let store = open();
    assert_eq!(run(store.load(&stream("nobody"))).unwrap(), None);
    assert_eq!(store.trouble(), None);
}

fn loading_gives_the_fold_of_all_saves<S: Store>(open: &impl Fn() -> S) {
    let count = std::cell::Cell::new(0);
    let saves = prop::collection::vec((any_checkpoint(), any::<bool>()), 1..25);
    let seed = seed();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed.to_le_bytes().repeat(4));
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    runner
        .run(&saves, |saves| {
            count.set(count.get() + 1);
            let stream = stream(&format!("random-{}", count.get()));
            let mut store = Some(open());
            let mut saved = Vec::new();
            for (checkpoint, reopened) in saves {
                run(store.as_ref().unwrap().save(&stream, &checkpoint)).unwrap();
                saved.push(checkpoint);
                if reopened {
                    drop(store.take());
                    store = Some(open());
                }
            }
            prop_assert_eq!(run(store.unwrap().load(&stream)).unwrap(), folded(&saved));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
}

fn streams_do_not_touch_each_other<S: Store>(open: &impl Fn() -> S) {
    let store = open();
    let streams: Vec<StreamKey> = (0..20)
        .map(|number| StreamKey { organization: format!("o{}", number / 2), service: format!("s{}", number % 2) })
        .collect();
    run(async {
        let saves = streams.iter().enumerate().map(|(at, stream)| {
            let store = &store;
            async move {
                for number in 0..5 {
                    store.save(stream, &checkpoint(at as i64 * 100 + number)).await.unwrap();
                }
            }
        });
        futures::future::join_all(saves).await;
        for (at, stream) in streams.iter().enumerate() {
            let saved: Vec<Checkpoint> = (0..5).map(|number| checkpoint(at as i64 * 100 + number)).collect();
            assert_eq!(store.load(stream).await.unwrap(), folded(&saved), "{stream}");
        }
    });
}

fn a_save_given_up_is_whole_or_absent<S: Store>(open: &impl Fn() -> S) {
    let store = open();
    run(async {
        for number in 0..30 {
            let stream = stream(&format!("given-up-{number}"));
            store.save(&stream, &checkpoint(1)).await.unwrap();
            let later = checkpoint(2);
            let patience = Duration::from_micros(number * 40);
            let _ = tokio::time::timeout(patience, store.save(&stream, &later)).await;
            let found = store.load(&stream).await.unwrap();
            let without = folded(&[checkpoint(1)]);
            let with = folded(&[checkpoint(1), later]);
            assert!(found == without || found == with, "half a checkpoint after {patience:?}: {found:?}");
        }
    });
}

fn a_thousand_small_saves_of_one_minute_are_all_there<S: Store>(open: &impl Fn() -> S) {
    let store = open();
    let (stream, mut all) = (stream("drops"), checkpoint(0));
    all.delivered = BTreeMap::from([(0, (0..1_000).collect())]);
    run(async {
        for fingerprint in 0..1_000 {
            let drop = Checkpoint { delivered: BTreeMap::from([(0, vec![fingerprint])]), ..checkpoint(0) };
            store.save(&stream, &drop).await.unwrap();
        }
        assert_eq!(store.load(&stream).await.unwrap(), Some(all));
    });
}
