//! The API key is sent, and shown nowhere.

use std::path::Path;

use super::{delivered, emulate, nothing, steer};
use crate::process::{EVENTS, Home, Settings, client, requests};
use jumpstream::emulator::Options;

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
    for kind in ["forbidden", "payment_required", "redirect", "bad_gateway", "cut_body"] {
        steer(&emulator, "faults", format!(r#"{{"kind":"{kind}","count":2,"path":"/events"}}"#)).await;
        eventually_asked(&emulator).await;
        shown.push(process.metrics().await);
        shown.push(process.status().await.to_string());
        shown.push(format!("{:?}", process.readiness().await));
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

/// Waits until two more pages were asked for.
async fn eventually_asked(emulator: &jumpstream::emulator::Emulator) {
    let before = requests(emulator).await.len();
    super::eventually("two more requests", async || (requests(emulator).await.len() >= before + 2).then_some(())).await;
}
