//! The real program against the emulator: days pass by its clock, ages come, and late events are found.

use std::collections::BTreeMap;
use std::time::Duration;

use jumpstream::emulator::{Emulator, Options, Truth};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::process::tally::Tally;
use crate::process::{EVENTS, Home, Settings, emulate};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Events late by up to five hours, some stored twice, within a day.
fn late(seed: u64) -> Options {
    let (span, late_max) = ("20h".parse().unwrap(), "5h".parse().unwrap());
    Options { seed, events: 3_000, span, late_share: 0.3, late_max, duplicates: 0.02, ..Options::default() }
}

fn tally(emulator: &Emulator, home: &Home, until: jiff::Timestamp) -> Tally {
    let truth: Vec<Truth> = emulator.truth(Some(until));
    Tally::of(&truth, &emulator.truth(None), home.lines(EVENTS))
}

async fn status(home: &Home) -> (i32, Value) {
    let (code, out, log) = home.command(&["status", "--json"]).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out}{log}")))
}

/// Catches up after the time passed that leads to each age of the default, and beyond the last.
async fn let_ages_come(emulator: &Emulator, home: &Home) {
    home.catch_up().await;
    for pause in [MINUTE * 20, HOUR * 2, HOUR * 7, DAY, DAY, DAY * 8] {
        emulator.advance(pause);
        home.catch_up().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_late_by_hours_are_found_as_their_ages_come_and_all_is_verified_in_the_end() {
    let emulator = emulate(late(5)).await;
    let home = Home::new(Settings { poll: "{interval: 1s, start: 48h, page_size: 500}", ..Settings::of(&emulator) });
    let until = emulator.now();
    home.catch_up().await;
    let first = tally(&emulator, &home, until);
    let shown = home.lines(EVENTS).len();
    assert_eq!((first.lost, first.repeated, first.foreign), (0, 0, 0), "{first:?}");
    let_ages_come(&emulator, &home).await;
    let last = tally(&emulator, &home, emulator.now());
    assert_eq!((last.lost, last.repeated, last.foreign), (0, 0, 0), "{last:?}");
    assert!(
        home.lines(EVENTS).len() > shown + 50,
        "hardly any event was late: {shown} of {}",
        home.lines(EVENTS).len()
    );
    let (code, status) = status(&home).await;
    let stream = &status["streams"][0];
    let late = stream["late_events"].as_u64().unwrap();
    assert_eq!((code, stream["missing_events"].as_u64()), (0, Some(0)), "{status}");
    assert!(late > 50, "{status}");
    // All events lie over eleven days back by now.
    let verified: jiff::Timestamp = stream["verified_until"].as_str().unwrap().parse().unwrap();
    assert!(verified > emulator.now() - jiff::SignedDuration::from_hours(24 * 10), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_days_statement_can_be_computed_again_from_what_was_delivered() {
    let emulator = emulate(late(6)).await;
    let home = Home::new(Settings { poll: "{interval: 1s, start: 48h}", ..Settings::of(&emulator) });
    let_ages_come(&emulator, &home).await;
    let mut hours = BTreeMap::<String, (u64, [u8; 32])>::new();
    for line in home.lines(EVENTS) {
        let event: Value = serde_json::from_str(&line).unwrap();
        let (id, time) = (event["id"].as_str(), event["timestamp"].as_str().unwrap());
        let hash: [u8; 32] = match id {
            Some(id) => Sha256::digest(format!("{id}\0{time}")).into(),
            None => Sha256::digest(&line).into(),
        };
        let (count, sum) = hours.entry(time[..13].to_owned()).or_default();
        *count += 1;
        let mut carry = 0;
        for (own, other) in sum.iter_mut().zip(hash).rev() {
            carry += u16::from(*own) + u16::from(other);
            *own = carry as u8;
            carry >>= 8;
        }
    }
    let mut compared = 0;
    let days: std::collections::BTreeSet<String> = hours.keys().map(|hour| hour[..10].to_owned()).collect();
    for day in days {
        let (code, out, _) = home.command(&["report", "--format", "json", "--day", &day]).await;
        let (_, again, _) = home.command(&["report", "--format", "json", "--day", &day]).await;
        assert_eq!((code, &out), (0, &again), "the same ledger, the same bytes");
        let report: Value = serde_json::from_str(&out).unwrap();
        for hour in report["streams"][0]["hours"].as_array().unwrap() {
            let Some((count, sum)) = hours.get(&hour["from"].as_str().unwrap()[..13]) else { continue };
            let digest: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((hour["delivered"].as_u64(), hour["digest"].as_str()), (Some(*count), Some(&*digest)), "{hour}");
            assert!(hour["shown"].as_u64() >= Some(*count) && hour["standing"] == "verified", "{hour}");
            compared += 1;
        }
        let (_, markdown, _) = home.command(&["report", "--day", &day]).await;
        assert!(
            markdown.starts_with(&format!("# Events of {day} (UTC)")) && markdown.contains(": verified"),
            "{markdown}"
        );
    }
    assert!(compared >= 20, "{compared} hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_answers_for_a_time_whether_anything_was_missing_then() {
    let emulator = emulate(late(7)).await;
    let home = Home::new(Settings { poll: "{interval: 1s, start: 24h}", ..Settings::of(&emulator) });
    let (code, _, log) = home.command(&["status"]).await;
    assert!(code == 1 && log.contains("jumpstream.db"), "{code}: {log}");
    home.catch_up().await;
    let (code, out, _) = home.command(&["status"]).await;
    assert!(code == 0 && out.contains("48 hours") && out.contains("nothing is known to be"), "{out}");
    let now = emulator.now();
    let asked = async |from: jiff::Timestamp, to: jiff::Timestamp| {
        let (from, to) = (from.to_string(), to.to_string());
        home.command(&["status", "--from", &from, "--to", &to]).await
    };
    let hours = jiff::SignedDuration::from_hours;
    let (code, out, _) = asked(now - hours(20), now - hours(10)).await;
    assert!(code == 0 && out.contains("no: all of it was counted"), "{out}");
    let (code, out, _) = asked(now - hours(80), now - hours(70)).await;
    assert!(code == 0 && out.contains("none of it is wanted"), "{out}");
    emulator.advance(DAY * 10);
    home.catch_up().await;
    let (code, out, _) = asked(now - hours(20), now - hours(10)).await;
    assert!(code == 0 && out.contains("no: all of it is verified"), "{out}");
}
