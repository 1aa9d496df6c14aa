//! A range delivered once more by the real program: all of it, marked, resumed after kills, and beside a running one.

mod beside;
mod kill;
mod progress;

use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::{Emulator, Options, Truth};
use rdkafka::mocking::MockCluster;
use serde_json::json;

use crate::kafka::reader::{self, View};
use crate::process::tally::{Tally, assert_each_once};
use crate::process::{EVENTS, Home, Settings, emulate, requests, steer};

/// The last hour, to ten seconds ago: nothing of it is late any more.
struct Range {
    from: String,
    to: String,
}

impl Range {
    fn before(emulator: &Emulator) -> Range {
        let to = emulator.now().as_second() - 10;
        Range { from: text(to - 3_600), to: text(to) }
    }

    /// `replay --from … --to …` and `further`.
    fn replay<'a>(&'a self, further: &[&'a str]) -> Vec<&'a str> {
        [&["replay", "--from", &self.from, "--to", &self.to], further].concat()
    }

    fn holds(&self, truth: &Truth) -> bool {
        let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        (instant(&self.from)..instant(&self.to)).contains(&instant(&truth.timestamp))
    }

    /// What is to be delivered of it.
    fn truth(&self, emulator: &Emulator) -> Vec<Truth> {
        emulator.truth(None).into_iter().filter(|truth| self.holds(truth)).collect()
    }
}

fn text(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

fn hour(events: u32) -> Options {
    Options { events, span: "50m".parse().unwrap(), ties: 0.05, duplicates: 0.01, ..Options::default() }
}

/// Runs it to its end.
///
/// # Panics
/// Where it doesn't end with `code`.
async fn ends(home: &Home, command: &[&str], code: i32) -> (String, String) {
    let (ended, printed, log) = home.command(command).await;
    assert_eq!(ended, code, "{log}");
    (printed, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_delivered_once_more_and_nothing_beside_it() {
    let options = Options { fault_share: 0.1, gzip: true, future: 3, ..hour(6_000) };
    let emulator = emulate(options).await;
    let home = Home::new(Settings { poll: "{start: 24h, page_size: 500}", ..Settings::of(&emulator) });
    let now = emulator.now().as_second();
    let range = Range { from: text(now - 2_400), to: text(now - 600) };
    let (printed, log) = ends(&home, &range.replay(&[]), 0).await;
    let truth = range.truth(&emulator);
    assert_each_once(&truth, &home.lines(EVENTS), 1_000);
    assert_eq!(printed, "");
    assert!(log.contains("at most 200 requests a second"), "{log}");
    assert!(log.contains(&format!("delivered events={} dead_letters=0", truth.len())), "{log}");
    assert!(!home.path("jumpstream-replay.json").exists(), "it is done");
    assert!(!home.path("jumpstream.db").exists(), "it has no ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_kafka_it_is_marked_and_names_the_ledger_of_an_exactly_once_sink() {
    let emulator = emulate(hour(2_000)).await;
    let cluster = MockCluster::new(1).unwrap();
    for (delivery, ledger) in [("exactly_once", Some("a-ledger")), ("at_least_once", None)] {
        cluster.create_topic(delivery, 3, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let sinks = format!("[{{type: kafka, brokers: [\"{brokers}\"], topic: {delivery}, delivery: {delivery}}}]");
        let state = ledger.map(|topic| format!("state: {{type: kafka, topic: {topic}}}\n")).unwrap_or_default();
        let home = Home::new(Settings { sinks: &sinks, more: &state, ..Settings::of(&emulator) });
        let range = Range::before(&emulator);
        ends(&home, &range.replay(&[]), 0).await;
        let messages = reader::read(brokers, delivery, View::Uncommitted).await;
        let texts: Vec<&str> = messages.iter().map(|message| message.text()).collect();
        assert_each_once(&range.truth(&emulator), &texts, 1_500);
        for message in &messages {
            assert_eq!(message.header("delivery"), Some("replay"));
            assert_eq!(message.header("ledger"), ledger);
            assert!(message.key.is_some() || message.header("event-id").is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_organizations_services_and_sinks_that_are_named() {
    let emulator = emulate(Options { organizations: 3, ..hour(6_000) }).await;
    let ids = emulator.organizations();
    let account = format!(", organizations: [{}]", ids.join(", "));
    let sinks = "[{type: file, path: events.ndjson}, {type: file, path: other.ndjson}]";
    let home = Home::new(Settings { account: &account, sinks, ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let further = ["--organization", &ids[1], "--organization", &ids[2], "--sink", "other.ndjson"];
    ends(&home, &range.replay(&further), 0).await;
    let truth: Vec<Truth> = range.truth(&emulator).into_iter().filter(|truth| truth.organization != ids[0]).collect();
    assert_each_once(&truth, &home.lines("other.ndjson"), 1_000);
    assert!(!home.path(EVENTS).exists());

    ends(&home, &range.replay(&["--service", "sso", "--service", "radius"]), 0).await;
    let lines = home.lines(EVENTS);
    let services: std::collections::BTreeSet<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["service"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(services.into_iter().collect::<Vec<_>>(), ["radius", "sso"]);
    let tally = Tally::of(&[], &range.truth(&emulator), &lines);
    assert_eq!((tally.repeated, tally.foreign), (0, 0));

    let unknown = [
        (["--organization", "5f0000000000000000000bad"], "no account of the configuration reads organization"),
        (["--sink", "kafka"], "no sink is called \"kafka\"; there are: events.ndjson, other.ndjson"),
    ];
    for (option, sentence) in unknown {
        let (_, log) = ends(&home, &range.replay(&option), 2).await;
        assert!(log.contains(sentence), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_changes_nothing() {
    let emulator = emulate(Options { organizations: 2, duplicates: 0.0, ..hour(4_000) }).await;
    let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
    let home = Home::new(Settings { account: &account, ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let dry = range.replay(&["--dry-run", "--rate-share", "0.001"]);
    let (printed, _) = ends(&home, &dry, 0).await;
    let lines: Vec<&str> = printed.lines().collect();
    let [one, other, sum] = lines.as_slice() else { panic!("{printed}") };
    for (line, id) in [(one, &emulator.organizations()[0]), (other, &emulator.organizations()[1])] {
        let events = range.truth(&emulator).iter().filter(|truth| truth.organization == **id).count();
        assert_eq!(**line, format!("stream {id}/all: {} events, 1 page", indicatif::HumanCount(events as u64)));
    }
    let events = indicatif::HumanCount(range.truth(&emulator).len() as u64);
    let said = format!("{events} events in 2 pages, to events.ndjson: at 1 requests a second at least 2 s");
    assert!(sum.starts_with(&said), "{sum}");
    let asked = requests(&emulator).await;
    assert!(asked.iter().all(|request| request["path"] != "/insights/directory/v1/events"), "{asked:?}");
    assert!(!home.path(EVENTS).exists() && !home.path("jumpstream-replay.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_to_its_share_of_the_requests() {
    let emulator = emulate(hour(2_000)).await;
    let home = Home::new(Settings { poll: "{start: 24h, page_size: 100}", ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let begun = clock::uptime();
    ends(&home, &range.replay(&["--rate-share", "0.004"]), 0).await;
    let (seconds, asked) = ((clock::uptime() - begun).as_secs_f64(), requests(&emulator).await.len());
    assert!(asked >= 20, "{asked}");
    assert!(asked as f64 <= 4.0 * seconds + 2.0, "{asked} requests in {seconds} s are more than four a second");
    assert_each_once(&range.truth(&emulator), &home.lines(EVENTS), 1_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_saves_how_far_it_came_and_goes_on_from_there() {
    let emulator = emulate(hour(3_000)).await;
    let home = Home::new(Settings { poll: "{start: 24h, page_size: 100}", ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let slow = range.replay(&["--rate-share", "0.004"]);
    let mut process = home.start_command(&slow);
    crate::process::eventually("a part is delivered", async || (home.lines(EVENTS).len() > 500).then_some(())).await;
    process.terminate();
    assert_eq!(process.ended().await, 1, "{}", process.log());
    assert_eq!(process.count("ended before all was delivered; the same command goes on from here"), 1);
    let before = home.lines(EVENTS).len();
    assert!(before < 2_900, "{before}");
    let (_, log) = ends(&home, &range.replay(&["--service", "sso"]), 78).await;
    assert!(log.contains("belongs to another replay"), "{log}");
    // Another share of the requests is the same replay.
    ends(&home, &range.replay(&[]), 0).await;
    assert_each_once(&range.truth(&emulator), &home.lines(EVENTS), 2_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_waited_for() {
    let options = Options { keys: vec!["jca_another".to_owned()], ..hour(500) };
    let emulator = emulate(options).await;
    let account = format!(", organizations: [{}]", emulator.organizations()[0]);
    let home = Home::new(Settings { account: &account, ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let mut process = home.start_command(&range.replay(&[]));
    process.said("waiting: the api refuses the key (401)").await;
    home.write("key", "jca_another");
    assert_eq!(process.ended().await, 0, "{}", process.log());
    assert_each_once(&range.truth(&emulator), &home.lines(EVENTS), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_organization_is_waited_out_and_nothing_of_it_delivered() {
    const KEYS: [&str; 2] = ["jca_emulator", "jca_another"];
    let keys = KEYS.map(str::to_owned).to_vec();
    let emulator = emulate(Options { keys, organizations: 2, ..hour(4_000) }).await;
    let organizations = emulator.organizations();
    for (key, organization) in KEYS.iter().zip(&organizations) {
        steer(&emulator, "key", format!(r#"{{"old":"{key}","key":"{key}","organization":"{organization}"}}"#)).await;
    }
    for account in [String::new(), format!(", organizations: [{}]", organizations[0])] {
        let poll = "{start: 24h, page_size: 20}";
        let home = Home::new(Settings { poll, account: &account, ..Settings::of(&emulator) });
        let range = Range::before(&emulator);
        let mut process = home.start_command(&range.replay(&["--rate-share", "0.01"]));
        crate::process::eventually("a part is delivered", async || (home.lines(EVENTS).len() > 100).then_some(()))
            .await;
        home.write("key", KEYS[1]);
        process.said("waiting: the key belongs to another organization; give back a key of this one").await;
        home.write("key", KEYS[0]);
        assert_eq!(process.ended().await, 0, "{}", process.log());
        let truth = range.truth(&emulator).into_iter().filter(|truth| truth.organization == organizations[0]);
        assert_each_once(&truth.collect::<Vec<_>>(), &home.lines(EVENTS), 1_500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_goes_to_dead_letters_beside_those_of_a_running_instance() {
    let emulator = emulate(hour(100)).await;
    let at = emulator.now() - jiff::SignedDuration::from_secs(600);
    let event = json!({"id": "giant", "service": "sso", "event_type": "sso_auth", "timestamp": at.to_string()});
    let event = event.to_string();
    let padding = "x".repeat(100_000);
    let giant = format!("{{\"event\":{},\"text\":\"{padding}\"}}}}", &event[..event.len() - 1]);
    steer(&emulator, "events", giant).await;
    let sinks = "[{type: file, path: events.ndjson}, {type: file, path: again.ndjson}]";
    let poll = "{interval: 1s, start: 24h, max_event_bytes: 64KiB}";
    let more = "dead_letter: {file: dead.ndjson}\n";
    let home = Home::new(Settings { poll, more, ..Settings::of(&emulator) });
    let running = home.start(&[]);
    crate::process::eventually("it is a dead letter", async || (home.lines("dead.ndjson").len() == 1).then_some(()))
        .await;
    home.configure(Settings { poll, more, sinks, ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let (_, log) = ends(&home, &range.replay(&["--sink", "again.ndjson"]), 0).await;
    // The giant is one of them.
    let events = range.truth(&emulator).len() - 1;
    assert!(log.contains(&format!("delivered events={events} dead_letters=1")), "{log}");
    assert_eq!((home.lines("dead.ndjson").len(), home.lines("dead.ndjson.replay").len()), (1, 1));
    assert_eq!(home.lines("again.ndjson").len(), events);
    // The file that the running one writes to is not to be had.
    let (_, log) = ends(&home, &range.replay(&["--sink", "events.ndjson"]), 1).await;
    assert!(log.contains("another process or sink writes to it"), "{log}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_millisecond_that_cannot_be_paged_is_named_and_all_else_is_delivered() {
    let emulator = emulate(Options { burst: 300, no_cursor: true, ties: 0.0, duplicates: 0.0, ..hour(500) }).await;
    let home = Home::new(Settings { poll: "{start: 24h, page_size: 100}", ..Settings::of(&emulator) });
    let range = Range::before(&emulator);
    let (_, log) = ends(&home, &range.replay(&[]), 1).await;
    assert!(log.contains("the API couldn't be brought to show this") && log.contains("unpageable"), "{log}");
    let tally = Tally::of(&range.truth(&emulator), &emulator.truth(None), home.lines(EVENTS));
    assert!(tally.lost <= 300 && tally.repeated == 0 && tally.foreign == 0, "{tally:?}");
    assert!(home.path("jumpstream-replay.json").exists(), "it is not done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_is_none_or_has_not_passed_ends_with_2() {
    let home = Home::new(Settings::at("http://127.0.0.1:9".to_owned()));
    let tomorrow = text(clock::wall().as_secs() + 86_400);
    for (from, to, sentence) in [
        ("2026-03-02T12:00:00Z", "2026-03-02T12:00:00Z", "--from must lie before --to"),
        ("2026-03-02", &tomorrow, "--to must have passed"),
        ("24h", "2026-03-02", "expected an instant such as"),
    ] {
        let (_, log) = ends(&home, &["replay", "--from", from, "--to", to], 2).await;
        assert!(log.contains(sentence), "{log}");
    }
}

/// How long a process lives that is killed at any moment.
fn some_time(rng: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(rng.u64(50..2_500))
}
