//! Checkpoints: however the changes are split, what they fold into is the ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::{Cause, Checkpoint, Fingerprint, Hour, Ledger, Minute, hour_of};
use jumpstream::record::Delivery;
use proptest::prelude::*;

use super::{KEY, LAST_AGE, at, event, parse, settle};

/// Something that happens to a ledger; times in half minutes after its start.
#[derive(Debug, Clone)]
enum Change {
    Admit(u8, u32),
    AdmitUntimed(u8),
    Head(u8),
    Cover(u32, u32),
    Edge(u32),
    Reopen(u32),
    CutBack(u32),
    Start(u32),
    Forget(u32),
    Hindered(bool, u32),
    Healed(u32),
    Checkpoint,
}

const SPAN: u32 = 40;

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0..3u8, 0..SPAN).prop_map(|(id, time)| Change::Admit(id, time)),
        1 => (0..3u8).prop_map(Change::AdmitUntimed),
        1 => (0..3u8).prop_map(Change::Head),
        4 => (0..SPAN, 1..10u32).prop_map(|(from, length)| Change::Cover(from, from + length)),
        2 => (0..SPAN).prop_map(Change::Edge),
        1 => (0..SPAN).prop_map(Change::Reopen),
        1 => (0..SPAN).prop_map(Change::CutBack),
        1 => (0..SPAN).prop_map(Change::Start),
        3 => (0..SPAN).prop_map(Change::Forget),
        2 => (any::<bool>(), 0..SPAN).prop_map(|(key, time)| Change::Hindered(key, time)),
        1 => (0..SPAN).prop_map(Change::Healed),
        5 => Just(Change::Checkpoint),
    ]
}

fn time(halves: u32) -> Time {
    at("2026-03-02T08:00:00Z") + Duration::from_secs(30) * halves
}

fn begin() -> Ledger {
    Ledger::begin(KEY, time(20), time(0))
}

fn apply(ledger: &mut Ledger, change: &Change) {
    match *change {
        Change::Admit(id, at) => drop(ledger.admit(&event(&format!("{id}"), time(at)), Delivery::Live)),
        Change::AdmitUntimed(id) => drop(ledger.admit(&parse(&format!(r#"{{"id":"{id}"}}"#)), Delivery::Live)),
        Change::Head(head) => drop(ledger.admit_head(&[head])),
        Change::Cover(from, to) => ledger.cover(time(from)..time(to)),
        Change::Edge(edge) => ledger.advance_edge(time(edge)),
        Change::Reopen(from) => ledger.reopen(time(from)),
        Change::CutBack(now) => ledger.cut_back(time(now)),
        Change::Start(earlier) => ledger.move_start(time(0) - Duration::from_secs(30) * earlier),
        Change::Forget(now) => settle(ledger, time(now) + LAST_AGE),
        Change::Hindered(true, now) => ledger.hindered(Cause::KeyRefused, time(now)),
        Change::Hindered(false, now) => ledger.hindered(Cause::ApiFailing, time(now)),
        Change::Healed(now) => ledger.healed(time(now)),
        Change::Checkpoint => {}
    }
}

/// What a ledger answers: its positions, its totals, and how it takes every event that there is.
fn behaviour(mut ledger: Ledger) -> String {
    let positions = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {}",
        ledger.first_run(),
        ledger.start(),
        ledger.edge(),
        ledger.coverage(),
        ledger.hindrances(),
        ledger.hours(),
        ledger.fingerprints()
    );
    let mut taken = Vec::new();
    for id in 0..3u8 {
        taken.extend((0..SPAN).map(|at| ledger.admit(&event(&format!("{id}"), time(at)), Delivery::Live)));
        taken.push(ledger.admit(&parse(&format!(r#"{{"id":"{id}"}}"#)), Delivery::Live));
        taken.push(ledger.admit_head(&[id]).then_some(Delivery::Replay));
    }
    format!("{positions} {taken:?}")
}

fn fold(stored: &mut Option<Checkpoint>, change: Checkpoint) {
    match stored {
        Some(stored) => stored.fold(change),
        None => *stored = Some(change),
    }
}

fn pairs<'a>(minutes: impl IntoIterator<Item = (&'a Minute, &'a Vec<Fingerprint>)>) -> BTreeSet<(Minute, Fingerprint)> {
    minutes.into_iter().flat_map(|(minute, all)| all.iter().map(|one| (*minute, *one))).collect()
}

proptest! {
    #[test]
    fn what_any_checkpoints_fold_into_is_the_ledger(changes in prop::collection::vec(change(), 0..60)) {
        let (mut ledger, mut stored, mut stored_twice) = (begin(), None, None);
        for change in changes.iter().chain([&Change::Checkpoint]) {
            apply(&mut ledger, change);
            if let Change::Checkpoint = change {
                let checkpoint = ledger.checkpoint();
                prop_assert!(!ledger.has_changed());
                fold(&mut stored_twice, checkpoint.clone());
                fold(&mut stored_twice, checkpoint.clone());
                fold(&mut stored, checkpoint);
                prop_assert_eq!(
                    behaviour(Ledger::open(stored.clone().unwrap())), behaviour(ledger.clone()), "at a checkpoint"
                );
            }
        }
        let twice = behaviour(Ledger::open(stored_twice.unwrap()));
        prop_assert_eq!(twice, behaviour(ledger), "each folded twice");
    }

    #[test]
    fn a_whole_hour_is_what_the_checkpoints_so_far_fold_into(changes in prop::collection::vec(change(), 0..60)) {
        let (mut ledger, mut stored) = (begin(), None);
        let hour = hour_of(time(0).as_secs() / 60);
        let asked = [hour, Hour::MIN, hour + 100];
        for change in changes.iter().chain([&Change::Checkpoint]) {
            apply(&mut ledger, change);
            if let Change::Checkpoint = change {
                let checkpoint = ledger.checkpoint_with(&asked);
                let whole = checkpoint.whole.clone();
                prop_assert!(whole.keys().eq([Hour::MIN, hour, hour + 100].iter()));
                prop_assert!(asked.iter().all(|hour| checkpoint.hours.get(hour) == ledger.hours().get(hour)));
                fold(&mut stored, checkpoint);
                let stored = stored.as_ref().unwrap();
                for (hour, minutes) in &whole {
                    let own = stored.delivered.iter().filter(|(minute, _)| hour_of(**minute) == *hour);
                    prop_assert_eq!(pairs(minutes), pairs(own));
                }
            }
        }
    }

    #[test]
    fn a_change_is_never_kept_from_the_checkpoint(changes in prop::collection::vec(change(), 0..40)) {
        let mut ledger = begin();
        ledger.checkpoint();
        for change in &changes {
            let before = behaviour(ledger.clone());
            apply(&mut ledger, change);
            if behaviour(ledger.clone()) != before {
                prop_assert!(ledger.has_changed(), "{:?}", change);
            }
            ledger.checkpoint();
        }
    }
}
