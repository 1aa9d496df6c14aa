//! `check` of a syslog sink: receivers that answer, that don't, and that are something else; and the test message.

use std::os::unix::fs::PermissionsExt as _;

use jumpstream::cli::check::{Report, State, examine};
use jumpstream::emulator::{self, Options};

use super::receiver::{Ends, Receiver};
use crate::sink::eventually;

async fn report(sink: &str, rest: &str, test_message: bool) -> Report {
    let api = emulator::start(Options { keys: vec!["key".into()], events: 500, ..Options::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("key"), "key").unwrap();
    std::fs::set_permissions(path("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "accounts: [{{endpoint: \"{}\", api_key: {{file: {}}}}}]\nsinks: [{{type: syslog, {sink}}}]\n{rest}\
         state: {{type: sqlite, path: {}}}\nserver: {{listen: \"127.0.0.1:0\"}}\npage: {{listen: \"127.0.0.1:0\"}}\n",
        api.url(),
        path("key"),
        path("state.db"),
    );
    std::fs::write(path("c.yaml"), text).unwrap();
    examine(&folder.path().join("c.yaml"), false, test_message).await
}

#[track_caller]
fn says(report: &Report, name: &str, state: State, said: &str) {
    let row =
        report.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}: {}", report.table(false)));
    assert_eq!(row.state, state, "{}", report.table(false));
    let text = format!("{} → {}", row.finding, row.remedy.as_deref().unwrap_or_default());
    assert!(text.contains(said), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receiver_has_a_row_and_nothing_is_sent() {
    let receiver = Receiver::start(Ends::Counted).await;
    let address = format!("tcp://127.0.0.1:{}", receiver.port);
    let sink = format!("address: \"{address}\", fallbacks: [\"tcp://127.0.0.1:9\"]");
    let report = report(&sink, "", false).await;
    says(&report, &format!("syslog {address}"), State::Green, "takes connections");
    says(&report, "syslog tcp://127.0.0.1:9", State::Red, "can't be reached (Connection refused");
    says(&report, "message size", State::Red, "there is no dead_letter");
    assert_eq!(receiver.messages().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_message_fills_the_largest_frame_and_arrives_whole() {
    let receiver = Receiver::start(Ends::Counted).await;
    let sink = format!("address: \"tcp://127.0.0.1:{}\", max_message_bytes: 100000, oversize: split", receiver.port);
    let report = report(&sink, "", true).await;
    says(&report, "test message", State::Green, "100000 bytes");
    assert_eq!(report.state, State::Green, "{}", report.table(false));
    let messages = eventually("it is read", || Some(receiver.messages()).filter(|all| !all.is_empty())).await;
    let frame = format!("{} ", messages[0].len()).len() + messages[0].len();
    assert_eq!(frame, 100_000);
    assert!(messages[0].ends_with(b"\"end\":true}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_that_nobody_takes_is_red() {
    let report = report("address: \"tcp://127.0.0.1:9\", oversize: split", "", true).await;
    says(&report, "test message", State::Red, "can't be reached");
}
