//! Why a gap came to be: the spell that most of it fell into, where one is remembered.

use std::ops::Range;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::hindrances::KEPT;
use jumpstream::ledger::{Cause, FingerprintKey, Ledger};

fn at(minutes: i64) -> Time {
    Time::from_secs(1_700_000_000 + minutes * 60)
}

fn gap(from: i64, to: i64) -> Range<Time> {
    at(from)..at(to)
}

/// First seen an hour before.
fn ledger() -> Ledger {
    Ledger::begin(FingerprintKey([7; 16]), at(-60), at(-120))
}

/// As a process finds it that is started after a crash.
fn stored(ledger: &mut Ledger) -> Ledger {
    Ledger::open(ledger.checkpoint())
}

#[test]
fn a_gap_is_of_the_cause_that_made_most_of_it() {
    let mut ledger = ledger();
    ledger.hindered(Cause::ApiFailing, at(0));
    ledger.hindered(Cause::ApiFailing, at(1));
    ledger.hindered(Cause::KeyRefused, at(4));
    ledger.healed(at(20));
    ledger.was_hindered(Cause::SinkBlocked, at(20)..at(50));
    for ledger in [&stored(&mut ledger), &ledger] {
        assert_eq!(ledger.cause(&gap(0, 20)), Cause::KeyRefused);
        assert_eq!(ledger.cause(&gap(0, 6)), Cause::ApiFailing);
        assert_eq!(ledger.cause(&gap(18, 50)), Cause::SinkBlocked);
    }
}

#[test]
fn what_no_spell_made_half_of_is_not_known() {
    let mut ledger = ledger();
    assert_eq!(ledger.cause(&gap(0, 10)), Cause::NotRunningOrUnknown);
    ledger.hindered(Cause::KeyRefused, at(6));
    ledger.healed(at(10));
    assert_eq!(ledger.cause(&gap(0, 10)), Cause::NotRunningOrUnknown);
    assert_eq!(ledger.cause(&gap(2, 10)), Cause::KeyRefused);
}

#[test]
fn what_lies_before_the_first_run_is_backfill_and_nothing_else() {
    let mut ledger = ledger();
    ledger.hindered(Cause::KeyRefused, at(-70));
    ledger.healed(at(-59));
    assert_eq!(ledger.cause(&gap(-70, -60)), Cause::Backfill);
    assert_eq!(ledger.cause(&gap(-70, -59)), Cause::KeyRefused);
}

#[test]
fn a_spell_that_a_crash_cut_short_is_known_as_far_as_it_was_stored_and_goes_on_after_it() {
    let mut first = ledger();
    first.hindered(Cause::KeyRefused, at(0));
    first.hindered(Cause::KeyRefused, at(9));
    let mut second = stored(&mut first);
    // What the first one met later, nobody stored.
    first.hindered(Cause::KeyRefused, at(20));
    assert_eq!(second.cause(&gap(0, 10)), Cause::KeyRefused);
    assert_eq!(second.cause(&gap(0, 20)), Cause::NotRunningOrUnknown);
    // Nobody ran for less than a minute.
    second.hindered(Cause::KeyRefused, at(10));
    second.healed(at(40));
    assert_eq!(second.hindrances().spells(), [(gap(0, 40), Cause::KeyRefused)]);
    assert!(second.has_changed(), "it is to be stored");
}

#[test]
fn short_spells_are_forgotten_and_near_ones_are_one() {
    let mut near = ledger();
    for number in 0..500 {
        // Half a minute of trouble in each: one long spell.
        near.hindered(Cause::Throttled, at(number));
        near.healed(at(number) + Duration::from_secs(30));
    }
    assert_eq!(near.cause(&gap(0, 500)), Cause::Throttled);
    let mut short = ledger();
    for number in 0..500 {
        short.hindered(Cause::Throttled, at(number * 2));
        short.healed(at(number * 2) + Duration::from_millis(900));
    }
    assert_eq!(short.hindrances().spells(), []);
    let mut blips = ledger();
    blips.was_hindered(Cause::Throttled, gap(0, 1));
    for number in 1..500 {
        blips.hindered(Cause::Throttled, at(number));
        blips.healed(at(number) + Duration::from_millis(900));
    }
    assert_eq!(blips.hindrances().spells(), [(gap(0, 1), Cause::Throttled)], "they don't prolong it");
    let mut many = ledger();
    (0..500).for_each(|number| many.was_hindered(Cause::SinkBlocked, gap(number * 10, number * 10 + 8)));
    assert_eq!(many.hindrances().spells().len(), KEPT);
    assert_eq!(many.cause(&gap(0, 10)), Cause::NotRunningOrUnknown, "the oldest go");
    assert_eq!(many.cause(&gap(4_990, 5_000)), Cause::SinkBlocked);
}

#[test]
fn what_hindered_the_reading_of_time_that_is_read_by_now_is_forgotten() {
    let mut ledger = ledger();
    ledger.cover(at(-120)..at(0));
    ledger.advance_edge(at(0));
    ledger.hindered(Cause::KeyRefused, at(1));
    ledger.hindered(Cause::KeyRefused, at(29));
    ledger.checkpoint();
    ledger.healed(at(30));
    // A poll has read the newest time.
    ledger.cover(at(25)..at(31));
    ledger.advance_edge(at(31));
    let stored = stored(&mut ledger);
    assert_eq!(stored.gaps(), [gap(0, 25)]);
    assert_eq!(stored.cause(&gap(0, 25)), Cause::KeyRefused);
    ledger.cover(gap(0, 25));
    assert_eq!(ledger.checkpoint().hindrances.spells(), []);
}

#[test]
fn before_the_apis_time_is_known_there_is_none_to_speak_of() {
    let mut ledger = ledger();
    ledger.hindered(Cause::KeyRefused, Time::default());
    ledger.healed(at(10));
    assert_eq!(ledger.cause(&gap(0, 10)), Cause::NotRunningOrUnknown);
}

#[test]
fn what_a_clock_that_was_ahead_remembered_is_forgotten_when_it_is_right() {
    let mut ledger = ledger();
    ledger.hindered(Cause::ApiFailing, at(60 * 24 * 30));
    ledger.healed(at(60 * 24 * 30 + 1));
    ledger.hindered(Cause::ApiFailing, at(0));
    ledger.healed(at(10));
    assert_eq!(ledger.hindrances().spells(), [(gap(0, 10), Cause::ApiFailing)]);
}

#[test]
fn a_blocked_sink_amid_a_spell_interrupts_it_and_it_lasts_until_the_end() {
    let mut ledger = ledger();
    ledger.hindered(Cause::Throttled, at(0));
    ledger.was_hindered(Cause::SinkBlocked, gap(10, 15));
    ledger.still_hindered(at(60));
    let expected = [(0, 10, Cause::Throttled), (10, 15, Cause::SinkBlocked), (15, 60, Cause::Throttled)];
    let expected = expected.map(|(from, to, cause)| (gap(from, to), cause));
    assert_eq!(stored(&mut ledger).hindrances().spells(), expected);
    let mut healthy = self::ledger();
    healthy.checkpoint();
    healthy.still_hindered(at(60));
    assert!(!healthy.has_changed());
}
