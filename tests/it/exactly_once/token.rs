//! The program with a token in the place of a password and a template in the place of a topic: all that it has of
//! clients gets in, and each event goes where it belongs.

use std::time::Duration;

use jumpstream::emulator::Options;

use super::assert_once;
use crate::kafka::{Kafka, Listener, unique};
use crate::process::tally::Tally;
use crate::process::{Home, Settings, emulate};
use crate::sink::token::{SECRET, endpoint};

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_and_a_template_each_event_is_committed_once_to_its_topic_or_the_fallback() {
    let Some(kafka) = Kafka::shared("exactly once with tokens").await else { return };
    let (prefix, ledger) = (unique("template"), unique("ledger"));
    let (own, other) = (format!("{prefix}.sso"), format!("{prefix}.other"));
    kafka.create_topic(&own, 2, &[]).await;
    kafka.create_topic(&other, 2, &[]).await;
    // With a token the program can't make it.
    kafka.create_topic(&ledger, 2, &[("cleanup.policy", "compact")]).await;
    let (url, _) = endpoint(Duration::from_secs(3_600)).await;
    let emulator = emulate(Options { events: 5_000, span: "1h".parse().unwrap(), ..Options::default() }).await;
    let home = Home::new(Settings::of(&emulator));
    home.write("secret", SECRET);
    let broker = kafka.bootstrap_of(Listener::Sasl);
    home.configure(Settings {
        sinks: &format!(
            "[{{type: kafka, brokers: [\"{broker}\"], topic: \"{prefix}.{{service}}\", topic_fallback: {other}, sasl: \
             {{mechanism: OAUTHBEARER, token_endpoint: \"{url}\", client_id: \"jump:stream\", client_secret: {{file: \
             secret}}}}}}]"
        ),
        more: &format!("state: {{type: kafka, topic: {ledger}, partitions: 2, group: {}}}\n", unique("group")),
        ..Settings::of(&emulator)
    });
    // The second start finds what the first one delivered.
    home.catch_up().await;
    let log = home.catch_up().await;
    assert!(!log.contains(SECRET), "{log}");
    let (own, other) = (kafka.read_all(&own).await, kafka.read_all(&other).await);
    assert!(own.iter().all(|message| message.header("service") == Some("sso")), "a stranger in the topic of sso");
    assert!(other.iter().all(|message| message.header("service") != Some("sso")), "sso in the fallback");
    assert!(!own.is_empty() && !other.is_empty());
    let truth = emulator.truth(None);
    assert_once(&Tally::of(&truth, &truth, own.iter().chain(&other).map(|message| message.text())));
}
