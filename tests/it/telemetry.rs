//! What the process says of itself is true, bounded and the same as its reference pages.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jumpstream::clock::{self, Time};
use jumpstream::plan::Ages;
use jumpstream::record::{Delivery, Reason};
use jumpstream::stream::lateness::Tally;
use jumpstream::telemetry::metrics::table::{self, Kind};
use jumpstream::telemetry::metrics::{Compared, Metrics};
use jumpstream::telemetry::status::{AccountStatus, Board, Cause, Gap, Readiness, State, StreamStatus, Used};
use jumpstream::telemetry::{Format, init, quote};
use tokio::sync::watch;

/// The value of the series that `series` names, labels included.
fn value(exposition: &str, series: &str) -> Option<f64> {
    let value = exposition.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

fn count(text: &str, needle: &str) -> usize {
    text.matches(needle).count()
}

/// Metrics of which every one has a value.
fn used() -> Metrics {
    let metrics = Metrics::new();
    let account = metrics.account("main");
    account.request("events", "rate_limited");
    account.set_credential_valid(false);
    let organization = metrics.organization("o1");
    organization.read(12);
    organization.duplicates(3);
    organization.dead_letter(Reason::TooLarge);
    organization.sink("kafka").delivered(Delivery::Late, 9);
    metrics.lateness(Some("sso"), Duration::from_secs(7));
    drop(metrics.commit_timer());
    metrics.control_dropped("heartbeat");
    metrics.set_partitions_owned(2);
    metrics.set_streams_owned(5);
    metrics
}

#[test]
fn the_metrics_page_is_the_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, table::page()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == table::page(), "{} is stale: UPDATE_DOCS=1 cargo test --test it telemetry", path.display());
}

#[test]
fn every_metric_of_the_table_is_exported_with_its_type_and_labels_and_no_other() {
    let metrics = used();
    let _stream = {
        let stream = metrics.organization("o1").stream();
        stream.saw(Time::from_secs(5));
        stream.set_compared(Compared {
            counted_until: Some(Time::from_secs(4)),
            verified_until: Some(Time::from_secs(3)),
            missing: 2,
            retention_left: Duration::from_secs(1),
            lost: Duration::from_secs(60),
        });
        stream
    };
    let exposition = metrics.render();
    let mut exported = BTreeSet::new();
    for line in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        exported.insert(line.to_owned());
    }
    let mut wanted = BTreeSet::new();
    for metric in table::TABLE {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        wanted.insert(format!("{} {kind}", metric.name));
        let sample = exposition.lines().find(|line| line.starts_with(metric.name)).unwrap();
        let mut labels: Vec<&str> = sample
            .split_once('{')
            .map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0)
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|name| *name != "le")
            .collect();
        labels.sort_unstable();
        let mut listed = metric.labels.to_vec();
        listed.sort_unstable();
        assert_eq!(labels, listed, "{}", metric.name);
        assert!(metric.meaning.ends_with('.') && !metric.meaning.contains('|'), "{}", metric.name);
    }
    assert_eq!(exported, wanted);
}

