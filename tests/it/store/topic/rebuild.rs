//! A ledger made again from its events knows each of them, and claims nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::ledger::{FingerprintKey, Ledger, Rebuild, StreamKey};
use jumpstream::record::Delivery;
use jumpstream::store::kafka::format::Layout;
use jumpstream::store::kafka::rebuild::gather::{Account, Carried, Gather, Taken};
use jumpstream::store::kafka::rebuild::stream_entries;

use super::log::Log;
use super::stream;
use crate::random;

const NOW: Time = Time::from_secs(1_790_000_000);
const ORGANIZATION: &str = "5f0000000000000000000001";

fn event(text: &str) -> Event {
    Event::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// An event of the last days, or one that has no time, or no identity but its content.
fn any_event(rng: &mut Rng, number: usize) -> Event {
    let time = NOW - Duration::from_millis(rng.u64(..40 * 86_400_000));
    event(&match rng.u8(..10) {
        0 => format!(r#"{{"id":"{number}","timestamp":"no time"}}"#),
        1 => format!(r#"{{"username":"radius {number}","timestamp":"{time}"}}"#),
        _ => format!(r#"{{"timestamp":"{time}","id":"{number}","service":"sso"}}"#),
    })
}

#[test]
fn every_event_found_is_known_again_and_no_other_and_no_time_is_claimed() {
    for seed in random::seeds(20, 500) {
        let rng = &mut Rng::with_seed(seed);
        let mut lost = Ledger::begin(FingerprintKey([1; 16]), NOW, Time::MIN);
        let mut rebuild = Rebuild::new(FingerprintKey([2; 16]));
        let events: Vec<Event> = (0..rng.usize(1..3_000)).map(|number| any_event(rng, number)).collect();
        for event in &events {
            assert!(lost.admit(event, Delivery::Live).is_some());
            rebuild.take(event, NOW);
            if rng.u8(..10) == 0 {
                rebuild.take(event, NOW);
            }
        }
        let found = *rebuild.found();
        assert_eq!(found.events, events.len() as u64);
        assert_eq!(found.oldest, events.iter().filter_map(Event::time).min());
        assert_eq!(found.newest, events.iter().filter_map(Event::time).max());
        assert_eq!(found.untimed, events.iter().filter(|event| event.time().is_none()).count() as u64);

        let mut log = Log::new(Layout::of(1));
        log.append(stream_entries(&stream(1), rebuild, NOW, NOW - Duration::from_secs(60)).collect());
        log.compact(rng);
        let (made, _) = log.fold(Layout::of(1)).unwrap().streams.remove(&stream(1)).unwrap();
        assert_eq!((made.edge, made.coverage.ranges()), (None, [].as_slice()), "seed {seed}: it claims time as read");
        assert_eq!((made.first_run, made.start), (NOW, NOW - Duration::from_secs(60)));
        assert_eq!(made.hours, *lost.hours(), "seed {seed}");
        let mut made = Ledger::open(made);
        assert_eq!(made.fingerprints(), events.len());
        for event in &events {
            assert_eq!(made.admit(event, Delivery::Live), None, "seed {seed}: {event:?} comes twice");
        }
        assert!(made.admit(&any_event(rng, events.len()), Delivery::Live).is_some(), "seed {seed}: one is lost");
    }
}

#[test]
fn the_start_is_what_was_configured_when_the_first_record_was_taken_in_or_an_older_event() {
    let age = |seen: Time| seen - Duration::from_secs(86_400);
    let mut rebuild = Rebuild::new(FingerprintKey([2; 16]));
    let text = |time: Time| format!(r#"{{"id":"{time}","timestamp":"{time}"}}"#);
    rebuild.take(&event(&text(NOW)), NOW + Duration::from_secs(5));
    rebuild.take(&event(&text(NOW - Duration::from_secs(60))), NOW);
    let start = |rebuild: &Rebuild| rebuild.found().start(rebuild.found().since.unwrap(), age);
    assert!(start(&rebuild) < age(NOW), "a stream is first seen before its first event");
    assert!(age(NOW).since(start(&rebuild)) <= Duration::from_secs(3_600));
    let older = NOW - Duration::from_secs(90 * 86_400);
    rebuild.take(&event(&text(older)), NOW);
    assert_eq!(start(&rebuild), older, "an event that was wanted lies before the start");
}

/// Organizations and services, account by account.
type Accounts<'a> = &'a [(&'a [&'a str], &'a [&'a str])];

fn gather(accounts: Accounts<'_>) -> Gather {
    let texts = |some: &[&str]| some.iter().map(|text| (*text).to_owned()).collect();
    let account = |(organizations, services): &(&[&str], &[&str])| Account {
        organizations: texts(organizations),
        services: texts(services),
    };
    Gather::new("ledger", accounts.iter().map(account).collect(), || FingerprintKey([3; 16]))
}

const SSO: &str = r#"{"id":"1","timestamp":"2026-09-01T00:00:00Z","service":"sso"}"#;

fn carried(value: &str) -> Carried<'_> {
    Carried {
        ledger: Some("ledger"),
        organization: Some(ORGANIZATION),
        delivery: Some("live"),
        ingested_at: Some("2026-09-01T00:00:05Z"),
        value: Some(value.as_bytes()),
    }
}

/// The streams that have the event.
fn owners(gather: Gather) -> BTreeSet<(String, String)> {
    let streams = gather.finish().into_iter().filter(|(_, rebuild)| rebuild.found().events > 0);
    streams.map(|(StreamKey { organization, service }, _)| (organization, service)).collect()
}

#[test]
fn an_event_is_known_to_the_streams_that_may_have_delivered_it() {
    const OTHER: &str = "5f0000000000000000000002";
    let no_service = r#"{"id":"1","timestamp":"2026-09-01T00:00:00Z"}"#;
    let capitals = r#"{"id":"1","organization":"5F0000000000000000000001"}"#;
    let cases: [(Accounts<'_>, &str, &[&str]); 8] = [
        (&[(&[], &["all"])], SSO, &["all"]),
        (&[(&[], &["sso", "directory"])], SSO, &["sso"]),
        (&[(&[], &["directory", "radius"])], SSO, &["directory", "radius"]),
        (&[(&[], &["sso", "directory"])], no_service, &["sso", "directory"]),
        (&[(&[ORGANIZATION], &["all"]), (&[], &["sso"])], SSO, &["all"]),
        (&[(&[OTHER], &["all"]), (&[], &["sso"])], SSO, &["sso"]),
        // It was taken out of the configuration, and may come back.
        (&[(&[OTHER], &["all"])], SSO, &["all"]),
        (&[(&[ORGANIZATION], &["all"])], capitals, &["all"]),
    ];
    for (accounts, value, services) in cases {
        let mut gather = gather(accounts);
        assert_eq!(gather.take(carried(value)), Taken::Event);
        let wanted = services.iter().map(|service| (ORGANIZATION.to_owned(), (*service).to_owned())).collect();
        assert_eq!(owners(gather), wanted, "{accounts:?} {value}");
    }
}

#[test]
fn what_no_ledger_of_ours_knew_is_left_out() {
    let cases = [
        (Carried { ledger: None, ..carried(SSO) }, Taken::Other),
        (Carried { ledger: Some("another"), ..carried(SSO) }, Taken::Other),
        (Carried { delivery: Some("replay"), ..carried(SSO) }, Taken::Replay),
        (Carried { value: None, ..carried(SSO) }, Taken::Unreadable),
        (carried("[]"), Taken::Unreadable),
        (Carried { ingested_at: None, ..carried(SSO) }, Taken::Unreadable),
        (Carried { organization: Some("acme"), ..carried(SSO) }, Taken::Unowned),
    ];
    for (record, taken) in cases {
        let mut gather = gather(&[(&[ORGANIZATION], &["all"])]);
        assert_eq!(gather.take(record), taken, "{record:?}");
        assert_eq!(owners(gather), BTreeSet::new(), "{record:?}");
    }
}

#[test]
fn a_configured_stream_is_made_again_where_nothing_of_it_is_left() {
    let made: BTreeMap<_, _> = gather(&[(&[ORGANIZATION], &["sso", "directory"])]).finish().into_iter().collect();
    let services: Vec<&str> = made.keys().map(|stream| stream.service.as_str()).collect();
    assert_eq!(services, ["directory", "sso"]);
}
