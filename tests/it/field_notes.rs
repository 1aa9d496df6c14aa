//! Bugs that other collectors had, each as a claim that it isn't ours.
//!
//! Shown elsewhere: a 403 that speaks of rate is a throttle (`source/answers.rs`); a broker's bounce and its long
//! absence (`broker.rs`, `sink/broker.rs`); a torn line and a full disk, of the sink (`sink/file.rs`) and of the state
//! (`store.rs`); every crash point of the loop (`simulation.rs`, and `kill.rs` with real parts); days of absence
//! (`outage.rs`). Of filters and of the chart there is nothing to show yet.

mod key;
mod restart;

use std::time::Duration;

use jumpstream::emulator::{Emulator, Options};
use serde_json::Value;

use crate::process::tally::{Tally, assert_once};
use crate::process::{EVENTS, Home, Settings, emulate, eventually, insert, requests, steer};

/// Where the API gives pages.
const PAGES: &str = "/insights/directory/v1/events";

/// An emulator without events of its own.
fn nothing() -> Options {
    Options { events: 0, span: "1h".parse().unwrap(), ..Options::default() }
}

fn event(id: &str, timestamp: &str) -> String {
    format!(r#"{{"id":"{id}","service":"sso","event_type":"sso_auth","timestamp":"{timestamp}"}}"#)
}

/// `age` before the emulator's now, in whole seconds.
fn second(emulator: &Emulator, age: i64) -> String {
    let instant = emulator.now() - jiff::SignedDuration::from_secs(age);
    jiff::Timestamp::from_second(instant.as_second()).unwrap().to_string()
}

async fn delivered(home: &Home, count: usize) {
    eventually(&format!("{count} events are delivered"), async || (home.lines(EVENTS).len() >= count).then_some(()))
        .await;
}

/// Catches up, while events may still come: all is there, once, `least` of them or more.
async fn catch_up_and_compare(emulator: &Emulator, home: &Home, least: usize) -> String {
    let until = emulator.now();
    let log = home.catch_up().await;
    let wanted = emulator.truth(Some(until));
    let tally = Tally::of(&wanted, &emulator.truth(None), home.lines(EVENTS));
    assert_eq!(tally, Tally { true_events: wanted.len(), lost: 0, repeated: 0, foreign: 0 });
    assert!(wanted.len() >= least, "only {} events, {least} were meant", wanted.len());
    log
}

/// The bodies of all requests for pages.
async fn page_requests(emulator: &Emulator) -> Vec<Value> {
    let pages = requests(emulator).await.into_iter().filter(|request| request["path"] == PAGES);
    pages.map(|request| serde_json::from_str(request["body"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_events_in_one_second_the_second_late_are_both_delivered() {
    let emulator = emulate(nothing()).await;
    let home = Home::new(Settings::of(&emulator));
    let same = second(&emulator, 2);
    let later = same.replace('Z', ".9Z");
    insert(&emulator, [event("a", &same)]).await;
    let process = home.start(&[]);
    delivered(&home, 1).await;
    insert(&emulator, [event("b", &same), event("c", &later)]).await;
    delivered(&home, 3).await;
    process.stop().await;
    insert(&emulator, [event("d", &same)]).await;
    catch_up_and_compare(&emulator, &home, 4).await;
}

async fn burst(count: u32) {
    let emulator = emulate(Options { burst: count, ..nothing() }).await;
    let home = Home::new(Settings::of(&emulator));
    catch_up_and_compare(&emulator, &home, count as usize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_and_one_events_at_one_timestamp_are_all_delivered() {
    burst(10_001).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_five_thousand_events_at_one_timestamp_are_all_delivered() {
    burst(25_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tenant_never_asks_for_an_end_before_its_start() {
    let emulator = emulate(nothing()).await;
    let home = Home::new(Settings::of(&emulator));
    for idle in [Duration::from_secs(3 * 3_600), Duration::from_secs(20)] {
        let mut process = home.start(&[]);
        process.requests("ok", 6.0).await;
        process.stop().await;
        emulator.advance(idle);
    }
    home.catch_up().await;
    let asked = requests(&emulator).await;
    assert!(asked.iter().all(|request| request["status"] == 200), "{asked:?}");
    let bodies = page_requests(&emulator).await;
    let instant = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let closed: Vec<_> = bodies.iter().filter(|body| !body["end_time"].is_null()).collect();
    assert!(!closed.is_empty());
    assert!(closed.iter().all(|body| instant(&body["start_time"]) < instant(&body["end_time"])), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_event_moves_nothing() {
    let emulator = emulate(Options { future: 50, events: 100, rate: 20.0, ..nothing() }).await;
    let home = Home::new(Settings::of(&emulator));
    let mut process = home.start(&[]);
    delivered(&home, 150).await;
    let after = emulator.truth(None).len();
    delivered(&home, after + 20).await;
    let status = process.status().await;
    let edge: jiff::Timestamp = status["streams"][0]["edge"].as_str().unwrap().parse().unwrap();
    assert!(edge <= emulator.now(), "{status}");
    process.stop().await;
    catch_up_and_compare(&emulator, &home, 170).await;
    for request in requests(&emulator).await {
        assert_eq!(request["status"], 200, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fractions_of_0_2_3_8_9_digits_are_told_apart() {
    let emulator = emulate(nothing()).await;
    let home = Home::new(Settings::of(&emulator));
    let base = second(&emulator, 5);
    let fractions = ["", ".1", ".12", ".123", ".12345678", ".123456789"];
    // One identity but for the time.
    let events = fractions.map(|fraction| event("one", &base.replace('Z', &format!("{fraction}Z"))));
    insert(&emulator, events).await;
    let process = home.start(&[]);
    delivered(&home, fractions.len()).await;
    process.stop().await;
    // The restart reads all of them again within its overlap.
    catch_up_and_compare(&emulator, &home, fractions.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_timestamps_in_a_page_and_a_restart_inside_the_overlap() {
    let emulator = emulate(Options { events: 3_000, span: "40s".parse().unwrap(), ..nothing() }).await;
    let home = Home::new(Settings::of(&emulator));
    let process = home.start(&[]);
    delivered(&home, 3_000).await;
    process.stop().await;
    let before = requests(&emulator).await.len();
    catch_up_and_compare(&emulator, &home, 3_000).await;
    let shown =
        requests(&emulator).await.split_off(before).iter().filter_map(|request| request["count"].as_u64()).max();
    assert!(shown > Some(0), "nothing was shown again, so nothing was told apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_or_missing_cursor_does_not_loop() {
    for (repeat_cursor, no_cursor) in [(true, false), (false, true)] {
        let emulator = emulate(Options { events: 3_000, repeat_cursor, no_cursor, ..nothing() }).await;
        let poll = "{interval: 1s, start: 24h, page_size: 100}";
        let home = Home::new(Settings { poll, ..Settings::of(&emulator) });
        catch_up_and_compare(&emulator, &home, 3_000).await;
        // Thirty full pages would do; halving costs some times as many.
        let asked = requests(&emulator).await.len();
        assert!(asked < 600, "{asked} requests");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_one_event_is_read() {
    let emulator = emulate(nothing()).await;
    let home = Home::new(Settings::of(&emulator));
    insert(&emulator, [event("only", &second(&emulator, 1_800))]).await;
    catch_up_and_compare(&emulator, &home, 1).await;
    insert(&emulator, [event("next", &second(&emulator, 1))]).await;
    catch_up_and_compare(&emulator, &home, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_one_event_are_read() {
    let emulator = emulate(Options { events: 25, ..nothing() }).await;
    let home = Home::new(Settings { poll: "{interval: 1s, start: 2h, page_size: 1}", ..Settings::of(&emulator) });
    catch_up_and_compare(&emulator, &home, 25).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_write_of_the_last_life_is_cut_off() {
    let emulator = emulate(Options { events: 100, ..nothing() }).await;
    let home = Home::new(Settings::of(&emulator));
    home.write(EVENTS, "{\"id\":\"half an ev");
    home.catch_up().await;
    assert_once(&emulator, &home, 100);
}

/// Runs from six seconds before `noon` to some after it.
async fn run_across(noon: &str) {
    let noon: jiff::Timestamp = noon.parse().unwrap();
    let clock = Some(noon - jiff::SignedDuration::from_secs(6));
    let emulator = emulate(Options { clock, events: 500, rate: 50.0, ..nothing() }).await;
    let home = Home::new(Settings { poll: "{interval: 1s, start: 2h}", ..Settings::of(&emulator) });
    let mut process = home.start(&[]);
    let after = noon + jiff::SignedDuration::from_secs(4);
    eventually("it is later", async || (emulator.now() > after).then_some(())).await;
    let truth = emulator.truth(None).len();
    delivered(&home, truth).await;
    let status = process.status().await;
    let edge: jiff::Timestamp = status["streams"][0]["edge"].as_str().unwrap().parse().unwrap();
    assert!(edge > noon, "{status}");
    process.stop().await;
    catch_up_and_compare(&emulator, &home, 900).await;
    for body in page_requests(&emulator).await {
        assert_eq!(body["sort"], "ASC", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_across_noon_and_midnight_utc_misses_nothing() {
    tokio::join!(run_across("2026-03-02T12:00:00Z"), run_across("2026-03-03T00:00:00Z"));
}
