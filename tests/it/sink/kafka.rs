//! The Kafka sink over an in-process cluster: what arrives, and that trouble only delays it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jumpstream::record::{DeadLetter, Key, Reason, Record};
use jumpstream::sink::kafka::{
    self, KafkaDeadLetters, KafkaSink, Mechanism, Password, Sasl, Settings, config::refusal, inspect,
};
use jumpstream::sink::{DeadLetters as _, Error, Refused, Sink as _};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::{DEADLINE, eventually, record, records};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const TOPIC: &str = "jumpcloud.events";

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

fn settings(cluster: &Cluster) -> Settings {
    super::settings(&cluster.bootstrap_servers(), TOPIC)
}

fn sink(cluster: &Cluster) -> Arc<KafkaSink> {
    Arc::new(KafkaSink::new(settings(cluster)).unwrap())
}

/// Delivers in a task of its own.
fn deliver(sink: &Arc<KafkaSink>, records: &[Record]) -> tokio::task::JoinHandle<Result<Vec<Refused>, Error>> {
    let (sink, records) = (sink.clone(), records.to_vec());
    tokio::spawn(async move { sink.deliver(&records).await })
}

async fn done(delivery: tokio::task::JoinHandle<Result<Vec<Refused>, Error>>) -> Vec<Refused> {
    tokio::time::timeout(DEADLINE, delivery).await.expect("within the deadline").unwrap().unwrap()
}

/// Reads the topic from its beginning until it holds `count` messages.
async fn read(cluster: &Cluster, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(TOPIC), DEADLINE).unwrap();
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        all.add_partition_offset(TOPIC, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    tokio::task::spawn_blocking(move || {
        let deadline = jumpstream::clock::uptime() + DEADLINE;
        let mut messages = Vec::new();
        while messages.len() < count {
            assert!(jumpstream::clock::uptime() < deadline, "{} of {count} messages arrived", messages.len());
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                messages.push(message.detach());
            }
        }
        messages
    })
    .await
    .unwrap()
}

