//! A partition's hand-over in virtual time: owners that crash, sleep and wake, a broker with transactions between them.
//!
//! The owners use the real entries, fold, book and ledger, and take over by the steps of the real ones; the broker is a
//! model of what Kafka promises. The oracle: the committed records are exactly the truth, each once.

mod broker;
mod owner;
mod world;

use crate::random;
use world::{Fault, Tally, World, Wrong};

/// `make test` runs a sample, `make prove` all; `JUMPSTREAM_SEED` runs one again.
const SAMPLE: u64 = 3_000;
const ALL: u64 = 100_000;

#[test]
fn the_committed_records_are_the_truth_each_once() {
    let mut total = Tally::default();
    for seed in random::seeds(SAMPLE, ALL) {
        match World::new(seed, Fault::None).run() {
            Ok(tally) => total += tally,
            Err(wrong) => panic!("seed {seed}: {wrong}"),
        }
    }
    println!("hand-over: {total:?}");
    if random::chosen_seed().is_none() {
        total.assert_it_bit();
    }
}

/// A simulation that can't see a broken protocol proves nothing.
#[test]
fn each_broken_protocol_is_seen() {
    for fault in Fault::BROKEN {
        let mut seeds = random::seeds(3_000, 3_000).enumerate();
        let wrong = |seed| World::new(seed, fault).run().err().filter(|wrong| !matches!(wrong, Wrong::Stuck(_)));
        match seeds.find_map(|(tries, seed)| Some((tries, wrong(seed)?))) {
            Some((tries, wrong)) => println!("{fault:?}: seen after {tries} schedules: {wrong}"),
            None => panic!("{fault:?} was not seen"),
        }
    }
}
