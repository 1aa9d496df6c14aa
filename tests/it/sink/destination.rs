//! Topics by service and organization: the names that come of them, and where records go whose topic can't be had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jumpstream::record::destination::Destination;
use jumpstream::record::{Key, Record};
use jumpstream::sink::Sink as _;
use jumpstream::sink::kafka::{KafkaSink, Mechanism, Outcome, Password, Sasl, Settings, Topics, Transactions, inspect};
use proptest::prelude::*;

use super::{DEADLINE, eventually, record};
use crate::kafka::{ACLS, Kafka, Listener, PASSWORD, USER, unique};

fn of(service: &str, organization: &str) -> Record {
    record(serde_json::json!({"service": service, "organization": organization}).to_string())
}

#[test]
fn a_template_becomes_the_name_of_a_topic_whatever_an_event_holds() {
    let long = "x".repeat(300);
    for (template, service, organization, name) in [
        ("events", "sso", "", "events"),
        ("jumpcloud.{service}", "sso", "", "jumpcloud.sso"),
        ("{organization}-{service}", "sso", "5f00000000000000000000aa", "5f00000000000000000000aa-sso"),
        // What is no organization's id is none: then it is the stream's.
        ("{organization}-{service}", "sso", "../etc", "org-1-sso"),
        ("{service}{service}", "a", "o", "aa"),
        ("e.{service}", "a b/ä\u{1F600}", "o", "e.a_b___"),
        ("e.{service}", "", "o", "e.unknown"),
        ("{service}", "..", "o", "_"),
        ("{service}", ".", "o", "_"),
        ("{service}", &long, "o", &long[..249]),
        ("{nothing}", "sso", "o", "{nothing}"),
    ] {
        assert_eq!(Destination::from(template).of(&of(service, organization)), name, "{template}");
    }
    assert_eq!(Destination::from("e.{service}").of(&record("{}")), "e.unknown");
    // The stream's, where the event names none.
    assert_eq!(Destination::from("e.{organization}").of(&record("{}")), "e.org-1");
}

