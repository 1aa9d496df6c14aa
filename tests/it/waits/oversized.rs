//! An event larger than `poll.max_event_bytes`: a dead letter once, or a stream that stops alone.

use jumpstream::emulator::Options;
use serde_json::{Value, json};

use super::{assert_holds, delivered, once};
use crate::process::{EVENTS, Home, Settings, emulate, eventually, steer};

const POLL: &str = "{interval: 1s, start: 2h, max_event_bytes: 64KiB}";
const SIZE: usize = 100_000;

/// An event of the first organization, a moment old.
fn giant(now: jiff::Timestamp) -> String {
    let event = json!({"id": "giant", "service": "sso", "event_type": "sso_auth", "timestamp": now.to_string()});
    let text = event.to_string();
    let padding = "x".repeat(SIZE);
    format!("{{\"event\":{},\"text\":\"{padding}\"}}}}", &text[..text.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_event_is_a_dead_letter_once_also_after_a_restart() {
    let emulator = emulate(Options { events: 100, span: "1h".parse().unwrap(), ..Options::default() }).await;
    let more = "dead_letter: {file: dead.ndjson}\n";
    let home = Home::new(Settings { poll: POLL, more, ..Settings::of(&emulator) });
    steer(&emulator, "events", giant(emulator.now())).await;
    let mut process = home.start(&[]);
    delivered(&home, 100).await;
    eventually("the dead letter is there", async || (!home.lines("dead.ndjson").is_empty()).then_some(())).await;
    process.said("an event went to the dead letters").await;
    // Its next polls, and those of the next process, show it again.
    process.requests("ok", 10.0).await;
    assert_holds(&once(&process, "an event went to the dead letters"), &["WARN", "poll.max_event_bytes"]);
    assert_eq!(process.metric("jumpstream_dead_letters_total", &["reason=\"too_large\""]).await, 1.0);
    process.ready().await;
    process.stop().await;
    let mut process = home.start(&[]);
    process.requests("ok", 6.0).await;
    assert_eq!(process.count("dead letters"), 0);
    process.stop().await;

    let letters = home.lines("dead.ndjson");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter: Value = serde_json::from_str(&letters[0]).unwrap();
    assert_eq!(letter["reason"], "too_large");
    assert!(letter["size"].as_u64().unwrap() > SIZE as u64, "{}", letter["size"]);
    assert!(letter["head"].as_str().unwrap().starts_with("{\"event_type\":"), "{}", letter["explanation"]);
    assert_eq!(home.lines(EVENTS).len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letters_an_oversized_event_stops_its_stream_alone() {
    let options =
        Options { organizations: 2, events: 200, span: "1h".parse().unwrap(), rate: 50.0, ..Options::default() };
    let emulator = emulate(options).await;
    let organizations = emulator.organizations();
    let account = format!(", organizations: [{}]", organizations.join(", "));
    let home = Home::new(Settings { account: &account, poll: POLL, ..Settings::of(&emulator) });
    let mut process = home.start(&[]);
    delivered(&home, 200).await;
    process.ready().await;
    steer(&emulator, "events", giant(emulator.now())).await;
    let readiness = process.degraded("stopped: ").await;
    assert_eq!(readiness.status, 200);
    let [reason] = readiness.reasons.as_slice() else { panic!("{readiness:?}") };
    assert_holds(reason, &[&organizations[0], "dead_letter"]);

    let other = |text: &String| text.contains(&organizations[1]);
    let before = home.lines(EVENTS).iter().filter(|line| other(line)).count();
    eventually("the other stream goes on", async || {
        (home.lines(EVENTS).iter().filter(|line| other(line)).count() > before + 50).then_some(())
    })
    .await;
    assert!(process.is_running());
    once(&process, "stopped: ");
    process.stop().await;
    // Given somewhere to put it, the stream goes on where it stopped.
    home.configure(Settings {
        account: &account,
        poll: POLL,
        more: "dead_letter: {file: dead.ndjson}\n",
        ..Settings::of(&emulator)
    });
    home.catch_up().await;
    assert_eq!(home.lines("dead.ndjson").len(), 1);
}