#[test]
fn counters_count_under_the_labels_of_the_contract() {
    let metrics = used();
    let exposition = metrics.render();
    for (series, expected) in [
        (r#"jumpstream_source_requests_total{account="main",endpoint="events",outcome="rate_limited"}"#, 1.0),
        (r#"jumpstream_source_events_total{organization="o1"}"#, 12.0),
        (r#"jumpstream_duplicates_total{organization="o1"}"#, 3.0),
        (r#"jumpstream_delivered_events_total{delivery="late",organization="o1",sink="kafka"}"#, 9.0),
        (r#"jumpstream_delivered_events_total{delivery="live",organization="o1",sink="kafka"}"#, 0.0),
        (r#"jumpstream_dead_letters_total{organization="o1",reason="too_large"}"#, 1.0),
        (r#"jumpstream_credential_valid{account="main"}"#, 0.0),
        (r#"jumpstream_event_lateness_seconds_bucket{service="sso",le="15"}"#, 1.0),
        (r#"jumpstream_event_lateness_seconds_bucket{service="sso",le="5"}"#, 0.0),
        ("jumpstream_commit_duration_seconds_count", 1.0),
    ] {
        assert_eq!(value(&exposition, series), Some(expected), "{series}\n{exposition}");
    }
}

#[test]
fn each_delivery_is_counted_as_itself() {
    let metrics = Metrics::new();
    let sink = metrics.organization("o").sink("file");
    for (number, delivery) in Delivery::ALL.into_iter().enumerate() {
        sink.delivered(delivery, number as u64 + 1);
    }
    let exposition = metrics.render();
    for (number, delivery) in Delivery::ALL.into_iter().enumerate() {
        let delivery = delivery.as_str();
        let series =
            format!(r#"jumpstream_delivered_events_total{{delivery="{delivery}",organization="o",sink="file"}}"#);
        assert_eq!(value(&exposition, &series), Some(number as f64 + 1.0));
    }
}

#[test]
fn unknown_services_share_one_label() {
    let metrics = Metrics::new();
    for name in ["invented-1", "invented-2", "other", ""] {
        metrics.lateness(Some(name), Duration::ZERO);
    }
    metrics.lateness(None, Duration::ZERO);
    for known in ["access_certification", "workflows", "directory", "radius"] {
        metrics.lateness(Some(known), Duration::ZERO);
        let series = format!(r#"jumpstream_event_lateness_seconds_count{{service="{known}"}}"#);
        assert_eq!(value(&metrics.render(), &series), Some(1.0), "{known}");
    }
    let exposition = metrics.render();
    assert_eq!(value(&exposition, r#"jumpstream_event_lateness_seconds_count{service="other"}"#), Some(5.0));
    assert_eq!(count(&exposition, "jumpstream_event_lateness_seconds_count"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_streams_lag_grows_by_itself() {
    let metrics = Metrics::new();
    let lag = || value(&metrics.render(), r#"jumpstream_lag_seconds{organization="o"}"#);
    assert_eq!(lag(), None);
    let stream = metrics.organization("o").stream();
    assert!(lag().unwrap() < 0.001);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!((30.0..30.001).contains(&lag().unwrap()), "before the first poll: {:?}", lag());
    // A wall clock that is years off changes nothing: only the server's time counts.
    stream.set_edge(Time::from_secs(1_000), Time::from_secs(1_002));
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!((602.0..602.001).contains(&lag().unwrap()), "{:?}", lag());
    drop(stream);
    assert_eq!(lag(), None);
}

#[tokio::test(start_paused = true)]
async fn an_organizations_gauges_are_its_worst_streams() {
    let metrics = Metrics::new();
    let organization = metrics.organization("o");
    let (good, bad) = (organization.stream(), organization.stream());
    let now = Time::from_secs(10_000);
    good.set_edge(now - Duration::from_secs(2), now);
    good.saw(now);
    bad.set_edge(now - Duration::from_secs(50), now);
    bad.saw(now - Duration::from_secs(40));
    bad.saw(now - Duration::from_secs(45));
    bad.set_gap(Duration::from_secs(7));
    bad.set_degraded(true);
    let exposition = metrics.render();
    let gauge = |name: &str| value(&exposition, &format!(r#"jumpstream_{name}{{organization="o"}}"#)).unwrap();
    assert!((50.0..50.1).contains(&gauge("lag_seconds")));
    assert_eq!(gauge("newest_event_timestamp_seconds"), 9_960.0);
    assert_eq!(gauge("gap_seconds"), 7.0);
    assert_eq!(gauge("stream_degraded"), 1.0);
    drop(bad);
    let exposition = metrics.render();
    assert_eq!(value(&exposition, r#"jumpstream_stream_degraded{organization="o"}"#), Some(0.0));
    assert_eq!(value(&exposition, r#"jumpstream_newest_event_timestamp_seconds{organization="o"}"#), Some(10_000.0));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_shows_its_memory_and_cpu_time() {
    let metrics = Metrics::new();
    let before = value(&metrics.render(), "process_cpu_seconds_total").unwrap();
    assert!(value(&metrics.render(), "process_resident_memory_bytes").unwrap() > 1e6);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while value(&metrics.render(), "process_cpu_seconds_total").unwrap() <= before {
        assert!(std::time::Instant::now() < deadline, "rendering for 20 s took no CPU time");
    }
}

/// Tells the test binary, started again by a test, that it is the child, and which format it logs in.
const CHILD: &str = "JUMPSTREAM_TEST_LOG";

/// What a process of its own, which ran the test `name` in this `format`, wrote to standard error.
fn log_of_child(name: &str, format: &str) -> Vec<String> {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, format)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_log_is_one_line_an_entry_and_hears_libraries_from_warn_on() {
    const NAME: &str = "telemetry::the_log_is_one_line_an_entry_and_hears_libraries_from_warn_on";
    if let Ok(format) = std::env::var(CHILD) {
        let format = if format == "json" { Format::Json } else { Format::Text };
        init(tracing::Level::DEBUG, format).unwrap();
        assert!(init(tracing::Level::INFO, format).is_err(), "set up twice");
        tracing::debug!(target: "jumpstream::stream", organization = "o1", "polled");
        tracing::trace!(target: "jumpstream::stream", "too fine");
        tracing::info!(target: "hyper", "a header with a credential");
        tracing::warn!(target: "hyper", "a broken connection");
        return;
    }
    let json = log_of_child(NAME, "json");
    let entries: Vec<serde_json::Value> = json.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 2, "{json:?}");
    assert_eq!((&entries[0]["message"], &entries[0]["organization"]), (&"polled".into(), &"o1".into()));
    assert_eq!((&entries[1]["message"], &entries[1]["level"]), (&"a broken connection".into(), &"WARN".into()));
    assert!(Time::parse(entries[0]["timestamp"].as_str().unwrap()).is_some(), "{json:?}");

    let text = log_of_child(NAME, "text");
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].ends_with("Z DEBUG polled organization=\"o1\""), "{text:?}");
    assert_eq!(text[0].find('Z'), Some("2026-11-21T14:41:20.952".len()), "{text:?}");
    assert!(!text[0].contains('\u{1b}'), "colour where there is no terminal");
}

#[test]
fn quoted_text_is_one_short_line_whatever_came() {
    assert_eq!(quote("all is well: äöü 日本"), "all is well: äöü 日本");
    assert_eq!(quote("a\nb\u{1b}[31m\u{0}"), "a\\nb\\u{1b}[31m\\u{0}");
    assert_eq!(quote("\u{202e}live\u{2028}\u{feff}"), "\\u{202e}live\\u{2028}\\u{feff}");
    assert_eq!(quote(&"ä".repeat(200)), "ä".repeat(200));
    assert_eq!(quote(&"ä".repeat(201)), "ä".repeat(199) + "…");
    assert_eq!(quote("  it's \"said\" \n"), "it's \"said\"");
    // An escape is never cut in two.
    assert_eq!(quote(&("x".repeat(196) + "\n\n\nz")), "x".repeat(196) + "\\n…");
    assert_eq!(quote(&("x".repeat(195) + "\n\nz")), "x".repeat(195) + "\\n\\nz");
    assert_eq!(quote(&("x".repeat(197) + "\n\nz")), "x".repeat(197) + "\\n…");
}

proptest::proptest! {
    #[test]
    fn quoting_never_exceeds_the_limit_nor_lets_control_through(text in proptest::string::string_regex("(?s).{0,400}").unwrap()) {
        let quoted = quote(&text);
        proptest::prop_assert!(quoted.chars().count() <= 200);
        proptest::prop_assert!(!quoted.contains(char::is_control));
    }
}

fn status(organization: &str) -> StreamStatus {
    StreamStatus { state: State::Live, ..StreamStatus::starting("main", organization, "all") }
}

/// Puts streams on a board; they stay for as long as the senders live.
fn show(board: &Board, streams: impl IntoIterator<Item = StreamStatus>) -> Vec<watch::Sender<StreamStatus>> {
    let show = |stream| {
        let (sender, receiver) = watch::channel(stream);
        board.stream(receiver);
        sender
    };
    streams.into_iter().map(show).collect()
}

#[test]
fn latches_hold_the_process_not_ready_until_the_last_is_dropped() {
    let board = Board::new();
    let (store, broker) = (board.hold("opening the store"), board.hold("asking the broker"));
    assert_eq!(board.readiness(), Readiness::NotReady("opening the store; asking the broker".into()));
    drop(store);
    broker.say("asking the broker again");
    assert_eq!(board.readiness(), Readiness::NotReady("asking the broker again".into()));
    drop(broker);
    assert_eq!(board.readiness(), Readiness::Ready);
}

#[test]
fn a_fault_that_an_account_shares_is_one_line() {
    let board = Board::new();
    let refused = |number: i32| StreamStatus {
        state: State::Waiting,
        reason: Some("the key is refused".into()),
        ..status(&format!("o{number}"))
    };
    let mut streams = show(&board, (0..500).map(refused));
    assert_eq!(board.readiness(), Readiness::Degraded(vec!["account main, 500 streams: the key is refused".into()]));
    // What the account says itself is not said again by its streams.
    board.trouble("account main", Arc::new(|| Some("the key is refused".into())));
    assert_eq!(board.readiness(), Readiness::Degraded(vec!["account main: the key is refused".into()]));
    streams.truncate(1);
    streams[0].send_modify(|stream| stream.reason = Some("a\nb".into()));
    let reasons = vec!["account main: the key is refused".into(), "o0/all: a\\nb".into()];
    assert_eq!(board.readiness(), Readiness::Degraded(reasons));
    assert_eq!(board.status().streams.len(), 1);
}

#[test]
fn trouble_is_asked_for_each_time() {
    let board = Board::new();
    let said = Arc::new(std::sync::Mutex::new(None));
    let source = said.clone();
    board.trouble("store", Arc::new(move || source.lock().unwrap().clone()));
    assert_eq!(board.readiness(), Readiness::Ready);
    *said.lock().unwrap() = Some("the disk is full".to_owned());
    assert_eq!(board.readiness(), Readiness::Degraded(vec!["store: the disk is full".into()]));
    *said.lock().unwrap() = None;
    assert_eq!(board.readiness(), Readiness::Ready);
}

#[test]
fn many_reasons_are_cut_and_counted() {
    let board = Board::new();
    let blocked = |number: i32| StreamStatus { reason: Some(format!("fault {number}")), ..status("o") };
    let _streams = show(&board, (0..50).map(blocked));
    let Readiness::Degraded(reasons) = board.readiness() else { panic!("not degraded") };
    assert_eq!((reasons.len(), reasons.last().map(String::as_str)), (21, Some("and 30 more; see /status")));
}

#[test]
fn gaps_are_cut_and_counted() {
    let mut stream = status("o");
    let gap = |at: i64| Gap {
        from: Time::from_secs(at),
        to: Time::from_secs(at + 1),
        reason: "unread".into(),
        cause: Cause::Backfill,
    };
    stream.set_gaps((0..250).map(gap));
    assert_eq!((stream.gaps.len(), stream.gap_count), (100, 250));
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_stuck_stream_shows_growing_lag() {
    let board = Board::new();
    let _streams = show(&board, [StreamStatus { lag_seconds: Some(2.0), as_of: clock::uptime(), ..status("o") }]);
    tokio::time::advance(Duration::from_secs(60)).await;
    let lag = board.status().streams[0].lag_seconds.unwrap();
    assert!((62.0..62.1).contains(&lag), "{lag}");
}

/// The names in the first column of the table behind `heading`.
pub fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, behind) = page.split_once(heading).unwrap();
    let rows = behind.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned())).collect()
}

#[test]
fn the_status_page_documents_every_field_and_no_other() {
    let board = Board::new();
    let mut stream = status("o");
    stream.lateness = Some(Tally::begin(&Ages::default(), Time::from_secs(5)).lateness(Duration::ZERO, Duration::ZERO));
    let (from, to) = (Time::from_secs(1), Time::from_secs(2));
    stream.set_gaps([Gap { from, to, reason: "unread".into(), cause: Cause::SinkBlocked }]);
    let _streams = show(&board, [stream]);
    board.account(Arc::new(|| AccountStatus {
        name: "main".into(),
        requests_per_second: 2.5,
        configured_requests_per_second: 5.0,
        used: Used::default(),
    }));
    let json = serde_json::to_value(board.status()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference/status.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert_eq!(documented(&page, "# Status"), keys(&json));
    assert_eq!(documented(&page, "## A stream"), keys(&json["streams"][0]));
    assert_eq!(documented(&page, "## An account"), keys(&json["accounts"][0]));
    assert_eq!(documented(&page, "### `compared`"), keys(&json["streams"][0]["compared"]));
    assert_eq!(documented(&page, "### `lateness`"), keys(&json["streams"][0]["lateness"]));
    assert_eq!(documented(&page, "### A gap"), keys(&json["streams"][0]["gaps"][0]));
    assert_eq!(json["version"], 1);
    let read: jumpstream::telemetry::status::Status = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), json, "who asks for it reads what was said");
}