#[test]
fn what_is_known_before_any_event_is_the_topic_or_the_fallback() {
    let fallback = Some("other".to_owned());
    assert_eq!(Destination::from("events").known(), Some("events"));
    assert_eq!(Destination::new("events", fallback.clone()).fallback(), None);
    assert_eq!(Destination::from("e.{service}").known(), None);
    let template = Destination::new("e.{service}.{organization}", fallback);
    assert_eq!((template.known(), template.fallback()), (Some("other"), Some("other")));
    assert_eq!(template.to_string(), "e.{service}.{organization}");
    for (topic, may) in [("e.sso.5f0", true), ("e.a.b.c", true), ("other", true), ("e.sso", false), ("e..", false)] {
        assert_eq!(template.may_be(topic), may, "{topic}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_name_is_legal_and_foreseen(
        template in "[a-z.]{0,3}(\\{service\\})?[-_a-z]{0,2}\\{organization\\}[a-z]{0,2}", service in ".{0,40}", organization in ".{0,400}"
    ) {
        let destination = Destination::from(template);
        let name = destination.of(&of(&service, &organization)).into_owned();
        prop_assert!((1..=249).contains(&name.len()) && name != "." && name != "..");
        prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{name}");
        // Of a name that was cut nothing is said.
        prop_assert!(destination.may_be(&name) || name.len() == 249 || name == "_");
    }
}

fn settings(brokers: String, topic: Destination) -> Settings {
    Settings {
        brokers: vec![brokers],
        topic,
        key: Key::None,
        tls: None,
        sasl: None,
        properties: BTreeMap::new(),
        ledger: None,
        max_record_bytes: 16 << 20,
    }
}

/// Ten records of each service.
fn records(services: &[&str]) -> Vec<Record> {
    let numbered = |service: &str, number: usize| {
        record(format!(r#"{{"id":"{service}-{number}","service":"{service}","timestamp":"2026-09-20T10:00:00Z"}}"#))
    };
    (0..10).flat_map(|number| services.iter().map(move |service| numbered(service, number))).collect()
}

/// Which services a topic has ten records of, each once.
async fn services(kafka: &Kafka, topic: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let messages = kafka.read_all(topic).await;
    let count = messages.len();
    for message in messages {
        let id = message.header("event-id").unwrap().to_owned();
        times.entry(message.header("service").unwrap().to_owned()).or_default().insert(id);
    }
    assert!(times.values().all(|ids| ids.len() == 10) && count == 10 * times.len(), "{topic}: {count}, {times:?}");
    times.into_keys().collect()
}

fn set<const N: usize>(services: [&str; N]) -> BTreeSet<String> {
    services.map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_can_not_be_had_gives_way_to_the_fallback_in_both_kinds_of_delivery() {
    let Some(kafka) = Kafka::own("templates", ACLS).await else { return };
    for kind in ["once", "least"] {
        let name = |service: &str| format!("{kind}.{service}");
        for topic in ["sso", "secret", "other"] {
            kafka.create_topic(&name(topic), 2, &[]).await;
        }
        kafka.deny_write(&name("secret")).await;
        let password = Password::Text(PASSWORD.to_owned().into());
        let sasl = Sasl::Password { mechanism: Mechanism::Plain, username: USER.into(), password };
        let topic = Destination::new(name("{service}"), Some(name("other")));
        let settings = Settings { sasl: Some(sasl), ..settings(kafka.bootstrap_of(Listener::Sasl), topic) };
        // Of the template its fallback can be looked at.
        assert!(inspect(&settings, Duration::from_secs(10)).await.topic.unwrap().is_ok());
        let all = records(&["sso", "secret", "radius"]);
        match kind {
            "least" => {
                let sink = KafkaSink::new(settings).unwrap();
                assert_eq!(tokio::time::timeout(DEADLINE, sink.deliver(&all)).await.unwrap().unwrap(), []);
                assert_eq!(sink.trouble(), None);
            }
            _ => {
                let topics = Topics::new(settings.clone());
                let owner = Transactions::new(topics, unique("template"), vec![name("other")]).unwrap();
                owner.open(DEADLINE).await.unwrap();
                let commit = owner.commit(all.len(), |index| settings.record(&all[index], ""));
                assert_eq!(tokio::time::timeout(DEADLINE, commit).await.unwrap(), Ok(Outcome::Committed));
                assert_eq!(owner.trouble(), None);
            }
        }
        assert_eq!(services(&kafka, &name("sso")).await, set(["sso"]), "{kind}");
        assert_eq!(services(&kafka, &name("other")).await, set(["secret", "radius"]), "{kind}");
        assert_eq!(services(&kafka, &name("secret")).await, set([]), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_a_topic_that_is_missing_is_told_and_waited_for() {
    let Some(kafka) = Kafka::shared("a template without a fallback").await else { return };
    let prefix = unique("template");
    kafka.create_topic(&format!("{prefix}.sso"), 1, &[]).await;
    let sink = KafkaSink::new(settings(kafka.bootstrap(), Destination::from(format!("{prefix}.{{service}}")))).unwrap();
    let sink = Arc::new(sink);
    let delivery = tokio::spawn({
        let sink = sink.clone();
        async move { sink.deliver(&records(&["sso", "radius"])).await }
    });
    let missing = format!("{prefix}.radius");
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains(&format!("--create --topic {missing}")), "{trouble}");
    kafka.create_topic(&missing, 1, &[]).await;
    assert_eq!(tokio::time::timeout(DEADLINE, delivery).await.unwrap().unwrap().unwrap(), []);
    assert_eq!(sink.trouble(), None);
    assert_eq!(services(kafka, &format!("{prefix}.sso")).await, set(["sso"]));
    assert_eq!(services(kafka, &missing).await, set(["radius"]));
}