fn headers(message: &OwnedMessage) -> Vec<(String, String)> {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    message.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

/// Every record is there at least once.
fn assert_holds(messages: &[OwnedMessage], records: &[Record]) {
    let values: std::collections::HashSet<&[u8]> = messages.iter().filter_map(|message| message.payload()).collect();
    let missing = records.iter().filter(|record| !values.contains(&record.value[..])).count();
    assert_eq!(missing, 0, "records missing");
}

/// Java's `Utils.murmur2` and `BuiltInPartitioner`, written from the algorithm's description.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    for (at, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn our_murmur2_is_javas() {
    // The vectors of Kafka's own UtilsTest.testMurmur2.
    for (text, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
        assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_arrives_byte_by_byte_with_its_key_headers_and_partition() {
    let cluster = cluster(5);
    let sink = KafkaSink::new(Settings { ledger: Some("jumpstream.ledger".into()), ..settings(&cluster) }).unwrap();
    let odd = record("{ \"id\":\"ä\\n1\",\n\t\"event_type\":\"sso_auth\",\"z\":1.10 }");
    let mut all = records(0..200);
    all.push(odd.clone());
    assert_eq!(sink.deliver(&all).await.unwrap(), []);
    assert_eq!(sink.trouble(), None);

    let messages = read(&cluster, all.len()).await;
    assert_holds(&messages, &all);
    let mut last = HashMap::new();
    for message in &messages {
        let sent = all.iter().find(|record| record.value == message.payload().unwrap()).unwrap();
        assert_eq!(message.key(), sent.key(Key::Actor));
        let mut expected: Vec<(String, String)> =
            sent.headers().map(|(name, value)| (name.into(), value.into_owned())).collect();
        expected.push(("ledger".into(), "jumpstream.ledger".into()));
        assert_eq!(headers(message), expected);
        if let Some(key) = message.key() {
            assert_eq!(message.partition() as u32, (murmur2(key) & 0x7fff_ffff) % 5);
        }
        let number: i64 = sent.event.id().and_then(|id| id.parse().ok()).unwrap_or(i64::MAX);
        assert!(last.insert(message.partition(), number).unwrap_or(-1) < number, "out of order in a partition");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_told_never_created_and_waited_for() {
    let cluster: Cluster = MockCluster::new(1).unwrap();
    let sink = sink(&cluster);
    let records = records(0..50);
    let delivery = deliver(&sink, &records);
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("kafka-topics.sh") && trouble.contains("--create --topic jumpcloud.events"), "{trouble}");
    // A second look would find it, had the first one created it.
    let topic = inspect(&settings(&cluster), Duration::from_secs(10)).await.topic;
    assert!(matches!(topic, Some(Err(fault)) if fault.contains("doesn't exist")));
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    assert_eq!(done(delivery).await, []);
    assert_eq!(sink.trouble(), None);
    assert_holds(&read(&cluster, records.len()).await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_down_are_waited_for_and_nothing_is_lost() {
    let cluster = cluster(3);
    let sink = sink(&cluster);
    let records = records(0..3_000);
    assert_eq!(sink.deliver(&records[..1_000]).await.unwrap(), []);
    cluster.broker_down(1).unwrap();
    let delivery = deliver(&sink, &records[1_000..2_000]);
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("no broker of") && trouble.contains("start them"), "{trouble}");
    assert!(!delivery.is_finished());
    cluster.broker_up(1).unwrap();
    assert_eq!(done(delivery).await, []);
    assert_eq!(sink.trouble(), None);
    assert_eq!(sink.deliver(&records[2_000..]).await.unwrap(), []);
    assert_holds(&read(&cluster, records.len()).await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_were_never_there_are_waited_for() {
    let cluster = cluster(1);
    cluster.broker_down(1).unwrap();
    let sink = sink(&cluster);
    let records = records(0..10);
    let delivery = deliver(&sink, &records);
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("no broker of"), "{trouble}");
    cluster.broker_up(1).unwrap();
    assert_eq!(done(delivery).await, []);
    assert_holds(&read(&cluster, records.len()).await, &records);
}

/// Every answer but a verdict on the record itself is followed by another try.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_a_broker_loses_a_record() {
    use RDKafkaRespErr::*;
    let answers = [
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        RD_KAFKA_RESP_ERR_INVALID_MSG,
        RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    let tries = answers.map(|answer| async move {
        let cluster = cluster(2);
        let sink = sink(&cluster);
        let records = records(0..100);
        assert_eq!(sink.deliver(&records[..10]).await.unwrap(), []);
        cluster.request_errors(RDKafkaApiKey::Produce, &[answer; 3]);
        assert_eq!(done(deliver(&sink, &records[10..])).await, [], "{answer:?}");
        assert_eq!(sink.trouble(), None, "{answer:?}");
        assert_holds(&read(&cluster, records.len()).await, &records);
    });
    futures::future::join_all(tries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_broke_for_good_is_replaced() {
    let cluster = cluster(1);
    let sink = sink(&cluster);
    let records = records(0..100);
    assert_eq!(sink.deliver(&records[..10]).await.unwrap(), []);
    // librdkafka calls it fatal and never sends again.
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let delivery = deliver(&sink, &records[10..]);
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("a new one sends again what has no answer"), "{trouble}");
    assert_eq!(done(delivery).await, []);
    assert_holds(&read(&cluster, records.len()).await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_the_brokers_find_too_large_is_refused_and_all_others_are_acknowledged() {
    let cluster = cluster(1);
    let sink = sink(&cluster);
    let mut all = records(0..20);
    // Above the largest batch, so alone in its own; the first request carries the records before it.
    all.insert(10, record(format!("{{\"id\":\"large\",\"text\":\"{}\"}}", "x".repeat(1_100_000))));
    assert_eq!(sink.deliver(&all[..1]).await.unwrap(), []);
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let refused = done(deliver(&sink, &all)).await;
    assert_eq!(
        refused.iter().map(|refused| (refused.index, refused.reason)).collect::<Vec<_>>(),
        [(10, Reason::TooLargeForSink)]
    );
    let explanation = &refused[0].explanation;
    assert!(explanation.contains("max.message.bytes") && explanation.contains("kafka-configs.sh"), "{explanation}");
    all.remove(10);
    assert_holds(&read(&cluster, all.len() + 1).await, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_records_are_not_refused_for_the_size_of_their_batch() {
    let cluster = cluster(1);
    let sink = sink(&cluster);
    let records = records(0..40);
    assert_eq!(sink.deliver(&records[..1]).await.unwrap(), []);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    assert_eq!(done(deliver(&sink, &records[1..])).await, []);
    assert_holds(&read(&cluster, records.len()).await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_the_producer_takes_is_refused_before_it_is_sent() {
    let cluster = cluster(1);
    let sink = KafkaSink::new(Settings { max_record_bytes: 1_000, ..settings(&cluster) }).unwrap();
    let all = [record("{\"id\":\"1\"}"), record(format!("{{\"text\":\"{}\"}}", "x".repeat(2_000_000)))];
    let refused = sink.deliver(&all).await.unwrap();
    assert_eq!(
        refused.iter().map(|refused| (refused.index, refused.reason)).collect::<Vec<_>>(),
        [(1, Reason::TooLargeForSink)]
    );
    assert_holds(&read(&cluster, 1).await, &all[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_waits_for_the_brokers() {
    let cluster = cluster(2);
    let properties = BTreeMap::from([("queue.buffering.max.messages".into(), "10".into())]);
    let sink = KafkaSink::new(Settings { properties, ..settings(&cluster) }).unwrap();
    let records = records(0..500);
    assert_eq!(sink.deliver(&records).await.unwrap(), []);
    assert_holds(&read(&cluster, records.len()).await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_beside_each_other_each_get_their_own_answers() {
    let cluster = cluster(3);
    let sink = sink(&cluster);
    let records = records(0..2_000);
    let deliveries: Vec<_> = records.chunks(100).map(|chunk| deliver(&sink, chunk)).collect();
    for delivery in deliveries {
        assert_eq!(done(delivery).await, []);
    }
    assert_holds(&read(&cluster, records.len()).await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_delivery_leaves_the_sink_usable() {
    let cluster = cluster(1);
    let sink = sink(&cluster);
    let records = records(0..20);
    assert_eq!(sink.deliver(&records[..5]).await.unwrap(), []);
    cluster.broker_down(1).unwrap();
    let dropped = deliver(&sink, &records[5..10]);
    eventually("the trouble", || sink.trouble()).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert_eq!(sink.trouble(), None);
    cluster.broker_up(1).unwrap();
    assert_eq!(done(deliver(&sink, &records[10..])).await, []);
    assert_holds(&read(&cluster, 15).await, &records[..5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_carries_the_whole_event_and_says_why() {
    let cluster = cluster(1);
    let letters = KafkaDeadLetters::new(settings(&cluster)).unwrap();
    let letter = DeadLetter::of(&record("{ \"id\":\"1\" }"), Reason::TooLargeForSink, "over the limit".into());
    letters.bury(std::slice::from_ref(&letter)).await.unwrap();
    let messages = read(&cluster, 1).await;
    assert_eq!(messages[0].payload(), Some(&letter.value[..]));
    let expected: Vec<(String, String)> =
        letter.all_headers().map(|(name, value)| (name.into(), value.into_owned())).collect();
    assert_eq!(headers(&messages[0]), expected);
    assert!(expected.contains(&("dead-letter-reason".into(), "too_large_for_sink".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_refused_is_fatal() {
    let cluster = cluster(1);
    let letters = KafkaDeadLetters::new(Settings { max_record_bytes: 1_000, ..settings(&cluster) }).unwrap();
    let large = record(format!("{{\"text\":\"{}\"}}", "x".repeat(2_000_000)));
    let letter = DeadLetter::of(&large, Reason::TooLargeForSink, "over the limit".into());
    let error = letters.bury(&[letter]).await.unwrap_err();
    assert!(matches!(&error, Error::DeadLetterRefused { size, .. } if *size == large.value.len() as u64), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_says_what_is_there_and_sends_nothing() {
    let cluster = cluster(4);
    let inspection = inspect(&settings(&cluster), Duration::from_secs(10)).await;
    assert_eq!(inspection.brokers, Ok(1));
    let topic = inspection.topic.unwrap().unwrap();
    assert_eq!((topic.partitions, topic.replicas, topic.leaderless, topic.under_replicated), (4, 1, 0, 0));
    // The mock cluster answers no DescribeConfigs.
    assert!(topic.max_message_bytes.unwrap_err().contains("allow DescribeConfigs"));

    let missing = Settings { topic: "none".into(), ..settings(&cluster) };
    assert!(inspect(&missing, Duration::from_secs(10)).await.topic.unwrap().unwrap_err().contains("--topic none"));

    cluster.broker_down(1).unwrap();
    let down = inspect(&settings(&cluster), Duration::from_secs(3)).await;
    assert!(down.brokers.unwrap_err().contains("no broker of"));
    assert_eq!(down.topic, None);
}

#[test]
fn properties_that_are_ours_are_refused_with_what_to_use_instead() {
    let fault = |property: &str| {
        let properties = BTreeMap::from([(property.to_owned(), "x".to_owned())]);
        let settings = Settings { properties, ..settings(&cluster(1)) };
        KafkaSink::new(settings).err().map(|error| error.to_string())
    };
    for property in ["acks", "sasl.password", "ssl.key.pem", "delivery.timeout.ms", "plugin.library.paths", "retries"] {
        let instead = refusal(property).unwrap();
        assert_eq!(fault(property).unwrap(), format!("kafka: properties: {property} can't be set here; {instead}"));
    }
    assert!(fault("no.such.property").unwrap().contains("no.such.property"));
    assert_eq!(refusal("linger.ms"), None);
    assert_eq!(refusal("ssl.cipher.suites"), None);
}

#[test]
fn a_property_of_the_users_replaces_our_tuning_under_either_name() {
    for (property, value) in [("queue.buffering.max.ms", "7"), ("linger.ms", "7"), ("compression.codec", "zstd")] {
        let properties = BTreeMap::from([(property.to_owned(), value.to_owned())]);
        KafkaSink::new(Settings { properties, ..settings(&cluster(1)) }).unwrap();
    }
}

#[test]
fn settings_show_no_password() {
    let sasl = Sasl::Password {
        mechanism: Mechanism::Plain,
        username: "jumpstream".into(),
        password: Password::Text("hunter2".to_owned().into()),
    };
    let settings = kafka::Settings { sasl: Some(sasl), ..settings(&cluster(1)) };
    assert!(!format!("{settings:?}").contains("hunter2"));
}
