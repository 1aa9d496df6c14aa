//! Why a gap came to be: the spell that most of it fell into, where one is remembered.

use std::ops::Range;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::source::Error;
use jumpstream::stream::causes::Causes;
use jumpstream::telemetry::status::Cause;

fn at(minutes: i64) -> Time {
    Time::from_secs(1_700_000_000 + minutes * 60)
}

fn gap(from: i64, to: i64) -> Range<Time> {
    at(from)..at(to)
}

fn refused() -> Error {
    Error::Unauthorized { message: String::new(), remedy: "" }
}

fn limited() -> Error {
    Error::RateLimited { status: 429, retry_after: None, message: String::new() }
}

fn failed() -> Error {
    Error::Server { status: 500, retry_after: None, message: String::new() }
}

#[test]
fn each_error_is_a_cause_of_its_own() {
    let unlicensed = Error::Unlicensed { message: String::new() };
    for (error, cause) in [
        (refused(), Cause::KeyRefused),
        (Error::Credential(String::new()), Cause::KeyRefused),
        (limited(), Cause::Throttled),
        (unlicensed, Cause::RequestsRefused),
        (failed(), Cause::ApiFailing),
    ] {
        let mut causes = Causes::default();
        causes.met(&error, at(10));
        assert_eq!(causes.of(&gap(9, 20), at(0)), cause, "a spell under way counts too: {error}");
        causes.healed(at(21));
        assert_eq!(causes.of(&gap(9, 20), at(0)), cause, "{error}");
    }
}

#[test]
fn a_gap_is_of_the_cause_that_made_most_of_it() {
    let mut causes = Causes::default();
    causes.met(&failed(), at(0));
    causes.met(&failed(), at(1));
    causes.met(&refused(), at(4));
    causes.healed(at(20));
    causes.waited(at(20)..at(50));
    assert_eq!(causes.of(&gap(0, 20), at(-60)), Cause::KeyRefused);
    assert_eq!(causes.of(&gap(0, 6), at(-60)), Cause::ApiFailing);
    assert_eq!(causes.of(&gap(18, 50), at(-60)), Cause::SinkBlocked);
}

#[test]
fn what_no_spell_made_half_of_is_not_known() {
    let mut causes = Causes::default();
    assert_eq!(causes.of(&gap(0, 10), at(-60)), Cause::NotRunningOrUnknown);
    causes.met(&refused(), at(6));
    causes.healed(at(10));
    assert_eq!(causes.of(&gap(0, 10), at(-60)), Cause::NotRunningOrUnknown);
    assert_eq!(causes.of(&gap(2, 10), at(-60)), Cause::KeyRefused);
}

#[test]
fn what_lies_before_the_first_run_is_backfill_and_nothing_else() {
    let mut causes = Causes::default();
    causes.met(&refused(), at(0));
    assert_eq!(causes.of(&gap(0, 10), at(10)), Cause::Backfill);
    assert_eq!(causes.of(&gap(0, 11), at(10)), Cause::KeyRefused);
}

#[test]
fn short_spells_are_forgotten_and_near_ones_are_one() {
    let mut causes = Causes::default();
    for number in 0..500 {
        // Half a minute of trouble in each: one long spell.
        causes.met(&limited(), at(number));
        causes.healed(at(number) + Duration::from_secs(30));
    }
    assert_eq!(causes.of(&gap(0, 500), at(-60)), Cause::Throttled);
    let mut causes = Causes::default();
    for number in 0..500 {
        causes.met(&limited(), at(number));
        causes.healed(at(number) + Duration::from_millis(900));
    }
    assert_eq!(causes.of(&gap(0, 500), at(-60)), Cause::NotRunningOrUnknown);
    let mut causes = Causes::default();
    (0..500).for_each(|number| causes.waited(gap(number * 10, number * 10 + 8)));
    assert_eq!(causes.of(&gap(0, 10), at(-60)), Cause::NotRunningOrUnknown, "the oldest go");
    assert_eq!(causes.of(&gap(4_990, 5_000), at(-60)), Cause::SinkBlocked);
}

#[test]
fn before_the_apis_time_is_known_there_is_none_to_speak_of() {
    let mut causes = Causes::default();
    causes.met(&refused(), Time::default());
    causes.healed(at(10));
    assert_eq!(causes.of(&gap(0, 10), at(-60)), Cause::NotRunningOrUnknown);
}
