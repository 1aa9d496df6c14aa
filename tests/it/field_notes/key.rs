//! The API key is sent, and shown nowhere.

use std::path::Path;

use super::{PAGES, delivered, emulate, eventually, nothing, steer};
use crate::process::tally::Tally;
use crate::process::{EVENTS, Home, Settings, client, requests};
use jumpstream::emulator::{Emulator, Options, Truth};

const KEY: &str = "jca_5ecretThatNobodyMaySee";
const NEXT: &str = "jca_n3xtSecretThatNobodyMaySee";

/// The files below `folder` that hold `text`.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if memchr::memmem::find(&std::fs::read(&path).unwrap(), text.as_bytes()).is_some() {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_nowhere_in_state_logs_metrics_status() {
    let keys = vec![KEY.to_owned()];
    let emulator = emulate(Options { keys, events: 2_000, rate: 50.0, fault_share: 0.1, ..nothing() }).await;
    let home = Home::new(Settings {
        poll: "{interval: 1s, start: 2h, max_event_bytes: 2KiB}",
        sinks: "[{type: file, path: events.ndjson}, {type: stdout}]",
        more: "dead_letter: {file: dead.ndjson}\nlog: {level: trace, format: text}\n",
        ..Settings::of(&emulator)
    });
    home.write("key", KEY);
    let mut process = home.start(&[]);
    delivered(&home, 500).await;
    // Refused, replaced, refused by every status that quotes what was sent.
    emulator.rotate_key(NEXT);
    process.degraded("refuses the key (401)").await;
    let mut shown = vec![process.metrics().await, process.status().await.to_string()];
    home.write("key", NEXT);
    process.ready().await;
    for (kind, status) in
        [("forbidden", 403), ("payment_required", 402), ("redirect", 302), ("bad_gateway", 502), ("cut_body", 200)]
    {
        let before = requests(&emulator).await.len();
        steer(&emulator, "faults", format!(r#"{{"kind":"{kind}","count":1,"path":"/events"}}"#)).await;
        page_answered(&emulator, before, status).await;
        shown.push(process.metrics().await);
        shown.push(process.status().await.to_string());
        shown.push(format!("{:?}", process.readiness().await));
        // Refusals in a row are asked again ever later.
        let before = requests(&emulator).await.len();
        page_answered(&emulator, before, 200).await;
    }
    process.stop().await;
    // An endpoint that does not answer, and a key that nobody knows.
    home.configure(Settings::at("http://127.0.0.1:9".to_owned()));
    home.start(&["--until-caught-up", "--timeout", "1s"]).ended().await;

    for key in [KEY, NEXT] {
        let sent = requests(&emulator).await.iter().filter(|request| request["x-api-key"] == key).count();
        assert!(sent > 0, "{key} was never sent");
        assert!(shown.iter().all(|text| !text.contains(key)), "{shown:?}");
    }
    for file in [EVENTS, "dead.ndjson", "jumpstream.db", "stdout-0", "stderr-0", "stderr-1"] {
        assert!(home.path(file).exists(), "{file} is missing, so nothing was looked at");
    }
    assert_eq!(holding(home.folder(), KEY), Vec::<String>::new());
    assert_eq!(holding(home.folder(), NEXT), ["key"]);

    // The same search finds it where it must be.
    let log = client().get(format!("{}/_emulator/requests", emulator.url())).send().await.unwrap();
    home.write("requests", log.text().await.unwrap());
    assert_eq!(holding(home.folder(), KEY), ["requests"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_key_of_another_organization_is_not_read_by() {
    swap_the_key(|_| String::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_is_one_where_requests_name_the_organization() {
    swap_the_key(|organization| format!(", organizations: [{organization}]")).await;
}

/// `account` as in [`Settings`], for the first organization.
async fn swap_the_key(account: fn(&str) -> String) {
    const OTHER: &str = "jca_0fAn0therOrganization";
    let keys = vec![KEY.to_owned(), OTHER.to_owned()];
    let emulator = emulate(Options { keys, events: 200, organizations: 2, rate: 50.0, ..nothing() }).await;
    let organizations = emulator.organizations();
    for (key, organization) in [KEY, OTHER].iter().zip(&organizations) {
        steer(&emulator, "key", format!(r#"{{"old":"{key}","key":"{key}","organization":"{organization}"}}"#)).await;
    }
    let account = account(&organizations[0]);
    let poll = "{interval: 1s, start: 2h, page_size: 20}";
    let home = Home::new(Settings { poll, account: &account, ..Settings::of(&emulator) });
    home.write("key", KEY);
    let mut process = home.start(&[]);
    delivered(&home, 150).await;
    // The first one stays valid, so nothing is refused.
    home.write("key", OTHER);
    process.degraded("the key belongs to another organization").await;
    home.write("key", KEY);
    process.ready().await;
    process.stop().await;
    let until = emulator.now();
    home.catch_up().await;

    let sent = requests(&emulator).await.iter().filter(|request| request["x-api-key"] == OTHER).count();
    assert!(sent > 0, "the other key was never sent");
    let own = |truths: Vec<Truth>| -> Vec<Truth> {
        truths.into_iter().filter(|truth| truth.organization == organizations[0]).collect()
    };
    let (wanted, known) = (own(emulator.truth(Some(until))), own(emulator.truth(None)));
    let tally = Tally::of(&wanted, &known, home.lines(EVENTS));
    assert_eq!(tally, Tally { true_events: wanted.len(), lost: 0, repeated: 0, foreign: 0 });
}

/// Waits until a page is asked for, beyond the first requests, and answered with this status.
async fn page_answered(emulator: &Emulator, beyond: usize, status: u16) {
    let found = async || {
        let all = requests(emulator).await;
        all[beyond..].iter().any(|one| one["path"] == PAGES && one["status"] == status).then_some(())
    };
    eventually(&format!("a page is answered with {status}"), found).await;
}
