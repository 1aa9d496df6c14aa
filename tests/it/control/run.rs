//! The real program and a control file: a key that is revoked, a process that is killed, time that is forgotten.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::{Emulator, Options};
use serde_json::Value;

use super::{instant, of_type};
use crate::process::tally::assert_once;
use crate::process::{Home, Process, Settings, emulate, eventually};

const CONTROL: &str = "control.ndjson";
const MINUTE: Duration = Duration::from_secs(60);
/// A poll brings an edge that lies two seconds before it, by a clock of whole seconds.
const SLACK: Duration = Duration::from_secs(10);

/// This machine's clock is two hours ahead, so that it has no say when the emulator's is set forward.
pub fn behind() -> Options {
    let wall: jiff::Timestamp = clock::wall().to_string().parse().unwrap();
    let clock = Some(wall - jiff::SignedDuration::from_hours(2));
    Options { clock, events: 200, span: "1h".parse().unwrap(), rate: 5.0, ..Options::default() }
}

fn home(emulator: &Emulator) -> Home {
    Home::new(Settings { more: "control: {file: control.ndjson}\n", ..Settings::of(emulator) })
}

fn told(home: &Home) -> Vec<Value> {
    home.lines(CONTROL).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn until_told(home: &Home, kind: &str) -> Value {
    let found = async || of_type(&told(home), kind).first().map(|record| (*record).clone());
    eventually(&format!("a {kind} is told"), found).await
}

fn at(time: &Value) -> jiff::Timestamp {
    time.as_str().unwrap().parse().unwrap()
}

async fn edge(process: &mut Process) -> jiff::Timestamp {
    at(&process.status().await["streams"][0]["edge"])
}

/// Waits until its stream is live, and gives its edge.
async fn live(process: &mut Process) -> jiff::Timestamp {
    eventually("the stream is live", async || {
        let stream = &process.status().await["streams"][0];
        (stream["state"] == "live" && stream["edge"].is_string()).then(|| at(&stream["edge"]))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_is_a_gap_from_the_last_edge_to_the_first_one_after_it() {
    let emulator = emulate(behind()).await;
    let home = home(&emulator);
    let mut process = home.start(&[]);
    live(&mut process).await;
    emulator.rotate_key("jca_new");
    process.degraded("the api refuses the key (401)").await;
    let last = edge(&mut process).await;
    emulator.advance(10 * MINUTE);
    let again = emulator.now();
    // Each key is tried when it is written, and each refusal carries the time, which is believed once enough of them do.
    let mut number = 0;
    let opened = eventually("a gap is opened", async || {
        number += 1;
        home.write("key", format!("jca_wrong_{number}"));
        tokio::time::sleep(Duration::from_millis(250)).await;
        of_type(&told(&home), "gap.opened").first().map(|record| (*record).clone())
    })
    .await;
    assert_eq!((instant(&opened, "from"), &opened["reason"]), (last, &"key_refused".into()), "{opened}");
    assert!(of_type(&told(&home), "gap.closed").is_empty());
    home.write("key", "jca_new");
    let closed = until_told(&home, "gap.closed").await;
    for name in ["organization", "service", "from", "reason"] {
        assert_eq!(opened[name], closed[name], "{opened} {closed}");
    }
    let to = instant(&closed, "to");
    assert!(to > again - SLACK && to < emulator.now(), "{to}, {again}");
    let covered = edge(&mut process).await;
    assert!(covered >= to, "{covered}, {to}");
    process.stop().await;
    let records = told(&home);
    let counts = ["gap.opened", "gap.closed", "loss"].map(|kind| of_type(&records, kind).len());
    assert_eq!(counts, [1, 1, 0], "{records:?}");
    assert_eq!(of_type(&records, "heartbeat")[0]["v"], 1);
    let mode = std::fs::metadata(home.path(CONTROL)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    home.catch_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_and_comes_back_says_since_when_it_was_down_and_what_ends_at_once_has_said_it() {
    let emulator = emulate(behind()).await;
    let home = home(&emulator);
    let mut process = home.start(&[]);
    live(&mut process).await;
    let before = edge(&mut process).await;
    process.kill();
    // Back within the threshold: nobody was blind for long.
    let mut process = home.start(&[]);
    let last = live(&mut process).await;
    assert!(last >= before);
    process.kill();
    assert!(told(&home).iter().all(|record| record["type"] == "heartbeat"), "{:?}", told(&home));
    emulator.advance(15 * MINUTE);
    let again = emulator.now();
    // It ends as soon as it has caught up, with what it told hardly queued.
    home.catch_up().await;
    let records = told(&home);
    let ([opened], [closed]) = (&of_type(&records, "gap.opened")[..], &of_type(&records, "gap.closed")[..]) else {
        panic!("{records:?}")
    };
    assert_eq!((&opened["reason"], &closed["reason"]), (&"down".into(), &"down".into()));
    assert_eq!(opened["from"], closed["from"]);
    // The edge of an idle poll may be a minute old.
    let from = instant(opened, "from");
    assert!(from >= last - MINUTE && from <= again - 15 * MINUTE, "{from}, {last}, {again}");
    assert!(instant(closed, "to") > again - SLACK, "{closed}, {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_forgets_before_it_is_read_is_lost() {
    let retention = "15d".parse().unwrap();
    let emulator = emulate(Options { retention, rate: 0.02, ..behind() }).await;
    let home = Home::new(Settings {
        more: "control: {file: control.ndjson}\nverify: {retention: 15d}\n",
        ..Settings::of(&emulator)
    });
    home.catch_up().await;
    // Not at the stream's very beginning, and not long enough for a gap.
    emulator.advance(4 * MINUTE);
    home.catch_up().await;
    assert!(told(&home).iter().all(|record| record["type"] == "heartbeat"), "{:?}", told(&home));
    emulator.advance(20 * 24 * 60 * MINUTE);
    let horizon = emulator.now() - 15 * 24 * 60 * MINUTE;
    home.catch_up().await;
    let records = told(&home);
    let ([opened], [closed]) = (&of_type(&records, "gap.opened")[..], &of_type(&records, "gap.closed")[..]) else {
        panic!("{records:?}")
    };
    let losses = of_type(&records, "loss");
    assert!(!losses.is_empty(), "{records:?}");
    assert!(losses.iter().all(|loss| loss["reason"] == "retention"));
    let from = losses.iter().map(|loss| instant(loss, "from")).min().unwrap();
    let to = losses.iter().map(|loss| instant(loss, "to")).max().unwrap();
    // Time within a day of the first run is not called lost.
    let edge = instant(opened, "from");
    assert!(from >= edge - MINUTE && from < edge + 25 * 60 * MINUTE, "{from}, {edge}");
    assert!(to > horizon - MINUTE - SLACK && to < horizon + 10 * MINUTE, "{to}, {horizon}");
    assert!(instant(closed, "to") > to);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_absence_there_is_nothing_but_the_heartbeat() {
    let emulator = emulate(Options { events: 2_000, ..Options::default() }).await;
    let home = home(&emulator);
    let mut process = home.start(&[]);
    live(&mut process).await;
    let heartbeat = until_told(&home, "heartbeat").await;
    assert_eq!((&heartbeat["blind"], heartbeat.get("organization")), (&0.into(), None), "{heartbeat}");
    process.stop().await;
    assert_once(&emulator, &home, 2_000);
    assert!(told(&home).iter().all(|record| record["type"] == "heartbeat"), "{:?}", told(&home));
}
