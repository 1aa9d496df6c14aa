//! The Kafka sink over a real broker: its doors, its limits, and its absences.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jumpstream::record::{Reason, Record};
use jumpstream::sink::Sink as _;
use jumpstream::sink::kafka::{KafkaSink, Mechanism, Password, Sasl, Settings, Tls, inspect};

use super::{DEADLINE, eventually, record, records};
use crate::kafka::{Kafka, Listener, Message, PASSWORD, USER, unique};

fn settings(kafka: &Kafka, listener: Listener, topic: &str) -> Settings {
    super::settings(&kafka.bootstrap_of(listener), topic)
}

fn sasl(mechanism: Mechanism, password: Password) -> Option<Sasl> {
    Some(Sasl::Password { mechanism, username: USER.into(), password })
}

async fn deliver(sink: &KafkaSink, records: &[Record]) -> Vec<jumpstream::sink::Refused> {
    tokio::time::timeout(2 * DEADLINE, sink.deliver(records)).await.expect("within the deadline").unwrap()
}

/// How many messages are there beside one for each record; none of the records is missing.
fn surplus(messages: &[Message], records: &[Record]) -> usize {
    let values: HashSet<&[u8]> = messages.iter().filter_map(|message| message.value.as_deref()).collect();
    let missing = records.iter().filter(|record| !values.contains(&record.value[..])).count();
    assert_eq!(missing, 0, "records missing of {}", records.len());
    messages.len() - records.len()
}

