//! The whole loop in virtual time against a model API, with crashes and aborts between any two steps.
//!
//! The oracle knows only what the model API showed and when: the sink must hold exactly what was visible inside the
//! overlap in force at each poll, and what was visible in each gap when it was read; once in the transactional case,
//! and in the other with repeats only of batches in flight at a crash.

pub mod api;
mod run;
mod tally;

use std::time::Duration;

use crate::random;

/// `make test` runs a sample, `make prove` all; `JUMPSTREAM_SEED` runs one again.
const SAMPLE: u64 = 2_000;
const ALL: u64 = 100_000;

#[test]
fn the_sink_holds_exactly_what_was_visible() {
    let total = random::sum(random::seeds(SAMPLE, ALL), run::run);
    println!("simulation: {total:?}");
    if random::chosen_seed().is_none() {
        total.assert_it_bit();
    }
}

/// A time long enough for every fault to matter and short enough for thousands of runs.
fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}
