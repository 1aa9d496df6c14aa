//! How the program ends: refused at the start, told to, told twice, and when catching up takes too long.

use std::net::TcpListener;
use std::process::Stdio;

use jumpstream::emulator::{Emulator, Options};

use super::{assert_holds, delivered, once};
use crate::process::tally::Tally;
use crate::process::{EVENTS, Home, Process, Settings, emulate};

fn few() -> Options {
    Options { events: 500, span: "1h".parse().unwrap(), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_faults_of_a_configuration_are_all_named_at_once() {
    let home = Home::new(Settings::at("http://127.0.0.1:9".to_owned()));
    let faults = "\
        accounts: [{region: mars, api_key: {file: missing}, services: [sso, sso], requests_per_second: 0}]\n\
        poll: {interval: 5, page_size: 20000, start: yesterday}\n\
        sinks: [{type: pigeon}]\nserver: {listen: localhost}\nlog: {level: loud}\n";
    home.write("c.yaml", faults);
    let mut process = home.start(&[]);
    assert_eq!(process.ended().await, 78);
    let log = process.log();
    let keys = [
        "accounts[0].region",
        "accounts[0].api_key.file",
        "accounts[0].services[1]",
        "accounts[0].requests_per_second",
        "poll.interval",
        "poll.page_size",
        "poll.start",
        "sinks[0].type",
        "server.listen",
        "log.level",
    ];
    assert_holds(&log, &["c.yaml: 10 faults"]);
    for key in keys {
        assert_eq!(process.count(&format!(": {key}: ")), 1, "{key}:\n{log}");
    }
    assert_eq!(process.count("  → "), 10, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_it_with_the_key_to_change() {
    let emulator = emulate(few()).await;
    for key in ["server", "page"] {
        let home = Home::new(Settings::of(&emulator));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = std::fs::read_to_string(home.path("c.yaml")).unwrap();
        let free = format!("{key}: {{listen: \"127.0.0.1:0\"}}");
        home.write("c.yaml", text.replace(&free, &format!("{key}: {{listen: \"{address}\"}}")));
        let mut process = home.start(&[]);
        assert_eq!(process.ended().await, 1);
        let remedy = format!("stop the process that has it, or give {key}.listen another port");
        assert_holds(&once(&process, &format!("listening on {address} for {key}.listen")), &["ERROR", &remedy]);
        assert!(!home.path("jumpstream.db").exists() && !home.path(EVENTS).exists(), "it began with its files");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_state_is_refused_and_told_who_holds_it() {
    let emulator = emulate(few()).await;
    let home = Home::new(Settings::of(&emulator));
    let mut first = home.start(&[]);
    first.ready().await;
    let mut second = home.start(&[]);
    assert_eq!(second.ended().await, 1);
    assert_holds(&once(&second, "jumpstream.db"), &["ERROR", &format!("process {} on host", first.id())]);
    delivered(&home, 500).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_commits_what_is_in_flight_and_ends_with_0() {
    let emulator = emulate(Options { rate: 300.0, ..few() }).await;
    let home = Home::new(Settings::of(&emulator));
    for _ in 0..3 {
        let before = home.lines(EVENTS).len();
        let process = home.start(&[]);
        delivered(&home, before + 1).await;
        let log = process.stop().await;
        assert_holds(&log, &["told to end"]);
        assert!(!log.contains("a sink still waits"), "{log}");
    }
    compare(&emulator, &home).await;
}

/// Nothing was torn out of its commit, so nothing is there twice either.
async fn compare(emulator: &Emulator, home: &Home) {
    let until = emulator.now();
    home.catch_up().await;
    let wanted = emulator.truth(Some(until));
    let tally = Tally::of(&wanted, &emulator.truth(None), home.lines(EVENTS));
    assert_eq!(tally, Tally { true_events: wanted.len(), lost: 0, repeated: 0, foreign: 0 });
}

/// A process whose sink waits for a broker that isn't there.
async fn blocked(emulator: &Emulator) -> (Home, Process) {
    let sinks = "[{type: kafka, brokers: [\"127.0.0.1:9\"], topic: t, delivery: at_least_once}]";
    let home = Home::new(Settings { sinks, ..Settings::of(emulator) });
    let mut process = home.start(&[]);
    process.said("waiting: no broker of 127.0.0.1:9").await;
    (home, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_ends_it_with_0_while_a_sink_is_blocked() {
    let emulator = emulate(few()).await;
    let (home, mut process) = blocked(&emulator).await;
    assert_eq!(process.readiness().await.status, 503);
    process.terminate();
    assert_eq!(process.ended().await, 0, "{}", process.log());
    assert_holds(&once(&process, "a sink still waits"), &["10s", "delivered after the next start"]);
    // What was never acknowledged is still to be delivered.
    home.configure(Settings::of(&emulator));
    compare(&emulator, &home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_ends_it_while_nobody_reads_its_standard_output() {
    let emulator = emulate(few()).await;
    let home = Home::new(Settings { sinks: "[{type: stdout}]", ..Settings::of(&emulator) });
    let mut process = home.start_into(Stdio::piped(), &[]);
    process.degraded("what reads it has stopped reading").await;
    process.terminate();
    assert_eq!(process.ended().await, 0, "{}", process.log());
    once(&process, "a sink still waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_it_at_once() {
    let emulator = emulate(few()).await;
    let (_home, mut process) = blocked(&emulator).await;
    process.terminate();
    process.said("told to end").await;
    process.terminate();
    assert_eq!(process.ended().await, 1, "{}", process.log());
    assert_eq!(process.count("a sink still waits"), 0, "it waited for the deadline");
    assert_holds(&once(&process, "told to end"), &["10 s at most", "a second Ctrl-C ends at once"]);
    assert_holds(&once(&process, "ended at once"), &["the batch in flight comes again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_gives_up_after_its_timeout_and_names_what_is_blocked() {
    let emulator = emulate(few()).await;
    let organization = &emulator.organizations()[0];
    let account = format!(", organizations: [{organization}]");
    let home = Home::new(Settings { account: &account, ..Settings::of(&emulator) });
    home.write("key", "jca_wrong");
    let mut process = home.start(&["--until-caught-up", "--timeout", "3s"]);
    assert_eq!(process.ended().await, 1);
    let line = once(&process, "not caught up");
    assert_holds(&line, &["ERROR", organization, "the api refuses the key (401)", "write a valid key to its file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_that_a_signal_ends_is_no_success_and_says_what_it_waited_for() {
    let emulator = emulate(few()).await;
    let home = Home::new(Settings::of(&emulator));
    home.write("key", "jca_wrong");
    let mut process = home.start(&["--until-caught-up"]);
    process.said("the api refuses the key (401)").await;
    process.terminate();
    assert_eq!(process.ended().await, 1, "{}", process.log());
    let line = once(&process, "ended before it had caught up");
    assert_holds(&line, &["ERROR", "account main", "the api refuses the key (401)", "write a valid key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_that_gives_up_names_the_brokers_and_the_streams_behind() {
    let emulator = emulate(few()).await;
    let organization = &emulator.organizations()[0];
    let sinks = "[{type: kafka, brokers: [\"127.0.0.1:9\"], topic: t, delivery: at_least_once}]";
    let home = Home::new(Settings { sinks, ..Settings::of(&emulator) });
    let mut process = home.start(&["--until-caught-up", "--timeout", "4s"]);
    process.said("waiting: no broker of 127.0.0.1:9").await;
    process.said("not caught up: ").await;
    // The rest would only wait for the drain's deadline.
    process.terminate();
    assert_eq!(process.ended().await, 1, "{}", process.log());
    assert_holds(&once(&process, "not caught up: kafka"), &["no broker of 127.0.0.1:9 answers"]);
    assert_holds(&once(&process, "not caught up: still reading"), &[organization]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_everybody_may_read_is_warned_of_once() {
    let emulator = emulate(few()).await;
    let home = Home::new(Settings::of(&emulator));
    assert_eq!(home.catch_up().await.matches("WARN").count(), 0);
    home.open_to_all("key");
    let log = home.catch_up().await;
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert_holds(&log, &["accounts[0].api_key.file: `key` can be read by other users (mode 644); chmod 600 key"]);
}
