//! Commits with a crash between any two steps: what is in the sinks and what the store says of it.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use jumpstream::commit::commit;

use super::world::{TRANSACTED, World, key};
use super::{batch, route};
use crate::random;

const SAMPLE: u64 = 500;
const ALL: u64 = 50_000;
const EVENTS: u64 = 60;

#[test]
fn whenever_it_crashes_the_checkpoint_says_no_more_than_was_delivered() {
    let (mut crashes, mut failures) = (0, 0);
    for seed in random::seeds(SAMPLE, ALL) {
        for transaction in [false, true] {
            let (crashed, failed) = run(seed, transaction);
            crashes += crashed;
            failures += failed;
        }
    }
    if random::chosen_seed().is_none() {
        assert!(crashes > 100 && failures > 100, "{crashes} crashes, {failures} failures");
    }
}

/// Delivers all events, batch by batch, from what the store says on; crashes and fails on the way.
fn run(seed: u64, transaction: bool) -> (u64, u64) {
    let mut rng = Rng::with_seed(seed);
    let world = World::new();
    let sinks = rng.usize(usize::from(!transaction)..3);
    let route = route(&world, sinks, true, transaction);
    world.trouble(Rng::with_seed(rng.u64(..)), 8);
    let (mut crashes, mut failures) = (0, 0);
    let mut in_flight: BTreeMap<u64, u64> = BTreeMap::new();
    loop {
        let saved = world.saved();
        let left = (1..=EVENTS).filter(|event| !saved.contains(event));
        let events: Vec<u64> = left.take(rng.usize(1..9)).collect();
        if events.is_empty() {
            break;
        }
        let key = key();
        let mut committing = Box::pin(commit(&route, &key, batch(&events)));
        let patience = if rng.u8(..4) == 0 { rng.u32(..60) } else { u32::MAX };
        let mut context = Context::from_waker(Waker::noop());
        let ended = (0..patience).find_map(|_| match committing.as_mut().poll(&mut context) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        });
        drop(committing);
        crashes += u64::from(ended.is_none());
        failures += u64::from(ended.as_ref().is_some_and(Result::is_err));
        if !matches!(ended, Some(Ok(_))) {
            events.iter().for_each(|event| *in_flight.entry(*event).or_default() += 1);
        }
        for place in 0..sinks {
            let log = world.log(place);
            assert!(world.saved().iter().all(|event| log.contains(event)), "seed {seed}: saved and not delivered");
        }
    }
    for place in 0..sinks {
        check(seed, &world.log(place), &in_flight);
    }
    if transaction {
        check(seed, &world.log(TRANSACTED), &BTreeMap::new());
    }
    (crashes, failures)
}

/// Every event once, and again at most as often as a commit that held it was cut short.
fn check(seed: u64, log: &[u64], in_flight: &BTreeMap<u64, u64>) {
    for event in 1..=EVENTS {
        let came = log.iter().filter(|other| **other == event).count() as u64;
        let allowed = 1 + in_flight.get(&event).copied().unwrap_or(0);
        assert!((1..=allowed).contains(&came), "seed {seed}: event {event} came {came} times, {allowed} allowed");
    }
}
