//! `jumpstream status`: what it says by the state, beside a running instance, and from an instance alone.

mod causes;
mod lateness;

use std::collections::BTreeSet;
use std::time::Duration;

use jumpstream::emulator::{Emulator, Options};
use serde_json::Value;

use crate::container::free_ports;
use crate::process::{EVENTS, Home, Process, Settings, emulate, eventually, steer};
use crate::telemetry::documented;

fn few() -> Options {
    Options { seed: 3, events: 300, span: "20h".parse().unwrap(), ..Options::default() }
}

/// A configuration whose page is at a port of its own, with a token.
fn home_with_page(emulator: &Emulator) -> (Home, String) {
    let home = Home::new(Settings::of(emulator));
    home.write("token", "a secret of the page");
    let [port] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let text = std::fs::read_to_string(home.path("c.yaml")).unwrap();
    let page = format!("page: {{listen: \"{address}\", token: {{file: token}}}}");
    home.write("c.yaml", text.replace("page: {listen: \"127.0.0.1:0\"}", &page));
    (home, format!("http://{address}"))
}

async fn json(home: &Home, more: &[&str]) -> (i32, Value) {
    let (code, out, log) = home.command(&[&["status", "--json"], more].concat()).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out}{log}")))
}

/// Waits until the instance has read everything.
async fn live(process: &mut Process, home: &Home) {
    process.said("listening").await;
    eventually("it is live", async || {
        let (_, status) = json(home, &[]).await;
        (status["streams"][0]["running"]["state"] == "live" && home.lines(EVENTS).len() > 200).then_some(())
    })
    .await;
}