/// Bytes that no compression makes smaller.
pub fn noise(length: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let digit = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize])
    };
    (0..length).map(digit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_of_a_broker_is_entered() {
    let Some(kafka) = Kafka::shared("TLS and SASL").await else { return };
    let certificates = kafka.certificates();
    let tls = Some(Tls { ca: Some(certificates.ca()), ..Tls::default() });
    let mutual = Some(Tls {
        ca: Some(certificates.ca()),
        certificate: Some(certificates.client_certificate()),
        key: Some(certificates.client_key()),
    });
    let password = |mechanism| sasl(mechanism, Password::Text(PASSWORD.to_owned().into()));
    let doors = [
        (Listener::Plain, None, None),
        (Listener::Tls, tls.clone(), None),
        (Listener::MutualTls, mutual, None),
        (Listener::Sasl, None, password(Mechanism::Plain)),
        (Listener::Sasl, None, password(Mechanism::ScramSha256)),
        (Listener::Sasl, None, password(Mechanism::ScramSha512)),
        (Listener::SaslTls, tls, password(Mechanism::ScramSha512)),
    ];
    for (listener, tls, sasl) in doors {
        let topic = unique("door");
        kafka.create_topic(&topic, 2, &[]).await;
        let sink = KafkaSink::new(Settings { tls, sasl, ..settings(kafka, listener, &topic) }).unwrap();
        let records = records(0..500);
        assert_eq!(deliver(&sink, &records).await, [], "{listener:?}");
        assert_eq!(surplus(&kafka.read_all(&topic).await, &records), 0, "{listener:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_told_and_heals_when_its_file_changes() {
    let Some(kafka) = Kafka::shared("a rotated password").await else { return };
    let topic = unique("rotated");
    kafka.create_topic(&topic, 1, &[]).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let sasl = sasl(Mechanism::Plain, Password::File(secret.path().into()));
    let sink = Arc::new(KafkaSink::new(Settings { sasl, ..settings(kafka, Listener::Sasl, &topic) }).unwrap());
    let records = records(0..10);
    let delivery = tokio::spawn({
        let (sink, records) = (sink.clone(), records.clone());
        async move { deliver(&sink, &records).await }
    });
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("refuse our credentials") && !trouble.contains("hunter2"), "{trouble}");
    std::fs::write(secret.path(), format!("{PASSWORD}\n")).unwrap();
    assert_eq!(delivery.await.unwrap(), []);
    assert_eq!(sink.trouble(), None);
    assert_eq!(surplus(&kafka.read_all(&topic).await, &records), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_stranger_is_told() {
    let Some(kafka) = Kafka::shared("an untrusted certificate").await else { return };
    let settings = Settings { tls: Some(Tls::default()), ..settings(kafka, Listener::Tls, "any") };
    let mut fault = String::new();
    // On a busy machine a first look may end before the handshake does.
    for _ in 0..5 {
        fault = inspect(&settings, Duration::from_secs(10)).await.brokers.unwrap_err();
        if fault.contains("no TLS with") {
            break;
        }
    }
    assert!(fault.contains("no TLS with") && fault.contains("tls.ca"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_topic_does_not_take_is_refused() {
    let Some(kafka) = Kafka::shared("a topic's limit").await else { return };
    let topic = unique("limited");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "100000")]).await;
    let settings = settings(kafka, Listener::Plain, &topic);
    let there = inspect(&settings, Duration::from_secs(10)).await.topic.unwrap().unwrap();
    assert_eq!(there.max_message_bytes, Ok(100_000));
    let sink = KafkaSink::new(settings).unwrap();
    let event = |name: &str, text: &str| record(format!(r#"{{"id":"{name}","text":"{text}"}}"#));
    // Together far above the limit, each below it, and none of it compressible.
    let mut all: Vec<Record> = (0..50).map(|number| event(&number.to_string(), &noise(20_000 + number))).collect();
    all.insert(20, event("too large", &noise(150_000)));
    all.insert(40, event("large but compressible", &"x".repeat(150_000)));
    let refused = deliver(&sink, &all).await;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((refused[0].index, refused[0].reason), (20, Reason::TooLargeForSink));
    assert!(refused[0].explanation.contains("max.message.bytes of 100000"), "{}", refused[0].explanation);
    all.remove(20);
    assert_eq!(surplus(&kafka.read_all(&topic).await, &all), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_lowered_meanwhile_refuses_no_small_record() {
    let Some(kafka) = Kafka::shared("a lowered limit").await else { return };
    let topic = unique("lowered");
    kafka.create_topic(&topic, 1, &[]).await;
    let sink = KafkaSink::new(settings(kafka, Listener::Plain, &topic)).unwrap();
    let event = |number: usize| record(format!(r#"{{"id":"{number}","text":"{}"}}"#, noise(20_000 + number)));
    let all: Vec<Record> = (0..60).map(event).collect();
    assert_eq!(deliver(&sink, &all[..1]).await, []);
    kafka.delete_topic(&topic).await;
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "50000")]).await;
    assert_eq!(deliver(&sink, &all[1..]).await, []);
    surplus(&kafka.read_all(&topic).await, &all[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_made_again_loses_nothing_that_comes_after() {
    let Some(kafka) = Kafka::shared("a deleted topic").await else { return };
    let topic = unique("deleted");
    kafka.create_topic(&topic, 2, &[]).await;
    let sink = Arc::new(KafkaSink::new(settings(kafka, Listener::Plain, &topic)).unwrap());
    let records = records(0..200);
    assert_eq!(deliver(&sink, &records[..100]).await, []);
    kafka.delete_topic(&topic).await;
    let delivery = tokio::spawn({
        let (sink, records) = (sink.clone(), records[100..].to_vec());
        async move { deliver(&sink, &records).await }
    });
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains(&format!("--create --topic {topic}")), "{trouble}");
    kafka.create_topic(&topic, 3, &[]).await;
    assert_eq!(delivery.await.unwrap(), []);
    assert_eq!(sink.trouble(), None);
    surplus(&kafka.read_all(&topic).await, &records[100..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_one_that_hangs_lose_nothing() {
    let Some(kafka) = Kafka::own("a killed broker", "").await else { return };
    let topic = unique("killed");
    kafka.create_topic(&topic, 3, &[]).await;
    // Short, so that the broker is gone for longer than every one of them.
    let properties = BTreeMap::from(
        ["socket.timeout.ms", "socket.connection.setup.timeout.ms", "request.timeout.ms"]
            .map(|property| (property.to_owned(), "1000".to_owned())),
    );
    let sink = Arc::new(KafkaSink::new(Settings { properties, ..settings(&kafka, Listener::Plain, &topic) }).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let feed = tokio::spawn({
        let (sink, stop) = (sink.clone(), stop.clone());
        async move {
            let mut sent = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let batch = records(sent.len()..sent.len() + 500);
                assert_eq!(deliver(&sink, &batch).await, []);
                sent.extend(batch);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            sent
        }
    });
    kafka.kill().await;
    let trouble = eventually("the trouble of a killed broker", || sink.trouble()).await;
    assert!(trouble.contains("no broker of"), "{trouble}");
    kafka.start_again().await;
    eventually("the recovery", || sink.trouble().is_none().then_some(())).await;
    kafka.pause().await;
    eventually("the trouble of a hanging broker", || sink.trouble()).await;
    kafka.unpause().await;
    eventually("the second recovery", || sink.trouble().is_none().then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    let records = feed.await.unwrap();
    let twice = surplus(&kafka.read_all(&topic).await, &records);
    // The producer's numbers let the broker drop what it has already; nothing here broke the producer.
    assert_eq!(twice, 0);
}
