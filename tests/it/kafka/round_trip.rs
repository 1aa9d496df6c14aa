//! The broker of the tests is a real one: it keeps what it is given, dies and comes back, hides what was aborted, fences, and asks for what its listeners want.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::certificate::Certificates;
use super::{Kafka, Listener, PASSWORD, USER, service_or_skip, unique};

const WAIT: Duration = Duration::from_secs(30);

fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("message.timeout.ms", "30000");
    config
}

async fn send(producer: &FutureProducer, topic: &str, partition: i32, key: &str, value: &str) {
    let headers = OwnedHeaders::new().insert(Header { key: "event-id", value: Some(key) });
    let record = FutureRecord::to(topic).partition(partition).key(key).payload(value).headers(headers);
    producer.send(record, WAIT).await.unwrap();
}

async fn transactional(kafka: &Kafka, id: &str) -> FutureProducer {
    let producer: FutureProducer = client(kafka).set("transactional.id", id).create().unwrap();
    let worker = producer.clone();
    tokio::task::spawn_blocking(move || worker.init_transactions(WAIT).unwrap()).await.unwrap();
    producer
}

#[tokio::test]
async fn what_is_produced_is_read_with_key_headers_and_place() {
    let Some(kafka) = Kafka::shared("what_is_produced_is_read_with_key_headers_and_place").await else { return };
    let topic = unique("round-trip");
    kafka.create_topic(&topic, 2, &[]).await;
    let producer: FutureProducer = client(kafka).create().unwrap();
    send(&producer, &topic, 1, "k1", "v1").await;
    send(&producer, &topic, 0, "k0", "v0").await;
    send(&producer, &topic, 1, "k2", "v2").await;

    let read = kafka.read_all(&topic).await;
    let seen: Vec<_> =
        read.iter().map(|each| (each.partition, each.offset, each.text(), each.header("event-id"))).collect();
    assert_eq!(seen, [(0, 0, "v0", Some("k0")), (1, 0, "v1", Some("k1")), (1, 1, "v2", Some("k2"))]);
    assert_eq!(read[0].key.as_deref(), Some(b"k0".as_slice()));
    assert_eq!(read[0].header("no-such"), None);
}

#[tokio::test]
async fn kafkas_own_consumer_reads_it_too() {
    let Some(kafka) = Kafka::shared("kafkas_own_consumer_reads_it_too").await else { return };
    let topic = unique("console");
    kafka.create_topic(&topic, 1, &[]).await;
    let producer: FutureProducer = client(kafka).create().unwrap();
    send(&producer, &topic, 0, "k", "{\"id\": 1}").await;

    let lines = kafka.console_consume(&topic, 1).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let fields: Vec<&str> = lines[0].split('\t').collect();
    assert!(fields[0].starts_with("CreateTime:"), "{lines:?}");
    assert_eq!(fields[1..], ["Partition:0", "Offset:0", "event-id:k", "k", "{\"id\": 1}"]);
}

#[tokio::test]
async fn a_killed_broker_comes_back_with_its_data_at_its_address() {
    let test = "a_killed_broker_comes_back_with_its_data_at_its_address";
    let Some(kafka) = Kafka::own(test, "message.max.bytes=2000").await else { return };
    kafka.create_topic("kept", 1, &[]).await;
    let producer: FutureProducer = client(&kafka).create().unwrap();
    send(&producer, "kept", 0, "k", "before").await;
    let before = kafka.read_all("kept").await;

    kafka.kill().await;
    assert!(super::reader::metadata(kafka.bootstrap()).await.is_none(), "a dead broker answers");
    kafka.start_again().await;
    assert_eq!(kafka.read_all("kept").await, before);
    send(&producer, "kept", 0, "k", "after").await;
    assert_eq!(kafka.read_all("kept").await.len(), 2, "the old client's address leads elsewhere");

    let large = "x".repeat(3_000);
    let refused = producer.send(FutureRecord::<str, str>::to("kept").payload(&large), WAIT).await;
    let code = refused.unwrap_err().0.rdkafka_error_code();
    assert_eq!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge), "the broker's own properties do not count");
}

#[tokio::test]
async fn a_paused_broker_answers_nothing_until_it_goes_on() {
    let Some(kafka) = Kafka::own("a_paused_broker_answers_nothing_until_it_goes_on", "").await else { return };
    kafka.create_topic("paused", 1, &[]).await;
    kafka.pause().await;
    assert!(super::reader::metadata(kafka.bootstrap()).await.is_none(), "a paused broker answers");
    kafka.unpause().await;
    let producer: FutureProducer = client(&kafka).create().unwrap();
    send(&producer, "paused", 0, "k", "v").await;
    assert_eq!(kafka.read_all("paused").await.len(), 1);
}