#[track_caller]
fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The page of the reference.
fn page() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/status.md");
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_instance_adds_what_only_it_knows_and_one_that_is_gone_is_said_to_be() {
    let emulator = emulate(few()).await;
    let (home, url) = home_with_page(&emulator);
    let mut process = home.start(&[]);
    live(&mut process, &home).await;
    let (code, status) = json(&home, &[]).await;
    assert_eq!((code, &status["version"], &status["instance"]["url"]), (0, &1.into(), &url.as_str().into()));
    let used = &status["instance"]["accounts"][0]["used"];
    assert!(used["live"].as_f64() > Some(0.0) && used["verification"].as_f64().is_some(), "{status}");
    let stream = &status["streams"][0];
    let running = &stream["running"];
    assert_eq!(running["organization"], stream["organization"]);
    let edge = |of: &Value| of["edge"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(edge(running) <= edge(stream), "{status}");
    let reference = page();
    assert_eq!(documented(&reference, "## `jumpstream status --json`"), keys(&status));
    assert_eq!(documented(&reference, "### The instance that was asked"), keys(&status["instance"]));
    assert_eq!(documented(&reference, "### A stream by the state"), keys(stream));
    let (code, text, _) = home.command(&["status"]).await;
    assert!(code == 0 && text.contains("  state      live since 2"), "{text}");
    assert!(text.contains("account main: ") && text.contains(" % comparing"), "{text}");
    process.stop_and_forget().await;
    let (code, status) = json(&home, &[]).await;
    assert_eq!((code, &status["streams"][0]["running"]), (0, &Value::Null));
    assert!(status["instance"]["fault"].is_string(), "{status}");
    let (_, text, _) = home.command(&["status"]).await;
    assert!(text.contains("no instance answers at http://127.0.0.1:") && text.contains("48 hours"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_asked_from_afar_where_there_is_no_state_and_wants_its_token() {
    let emulator = emulate(few()).await;
    let (home, url) = home_with_page(&emulator);
    let mut process = home.start(&[]);
    live(&mut process, &home).await;
    let afar = Home::new(Settings::of(&emulator));
    let (code, _, log) = afar.command(&["status", "--from-instance", &url]).await;
    assert!(code == 1 && log.contains("page.token"), "{code}: {log}");
    let text = std::fs::read_to_string(home.path("c.yaml")).unwrap();
    afar.write("c.yaml", text);
    afar.write("token", "a secret of the page");
    let (code, status) = json(&afar, &["--from-instance", &url]).await;
    let (stream, running) = (&status["streams"][0], &status["streams"][0]["running"]);
    assert_eq!((code, &running["state"], &stream["edge"]), (0, &"live".into(), &running["edge"]));
    assert_eq!((&stream["first_run"], &stream["delivered_events"]), (&Value::Null, &Value::Null), "{status}");
    assert_eq!(stream["fingerprints"], running["ledger"]["fingerprints"]);
    let (code, text, _) = afar.command(&["status", "--from-instance", &(url.clone() + "/status")]).await;
    assert!(code == 0 && text.contains("delivered since it started") && !text.contains("48 hours"), "{text}");
    let (code, _, log) = afar.command(&["status", "--from-instance", &emulator.url()]).await;
    assert!(code == 1 && log.contains("page.listen"), "{code}: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_and_is_no_instance_is_said_and_the_state_is_told_all_the_same() {
    let emulator = emulate(few()).await;
    let (home, _) = home_with_page(&emulator);
    home.catch_up().await;
    let text = std::fs::read_to_string(home.path("c.yaml")).unwrap();
    let own = text.split("page: {listen: \"").nth(1).unwrap().split('"').next().unwrap();
    home.write("c.yaml", text.replace(own, emulator.url().trim_start_matches("http://")));
    let (code, status) = json(&home, &[]).await;
    assert_eq!((code, &status["streams"][0]["running"]), (0, &Value::Null));
    assert!(status["instance"]["fault"].as_str().unwrap().contains("page.listen"), "{status}");
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Adds a line to the configuration.
fn add(home: &Home, line: &str) {
    let text = std::fs::read_to_string(home.path("c.yaml")).unwrap();
    home.write("c.yaml", text + line);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_late_events_are_is_said_in_words_with_the_ages_that_would_fit() {
    let (span, late_max) = ("20h".parse().unwrap(), "5h".parse().unwrap());
    // What happens while it is down is late by no fault of its own.
    let late = Options { seed: 8, events: 12_000, span, late_share: 0.3, late_max, rate: 0.2, ..Options::default() };
    for (ages, pause, words) in [
        ("[2m, 15m, 1h, 6h, 24h, 48h, 8d]", 2, "; the last age of 8d fits so far, watched since 2"),
        (
            "[6h]",
            12,
            "; does not fit: most were found at an age long after the look before it: set verify.after: [2m, 15m, 1h, 6h]",
        ),
    ] {
        let emulator = emulate(late.clone()).await;
        let (home, _) = home_with_page(&emulator);
        add(&home, &format!("verify: {{after: {ages}}}\n"));
        home.catch_up().await;
        let (_, text, _) = home.command(&["status"]).await;
        assert!(text.contains("  late       not known: only a running instance measures it\n"), "{text}");
        emulator.advance(HOUR * pause);
        let mut process = home.start(&[]);
        process.said("listening").await;
        let text = eventually("late events are found", async || {
            let (_, text, _) = home.command(&["status"]).await;
            text.contains(words).then_some(text)
        })
        .await;
        let line = text.lines().find(|line| line.starts_with("  late ")).unwrap();
        assert!(line.contains("events came later than the overlap of 1m; half of them within "), "{line}");
        assert!(line.contains("h, the latest after "), "{line}");
        let (_, status) = json(&home, &[]).await;
        let lateness = &status["streams"][0]["running"]["lateness"];
        let beyond = lateness["beyond_overlap"].as_u64().unwrap();
        assert!(beyond >= 50 && lateness["events"].as_u64() < Some(beyond + 500), "{lateness}");
        process.stop_and_forget().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_little_was_seen_nothing_is_said_of_lateness() {
    let emulator = emulate(few()).await;
    let (home, _) = home_with_page(&emulator);
    let mut process = home.start(&[]);
    live(&mut process, &home).await;
    let (_, text, _) = home.command(&["status"]).await;
    assert!(text.contains("  late       too little was seen to say: "), "{text}");
    process.stop_and_forget().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_to_retention_is_said_recorded_and_measured() {
    // Nothing happens while it is down, and the API forgets what is older than 16 days.
    let retention = "16d".parse().unwrap();
    let emulator = emulate(Options { retention, ..few() }).await;
    let (home, url) = home_with_page(&emulator);
    home.catch_up().await;
    let (_, before) = json(&home, &[]).await;
    assert_eq!(before["streams"][0]["lost"], Value::Array(Vec::new()));
    assert_eq!(
        (&before["streams"][0]["retention_seconds"], &before["streams"][0]["past_retention_seconds"]),
        (&(15 * 86_400).into(), &0.into())
    );
    let edge: jiff::Timestamp = before["streams"][0]["edge"].as_str().unwrap().parse().unwrap();
    emulator.advance(DAY * 20);
    let log = home.catch_up().await;
    for said in ["is older than the API is known to keep", "what it held is lost"] {
        assert_eq!(log.matches(said).count(), 1, "{said}: {log}");
        assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(said)), "{log}");
    }
    let (code, after) = json(&home, &[]).await;
    let lost = after["streams"][0]["lost"].as_array().unwrap();
    let instant = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let (from, to) = (instant(&lost[0]["from"]), instant(&lost[0]["to"]));
    let apart = |a: jiff::Timestamp, b: jiff::Timestamp| a.duration_since(b).abs();
    // Of the last events that were delivered the ledger may know no more than their hour by now.
    assert!(apart(from, edge) < jiff::SignedDuration::from_mins(65), "{edge}: {after}");
    assert!(
        apart(to, emulator.now() - jiff::SignedDuration::from_hours(24 * 15)) < jiff::SignedDuration::from_mins(15),
        "{after}"
    );
    assert_eq!((code, lost.len()), (0, 1));
    let (_, text, _) = home.command(&["status"]).await;
    assert!(text.contains("  lost       ") && text.contains("read only when the API had forgotten it"), "{text}");
    // Four days and more of it can be seen in the state, by whoever asks.
    let (asked, until) = (from.to_string(), (from + jiff::SignedDuration::from_hours(1)).to_string());
    let (_, text, _) = home.command(&["status", "--from", &asked, "--to", &until]).await;
    assert!(text.contains("answer     not known: some of it was read only when the API had forgotten it"), "{text}");
    let day = (from + jiff::SignedDuration::from_hours(24)).to_string()[..10].to_owned();
    let (_, out, _) = home.command(&["report", "--day", &day, "--format", "json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["streams"][0]["standing"], &report["streams"][0]["lost_seconds"]),
        (&"lost".into(), &86_400.into())
    );
    let reference = page();
    assert_eq!(documented(&reference, "## `jumpstream report --format json`"), keys(&report));
    assert_eq!(documented(&reference, "### A stream's day"), keys(&report["streams"][0]));
    let (_, markdown, _) = home.command(&["report", "--day", &day]).await;
    assert!(markdown.contains(": lost\n") && markdown.contains("Of 86400 s what there was is lost"), "{markdown}");
    // A later process has it from the ledger, and says nothing again.
    let mut process = home.start(&[]);
    live(&mut process, &home).await;
    assert!(process.metric("jumpstream_lost_seconds", &[]).await >= 4.0 * 86_400.0);
    let (_, status) = json(&home, &["--from-instance", &url]).await;
    assert!(status["streams"][0]["running"]["compared"]["lost_seconds"].as_u64() >= Some(4 * 86_400), "{status}");
    let log = process.stop().await;
    assert!(!log.contains("is lost"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_says_why_it_came_to_be_and_how_long_the_api_still_has_it() {
    let emulator = emulate(few()).await;
    let (home, url) = home_with_page(&emulator);
    // What divides the gap is refused for some time, so that it stays to be looked at.
    steer(&emulator, "faults", r#"{"kind":"unauthorized","count":100000,"path":"/events/interval"}"#).await;
    let mut process = home.start(&[]);
    process.said("listening").await;
    eventually("the gap is there", async || {
        let (_, status) = json(&home, &["--from-instance", &url]).await;
        let gap = &status["streams"][0]["gaps"][0];
        (gap["cause"] == "backfill" && gap["reason"] == "unread").then_some(())
    })
    .await;
    process.stop_and_forget().await;
    let (_, status) = json(&home, &[]).await;
    let stream = &status["streams"][0];
    let gap = &stream["gaps"][0];
    assert_eq!((&gap["cause"], &gap["reason"]), (&"backfill".into(), &Value::Null), "no instance runs it");
    let left = stream["retention_left_seconds"].as_u64().unwrap();
    assert!((13 * 86_400..=14 * 86_400).contains(&left), "a day of fifteen has passed: {stream}");
    let (_, text, _) = home.command(&["status"]).await;
    assert!(text.contains(" (before the first run)\n"), "{text}");
    assert!(text.contains("left until the API forgets what is not read yet; it keeps 15d"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_alone_says_what_kept_the_last_process_from_reading() {
    let emulator = emulate(few()).await;
    let (home, _) = home_with_page(&emulator);
    let mut process = home.start(&[]);
    live(&mut process, &home).await;
    let (_, status) = json(&home, &[]).await;
    assert_eq!(status["streams"][0]["hindrances"], Value::Array(Vec::new()), "{status}");
    emulator.rotate_key("jca_another");
    process.requests("unauthorized", 4.0).await;
    process.stop_and_forget().await;
    let (_, status) = json(&home, &[]).await;
    let stream = &status["streams"][0];
    let spells = stream["hindrances"].as_array().unwrap();
    assert_eq!((spells.len(), &spells[0]["cause"]), (1, &"key_refused".into()), "{stream}");
    assert!(spells[0]["from"].as_str() >= stream["edge"].as_str(), "{stream}");
    let (_, text, _) = home.command(&["status"]).await;
    assert!(text.contains("  hindered ") && text.contains(" (the key was refused)\n"), "{text}");
    let (_, before, _) = home.command(&["status", "--from", "2020-01-01", "--to", "2020-01-02"]).await;
    assert!(!before.contains("hindered"), "of other time: {before}");
}
