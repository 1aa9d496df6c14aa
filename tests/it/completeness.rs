//! What verification promises, in virtual time against the model API: ninety days of late events, counts that lie, lapses,
//! outages and restarts; all that became visible before its last age is delivered once, and nothing is called verified
//! that the API had shown and we lack.

mod account;
mod cost;
mod run;
mod tally;

use std::time::Duration;

use crate::random;

/// `make test` runs a sample, `make prove` all; `JUMPSTREAM_SEED` runs one again.
const SAMPLE: u64 = 300;
const ALL: u64 = 100_000;

#[test]
fn what_becomes_visible_before_its_last_age_is_delivered_once() {
    let total = random::sum(random::seeds(SAMPLE, ALL), account::run);
    println!("completeness: {total:?}");
    if random::chosen_seed().is_none() {
        total.assert_it_bit();
    }
}

#[test]
fn comparing_costs_no_more_requests_than_promised() {
    let total = random::sum(random::seeds(SAMPLE / 6, ALL / 100), account::run_at_default_ages);
    println!("completeness at the default ages: {total:?}");
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

fn days(count: u64) -> Duration {
    hours(count * 24)
}
