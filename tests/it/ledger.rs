//! The ledger against simple models: what is covered, what is known, what is forgotten, and what stores fold.

mod coverage;
mod digest;
mod fold;
mod hindrances;
mod minutes;

use std::time::Duration;

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::ledger::{FingerprintKey, Hour, Ledger, Mark, TOTALS_KEPT};
use jumpstream::record::Delivery;

/// When the tests' last look at what was read is over.
pub const LAST_AGE: Duration = Duration::from_secs(8 * 86_400);

const KEY: FingerprintKey = FingerprintKey([7; 16]);

fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// Whatever was read before the last age is verified, and its fingerprints are let go.
pub fn settle(ledger: &mut Ledger, now: Time) {
    let read: Vec<_> = ledger.coverage().within(Time::MIN..now - LAST_AGE).collect();
    for range in read {
        ledger.mark(range, Mark::Verified);
    }
    ledger.forget_settled(now - LAST_AGE, now);
}

fn parse(json: &str) -> Event {
    Event::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap()
}

fn event(id: &str, time: Time) -> Event {
    parse(&format!(r#"{{"id":"{id}","timestamp":"{time}"}}"#))
}

/// First seen at noon, wanted since eleven, 11:10 to 11:20 read.
fn ledger() -> Ledger {
    let mut ledger = Ledger::begin(KEY, at("2026-03-02T12:00:00Z"), at("2026-03-02T11:00:00Z"));
    ledger.cover(at("2026-03-02T11:10:00Z")..at("2026-03-02T11:20:00Z"));
    ledger
}

#[test]
fn a_delivery_says_how_the_events_time_was_read() {
    let check = |time: &str, fresh: Delivery, expected: Delivery| {
        let event = parse(&format!(r#"{{"id":"a","timestamp":"{time}"}}"#));
        assert_eq!(ledger().admit(&event, fresh), Some(expected), "{time} {fresh:?}");
    };
    for fresh in [Delivery::Live, Delivery::Late] {
        check("2026-03-02T11:05:00Z", fresh, Delivery::Backfill);
        check("2026-03-02T11:10:00Z", fresh, Delivery::Late);
        check("2026-03-02T11:19:59.999999999Z", fresh, Delivery::Late);
        check("2026-03-02T11:20:00Z", fresh, Delivery::Backfill);
        check("2026-03-02T11:59:59.999999999Z", fresh, Delivery::Backfill);
        check("2026-03-02T12:00:00Z", fresh, fresh);
        check("2026-03-02T14:00:00Z", fresh, fresh);
        check("no instant", fresh, fresh);
    }
}

#[test]
fn an_event_is_new_once() {
    let mut ledger = ledger();
    for event in [event("a", at("2026-03-02T11:15:00Z")), parse(r#"{"id":"b"}"#), parse(r#"{"x":1}"#)] {
        assert!(ledger.admit(&event, Delivery::Live).is_some());
        assert_eq!(ledger.admit(&event, Delivery::Live), None);
        ledger.checkpoint();
        assert_eq!(ledger.admit(&event, Delivery::Late), None, "nor after a checkpoint");
    }
    assert!(ledger.admit_head(b"head") && !ledger.admit_head(b"head") && ledger.admit_head(b"other"));
    assert_eq!(ledger.fingerprints(), 5);
}

#[test]
fn the_start_moves_earlier_only() {
    let mut ledger = ledger();
    ledger.advance_edge(at("2026-03-02T11:20:00Z"));
    ledger.move_start(at("2026-03-02T11:30:00Z"));
    assert_eq!(ledger.start(), at("2026-03-02T11:00:00Z"));
    ledger.move_start(at("2026-03-01T00:00:00Z"));
    assert_eq!(ledger.gaps(), [at("2026-03-01T00:00:00Z")..at("2026-03-02T11:10:00Z")]);
    assert_eq!(ledger.checkpoint().start, at("2026-03-01T00:00:00Z"));
}

#[test]
fn the_edge_goes_back_only_with_the_clock() {
    let mut ledger = ledger();
    assert_eq!(ledger.gaps(), [], "without an edge nothing is wanted yet");
    ledger.advance_edge(at("2026-03-02T11:20:00Z"));
    ledger.advance_edge(at("2026-03-02T11:19:00Z"));
    assert_eq!(ledger.edge(), Some(at("2026-03-02T11:20:00Z")));
    ledger.reopen(at("2026-03-02T11:18:00Z"));
    assert_eq!(ledger.edge(), Some(at("2026-03-02T11:20:00Z")));
    assert_eq!(ledger.gaps().last(), Some(&(at("2026-03-02T11:18:00Z")..at("2026-03-02T11:20:00Z"))));
    ledger.cut_back(at("2026-03-02T11:15:00Z"));
    assert_eq!(ledger.edge(), Some(at("2026-03-02T11:15:00Z")));
    assert_eq!(ledger.gaps(), [at("2026-03-02T11:00:00Z")..at("2026-03-02T11:10:00Z")]);
    ledger.cut_back(at("2026-03-02T11:30:00Z"));
    assert_eq!(ledger.edge(), Some(at("2026-03-02T11:15:00Z")), "cutting back advances nothing");
}

#[test]
fn only_settled_minutes_older_than_the_last_age_are_forgotten() {
    let noon = at("2026-03-02T12:00:00Z");
    let minute = Duration::from_secs(60);
    let mut ledger = Ledger::begin(KEY, noon, noon - minute * 60);
    // Covered to half a minute past noon; one event in each of four minutes, and one without a time.
    ledger.cover(noon - minute * 60..noon + minute / 2);
    let times = [noon - minute * 2, noon - minute, noon, noon + minute];
    let events = times.map(|time| event("a", time));
    events.iter().for_each(|event| assert!(ledger.admit(event, Delivery::Live).is_some()));
    assert!(ledger.admit(&parse(r#"{"x":1}"#), Delivery::Live).is_some());
    ledger.checkpoint();
    let check = |ledger: &mut Ledger, now: Time, left: usize| {
        settle(ledger, now);
        assert_eq!(ledger.fingerprints(), left, "at {now}");
    };
    check(&mut ledger, noon - minute + LAST_AGE - Duration::from_nanos(1), 5);
    check(&mut ledger, noon - minute + LAST_AGE, 4);
    check(&mut ledger, noon + LAST_AGE, 3);
    check(&mut ledger, noon + LAST_AGE * 100, 3);
    assert!(events[2..].iter().all(|event| ledger.admit(event, Delivery::Live).is_none()));
    let forgotten = ledger.checkpoint().forgotten;
    let first = times[0].as_secs() / 60;
    assert_eq!(forgotten, std::slice::from_ref(&(first..first + 2)), "neighbours are one range");
}

#[test]
fn the_total_of_an_hour_that_the_api_holds_no_more_is_dropped() {
    let noon = at("2026-03-02T12:00:00Z");
    let hour = Duration::from_secs(3_600);
    let mut ledger = Ledger::begin(KEY, noon, noon - hour);
    // The third of them was never covered, so its fingerprint is still needed.
    ledger.cover(noon - hour..noon + hour * 2);
    for hours in 0..4 {
        assert!(ledger.admit(&event("a", noon + hour * hours), Delivery::Live).is_some());
    }
    assert!(ledger.admit(&parse(r#"{"x":1}"#), Delivery::Live).is_some());
    ledger.checkpoint();
    let first = noon.as_secs() / 3_600;
    settle(&mut ledger, noon + TOTALS_KEPT);
    assert!(ledger.checkpoint().dropped.is_empty(), "an hour that is no older than that stays");
    settle(&mut ledger, noon + hour + TOTALS_KEPT);
    assert_eq!(ledger.checkpoint().dropped, [first]);
    settle(&mut ledger, noon + TOTALS_KEPT * 3);
    assert_eq!(ledger.checkpoint().dropped, [first + 1]);
    assert!(ledger.hours().keys().eq([&Hour::MIN, &(first + 2), &(first + 3)]), "{:?}", ledger.hours().keys());
    assert!(!ledger.has_changed(), "what is dropped is said once");
}

#[test]
fn unread_time_that_the_api_has_forgotten_since_the_first_run_is_past_retention() {
    let days = |count: u64| Duration::from_secs(count * 86_400);
    let first_run = at("2026-03-02T12:00:00Z");
    let mut ledger = Ledger::begin(KEY, first_run, first_run - days(40));
    ledger.advance_edge(first_run + days(20));
    let now = first_run + days(20);
    assert_eq!(ledger.retention(None), days(15));
    assert_eq!(ledger.past_retention(days(15), now), [first_run - days(14)..first_run + days(5)]);
    assert_eq!(ledger.past_retention(days(15), first_run), [], "what was never to be had is not");
    assert_eq!(ledger.retention_left(days(15), now), Duration::ZERO);
    ledger.cover(first_run - days(40)..first_run + days(19));
    assert_eq!(ledger.past_retention(days(15), now), []);
    assert_eq!(ledger.retention_left(days(15), now), days(14));
    ledger.saw_age(days(33));
    assert_eq!((ledger.retention(None), ledger.retention(Some(days(20)))), (days(33), days(20)));
}
