//! The demo, as a newcomer runs it: its verdict, and that the verdict would see what a broken pipeline does.

use std::process::Command;

use jumpstream::cli::demo::tally::{Issued, Received, Tally};
use jumpstream::clock::Time;
use jumpstream::emulator::Truth;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sha2::Digest as _;

use crate::kafka::Kafka;

const SINCE: &str = "2026-09-20T10:00:00Z";

/// Events whose bytes are their numbers; every fifth was shown three seconds late.
fn issued(numbers: std::ops::Range<u32>) -> Vec<Issued> {
    let truth = |number: u32| Truth {
        organization: "5f00000000000000000000aa".into(),
        id: Some(format!("event-{number}")),
        timestamp: format!("2026-09-20T10:00:{:02}Z", number % 50),
        event_type: None,
        visible_at: format!("2026-09-20T10:00:{:02}Z", number % 50 + if number.is_multiple_of(5) { 3 } else { 0 }),
        future: false,
        sha256: sha2::Sha256::digest(number.to_string()).iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    numbers.map(|number| Issued::of(&truth(number), Time::parse(SINCE).unwrap())).collect()
}

fn received(values: impl IntoIterator<Item = u32>) -> Received {
    let mut received = Received::default();
    values.into_iter().for_each(|value| received.add(value.to_string().as_bytes()));
    received
}

#[test]
fn what_came_out_once_is_perfect() {
    let tally = Tally::of(&issued(0..100), &received((0..100).rev()));
    assert_eq!((tally.issued, tally.delivered, tally.late), (100, 100, 20));
    assert!(tally.is_perfect(), "{tally:?}");
}

#[test]
fn a_lost_event_is_seen_and_named() {
    let tally = Tally::of(&issued(0..100), &received((0..100).filter(|number| *number != 42)));
    assert_eq!((tally.delivered, tally.lost, tally.duplicated, tally.foreign), (99, 1, 0, 0));
    assert!(!tally.is_perfect());
    assert!(tally.table().contains("lost: event-42 of 2026-09-20T10:00:42Z"), "{}", tally.table());
}

#[test]
fn a_duplicated_record_is_seen_and_named() {
    let tally = Tally::of(&issued(0..100), &received((0..100).chain([7, 7])));
    assert_eq!((tally.delivered, tally.lost, tally.duplicated, tally.foreign), (100, 0, 2, 0));
    assert!(!tally.is_perfect());
    assert!(tally.table().contains("duplicated: event-7 of 2026-09-20T10:00:07Z"), "{}", tally.table());
}

#[test]
fn a_record_with_a_changed_byte_is_lost_and_foreign() {
    let mut received = received(1..100);
    received.add(b"0 ");
    let tally = Tally::of(&issued(0..100), &received);
    assert_eq!((tally.delivered, tally.lost, tally.duplicated, tally.foreign), (99, 1, 0, 1));
    assert!(!tally.is_perfect());
}

#[test]
fn what_was_never_committed_is_told_apart() {
    let tally = Tally { aborted: Some(1_234), ..Tally::of(&issued(0..10), &received(0..10)) };
    assert!(tally.is_perfect(), "{tally:?}");
    assert_eq!((number(&tally.table(), "aborted"), number(&tally.table(), "delivered")), (1_234, 10));
    assert!(!Tally::of(&[], &received([])).table().contains("aborted"));
}

#[test]
fn two_events_of_the_same_bytes_want_two_records() {
    let issued = [issued(5..6), issued(5..6)].concat();
    assert_eq!(Tally::of(&issued, &received([5])).lost, 1);
    assert!(Tally::of(&issued, &received([5, 5])).is_perfect());
    assert_eq!(Tally::of(&issued, &received([5, 5, 5])).duplicated, 1);
}

/// The number that stands in a row of the table.
fn number(table: &str, row: &str) -> u64 {
    let line =
        table.lines().find(|line| line.trim_start().starts_with(row)).unwrap_or_else(|| panic!("{row}: {table}"));
    line.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn the_demo_survives_everything_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_jumpstream"))
        .args(["demo", "--events", "3000", "--seed", "11"])
        // Loopback needs no proxy, and a variable of another jumpstream is none of ours.
        .envs([("HTTP_PROXY", "http://127.0.0.1:9"), ("ALL_PROXY", "http://127.0.0.1:9")])
        .envs([("JUMPSTREAM_POLL_INTERVAL", "1h"), ("TMPDIR", folder.path().to_str().unwrap())])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((number(&out, "lost"), number(&out, "duplicated")), (0, 0), "{out}");
    assert!(number(&out, "issued") > 3_000, "{out}");
    assert_eq!(number(&out, "delivered"), number(&out, "issued"), "{out}");
    assert!(number(&out, "late") > 0, "{out}");
    for survived in ["× 429", "× 5xx", "× cut", "× empty", "× miscounted", "× 401"] {
        assert!(out.contains(survived), "{survived}: {out}");
    }
    for said in ["the api refuses the key (401)", "docs/start.md", "jumpstream check --config"] {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(!out.contains('\x1b'), "a pipe is no terminal: {out}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_its_transactions_it_loses_and_repeats_nothing_in_a_real_kafka() {
    let Some(kafka) = Kafka::shared("the demo with a real Kafka").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstream"));
    command
        .args(["demo", "--events", "3000", "--seed", "11", "--kills", "2", "--kafka", &kafka.bootstrap()])
        .envs([("HTTP_PROXY", "http://127.0.0.1:9"), ("JUMPSTREAM_POLL_INTERVAL", "1h")])
        .env("TMPDIR", folder.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!((number(&out, "lost"), number(&out, "duplicated"), number(&out, "kills")), (0, 0, 2), "{out}");
    assert_eq!(number(&out, "delivered"), number(&out, "issued"), "{out}");
    assert!(number(&out, "aborted") > 0, "no kill left an open transaction: the demo did not bite: {out}");
    assert_eq!(err, "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let left = topics(kafka.bootstrap()).await.into_iter().find(|topic| topic.starts_with("jumpstream-demo-"));
    assert_eq!(left, None);
}

/// All that the broker has.
async fn topics(bootstrap: String) -> Vec<String> {
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        let metadata = client.fetch_metadata(None, std::time::Duration::from_secs(10)).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    });
    asked.await.unwrap()
}

#[test]
fn a_kafka_that_does_not_answer_is_named_with_the_remedy() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_jumpstream")).args(["demo", "--kafka", "127.0.0.1:9"]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.starts_with("jumpstream: 127.0.0.1:9: no broker answers"), "{err}");
    assert!(err.contains("plain-text listener"), "{err}");
}
