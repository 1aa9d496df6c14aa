//! Days of absence and a start that moves: whatever was to be read is there in the end, once.

use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::{Emulator, Options, Truth};

use crate::process::tally::Tally;
use crate::process::{EVENTS, Home, Settings, emulate, eventually, steer};

const DAY: Duration = Duration::from_secs(86_400);

fn since(truth: Vec<Truth>, start: jiff::Timestamp) -> Vec<Truth> {
    truth.into_iter().filter(|truth| truth.timestamp.parse::<jiff::Timestamp>().unwrap() >= start).collect()
}

/// Catches up; all events since `start` are there once, and no others. Gives how many there were.
async fn catch_up_since(start: jiff::Timestamp, emulator: &Emulator, home: &Home) -> usize {
    let until = emulator.now();
    home.catch_up().await;
    let (wanted, known) = (since(emulator.truth(Some(until)), start), since(emulator.truth(None), start));
    let tally = Tally::of(&wanted, &known, home.lines(EVENTS));
    assert_eq!(tally, Tally { true_events: wanted.len(), lost: 0, repeated: 0, foreign: 0 });
    wanted.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_days_down_leave_nothing_out() {
    let options = Options { events: 2_000, span: "23h".parse().unwrap(), rate: 0.1, ..Options::default() };
    let emulator = emulate(options).await;
    let home = Home::new(Settings::of(&emulator));
    let begin = emulator.now() - jiff::SignedDuration::from_hours(48);
    let first = catch_up_since(begin, &emulator, &home).await;
    emulator.advance(3 * DAY);
    let second = catch_up_since(begin, &emulator, &home).await;
    assert!(first >= 2_000 && second >= first + 25_000, "{first}, {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_moved_earlier_is_heard_and_one_moved_later_is_not() {
    let options = Options { events: 6_000, span: "72h".parse().unwrap(), rate: 0.1, ..Options::default() };
    let emulator = emulate(options).await;
    let now = emulator.now();
    let starting = |hours: i64| now - jiff::SignedDuration::from_hours(hours);
    let poll = |hours: i64| format!("{{interval: 1s, start: \"{}\"}}", starting(hours));
    let home = Home::new(Settings { poll: &poll(24), ..Settings::of(&emulator) });
    let first = catch_up_since(starting(24), &emulator, &home).await;
    // Down for a day, and told meanwhile to begin two days earlier.
    emulator.advance(DAY);
    home.configure(Settings { poll: &poll(60), ..Settings::of(&emulator) });
    let second = catch_up_since(starting(60), &emulator, &home).await;
    assert!(first > 1_500 && second > first + 2_500 + 8_000, "{first}, {second}");
    emulator.advance(DAY);
    home.configure(Settings { poll: &poll(1), ..Settings::of(&emulator) });
    let third = catch_up_since(starting(60), &emulator, &home).await;
    assert!(third > second + 8_000, "{second}, {third}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_jumps_days_ahead_and_a_restart_lose_nothing() {
    // This machine's clock is two hours ahead, so that it sides with nobody.
    let wall: jiff::Timestamp = clock::wall().to_string().parse().unwrap();
    let clock = Some(wall - jiff::SignedDuration::from_hours(2));
    let options = Options { clock, events: 500, span: "1h".parse().unwrap(), rate: 5.0, ..Options::default() };
    let emulator = emulate(options).await;
    let home = Home::new(Settings::of(&emulator));
    let begin = emulator.now() - jiff::SignedDuration::from_hours(48);
    let mut process = home.start(&[]);
    process.ready().await;
    steer(&emulator, "settings", r#"{"date_offset":"9d"}"#).await;
    // More than nine answers, whose dates agree; or killed before the next one can be refused for its start.
    let before = process.metric("jumpstream_source_requests_total", &[]).await;
    eventually("fifteen more requests, or an edge in the future", async || {
        let status = process.status().await;
        let edge = status["streams"][0]["edge"].as_str().and_then(|edge| edge.parse::<jiff::Timestamp>().ok());
        let asked = process.metric("jumpstream_source_requests_total", &[]).await;
        (asked >= before + 15.0 || edge > Some(emulator.now())).then_some(())
    })
    .await;
    process.kill();
    steer(&emulator, "settings", r#"{"date_offset":"0s"}"#).await;
    emulator.advance(Duration::from_secs(3_600));
    let until = emulator.now();
    home.catch_up().await;
    let (wanted, known) = (since(emulator.truth(Some(until)), begin), since(emulator.truth(None), begin));
    // Killed, it may have delivered its last batch twice.
    let Tally { lost, foreign, .. } = Tally::of(&wanted, &known, home.lines(EVENTS));
    assert!((lost, foreign) == (0, 0) && wanted.len() > 10_000, "{lost} lost of {}, {foreign} foreign", wanted.len());
}