#[tokio::test]
async fn aborted_records_are_hidden_and_a_successor_fences() {
    let Some(kafka) = Kafka::shared("aborted_records_are_hidden_and_a_successor_fences").await else { return };
    let topic = unique("fence");
    kafka.create_topic(&topic, 1, &[]).await;
    let id = unique("owner");
    let first = transactional(kafka, &id).await;
    first.begin_transaction().unwrap();
    send(&first, &topic, 0, "k", "open").await;
    assert_eq!(kafka.read_visible(&topic).await, []);
    assert_eq!(kafka.read_uncommitted(&topic).await[0].text(), "open");

    let second = transactional(kafka, &id).await;
    let zombie = tokio::task::spawn_blocking(move || first.commit_transaction(WAIT)).await.unwrap();
    assert!(matches!(&zombie, Err(KafkaError::Transaction(error)) if error.is_fatal()), "not fenced: {zombie:?}");
    second.begin_transaction().unwrap();
    send(&second, &topic, 0, "k", "committed").await;
    tokio::task::spawn_blocking(move || second.commit_transaction(WAIT)).await.unwrap().unwrap();

    let texts = |read: Vec<super::Message>| read.iter().map(|each| each.text().to_owned()).collect::<Vec<_>>();
    assert_eq!(texts(kafka.read_all(&topic).await), ["committed"]);
    assert_eq!(texts(kafka.read_uncommitted(&topic).await), ["open", "committed"]);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_nothing_brings_it_back_by_use() {
    let Some(kafka) = Kafka::shared("a_deleted_topic_is_gone_and_nothing_brings_it_back_by_use").await else { return };
    let topic = unique("deleted");
    kafka.create_topic(&topic, 1, &[]).await;
    kafka.delete_topic(&topic).await;
    // The client would wait 30 s for a topic that may be new.
    let producer: FutureProducer = client(kafka).set("topic.metadata.propagation.max.ms", "100").create().unwrap();
    let refused = producer.send(FutureRecord::<str, str>::to(&topic).payload("v"), WAIT).await;
    let code = refused.unwrap_err().0.rdkafka_error_code();
    assert!(
        matches!(code, Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)),
        "not refused as unknown: {code:?}"
    );
}

/// Whether the listener lets these settings in.
async fn admits(kafka: &Kafka, listener: Listener, settings: &[(&str, &str)]) -> bool {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap_of(listener));
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    let answer = tokio::task::spawn_blocking(move || consumer.fetch_metadata(None, Duration::from_secs(5)).is_ok());
    answer.await.unwrap()
}

#[tokio::test]
async fn each_listener_wants_what_it_says() {
    let Some(kafka) = Kafka::shared("each_listener_wants_what_it_says").await else { return };
    let stranger = Certificates::generate();
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (ca, strange_ca) = (text(kafka.certificates().ca()), text(stranger.ca()));
    let (certificate, key) = (text(kafka.certificates().client_certificate()), text(kafka.certificates().client_key()));

    let tls = ("security.protocol", "ssl");
    let identity = [("ssl.certificate.location", certificate.as_str()), ("ssl.key.location", key.as_str())];
    assert!(admits(kafka, Listener::Tls, &[tls, ("ssl.ca.location", &ca)]).await);
    assert!(!admits(kafka, Listener::Tls, &[tls, ("ssl.ca.location", &strange_ca)]).await);
    assert!(admits(kafka, Listener::MutualTls, &[tls, ("ssl.ca.location", &ca), identity[0], identity[1]]).await);
    assert!(!admits(kafka, Listener::MutualTls, &[tls, ("ssl.ca.location", &ca)]).await);

    let user = ("sasl.username", USER);
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let sasl = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", mechanism), user];
        assert!(admits(kafka, Listener::Sasl, &[sasl.as_slice(), &[("sasl.password", PASSWORD)]].concat()).await);
        let over_tls = [("security.protocol", "sasl_ssl"), ("ssl.ca.location", ca.as_str()), sasl[1], user];
        assert!(
            admits(kafka, Listener::SaslTls, &[over_tls.as_slice(), &[("sasl.password", PASSWORD)]].concat()).await
        );
    }
    let sasl = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN"), user];
    assert!(!admits(kafka, Listener::Sasl, &[sasl.as_slice(), &[("sasl.password", "wrong")]].concat()).await);
}

/// The rule itself is in `service_or_skip`; here it is seen from outside, in a process with an environment of its own.
#[test]
fn a_missing_service_is_said_aloud_and_fails_where_it_is_required() {
    if std::env::var("JUMPSTREAM_TEST_WITHOUT_SERVICE").is_ok() {
        assert_eq!(service_or_skip("some_test"), None);
        return;
    }
    let run = |required: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kafka::round_trip::a_missing_service_is_said_aloud_and_fails_where_it_is_required"])
            .env("JUMPSTREAM_TEST_WITHOUT_SERVICE", "1")
            .env("JUMPSTREAM_TEST_REQUIRE_SERVICES", required)
            .env_remove("JUMPSTREAM_TEST_KAFKA_IMAGE")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (passed, said) = run("");
    assert!(passed && said.contains("SKIPPED some_test: no Docker"), "{said}");
    let (passed, _) = run("1");
    assert!(!passed);
}
