//! One Kafka in a container, with the compiler and the collector that Java chooses by itself.

use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::{Outcome, process};

/// Of a topic for events.
pub const PARTITIONS: i32 = 4;
/// How often a topic is looked at while it fills.
const GLANCE: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker; its container is removed when it is dropped.
pub struct Broker {
    container: String,
    pub bootstrap: String,
    process: u32,
    /// Asks and never reads; sees what was committed, and what was written without a transaction; none before the broker has its address.
    client: Option<BaseConsumer>,
}

impl Broker {
    /// None where there is no image, after saying so.
    pub async fn start() -> Outcome<Option<Broker>> {
        let Some(image) = std::env::var("JUMPSTREAM_TEST_KAFKA_IMAGE").ok().filter(|image| !image.is_empty()) else {
            println!("\nSKIPPED: no Docker with an image of Kafka; run scripts/services, then `. target/services.env`");
            return Ok(None);
        };
        // Reached at its own address: the engine's proxy for published ports would cost processor time of its own.
        let script = "ADVERTISED=$(hostname -i) exec bash /kafka-start";
        // What a topic's retention lets go is let go at once: `memory` would fill the disk else.
        let properties = "PROPERTIES=log.retention.check.interval.ms=1000";
        let listeners = ["--label", "jumpstream-test", "--env", "LISTENERS=BENCH:PLAINTEXT:9094", "--env", properties];
        let container = docker(&[&["create"], &listeners[..], &[&image, "bash", "-c", script]].concat())?;
        let mut broker = Broker { container, bootstrap: String::new(), process: 0, client: None };
        let start = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka-start");
        docker(&["cp", start, &format!("{}:/kafka-start", broker.container)])?;
        docker(&["start", &broker.container])?;
        broker.bootstrap = format!(
            "{}:9094",
            broker
                .inspect("{{.NetworkSettings.IPAddress}}{{range .NetworkSettings.Networks}} {{.IPAddress}}{{end}}")?
                .split_whitespace()
                .last()
                .unwrap_or_default()
        );
        broker.process = broker.inspect("{{.State.Pid}}")?.parse()?;
        broker.client = Some(broker.config("read_committed").create()?);
        broker.await_answer().await?;
        Ok(Some(broker))
    }

    fn client(&self) -> Outcome<&BaseConsumer> {
        Ok(self.client.as_ref().ok_or("the broker has no address yet")?)
    }

    fn inspect(&self, what: &str) -> Outcome<String> {
        docker(&["inspect", "--format", what, &self.container])
    }

    async fn await_answer(&self) -> Outcome<()> {
        let begun = Instant::now();
        while self.client()?.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("Kafka doesn't answer at {}", self.bootstrap).into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Of the broker's process in the container.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        process::cpu_seconds(self.process)
    }

    /// Makes a topic for events and waits for its leaders.
    pub async fn create(&self, topic: &str) -> Outcome<()> {
        self.create_with(topic, PARTITIONS, &[]).await
    }

    pub async fn create_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Outcome<()> {
        // What was measured is not kept: the next round is to find the disk as this one did.
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("file.delete.delay.ms", "100");
        for (name, value) in settings {
            new = new.set(name, value);
        }
        self.admin()?.create_topics([&new], &AdminOptions::new()).await?;
        let begun = Instant::now();
        while (0..partitions).any(|partition| self.ends(topic, partition).is_err()) {
            if begun.elapsed() > PATIENCE {
                return Err(format!("topic {topic} has no leaders").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub async fn delete(&self, topic: &str) -> Outcome<()> {
        self.admin()?.delete_topics(&[topic], &AdminOptions::new()).await?;
        Ok(())
    }

    /// The first offset of a partition and the one behind its last.
    fn ends(&self, topic: &str, partition: i32) -> Outcome<(i64, i64)> {
        Ok(self.client()?.fetch_watermarks(topic, partition, Duration::from_secs(5))?)
    }

    /// How many offsets an events' topic has so far that readers of committed records may see: its records, and a mark
    /// in each partition for each transaction that wrote to it.
    pub fn count(&self, topic: &str) -> Outcome<u64> {
        let mut count = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = self.ends(topic, partition)?;
            count += (high - low) as u64;
        }
        Ok(count)
    }

    /// Looks at an events' topic until `ended`.
    pub async fn watch(&self, topic: &str, ended: impl Fn() -> bool) -> Outcome<Grown> {
        let mut grown = Grown { last: Instant::now(), offsets: 0 };
        loop {
            // Asked first, so that the last look comes after the end.
            let over = ended();
            let offsets = self.count(topic)?;
            if offsets != grown.offsets {
                grown = Grown { last: Instant::now(), offsets };
            }
            if over {
                return Ok(grown);
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Reads all committed records of a topic; how many there are, and their bytes, keys and values.
    pub fn read_committed(&self, topic: &str, partitions: i32) -> Outcome<(u64, u64)> {
        self.read(topic, partitions, "read_committed")
    }

    /// How many transactions have ended in a topic of which each writes to one partition: their marks are all that
    /// takes an offset and is no record. Compaction must not have been there.
    pub fn markers(&self, topic: &str, partitions: i32) -> Outcome<u64> {
        let mut offsets = 0;
        for partition in 0..partitions {
            let (low, high) = self.ends(topic, partition)?;
            offsets += (high - low) as u64;
        }
        Ok(offsets - self.read(topic, partitions, "read_uncommitted")?.0)
    }

    fn read(&self, topic: &str, partitions: i32, isolation: &str) -> Outcome<(u64, u64)> {
        let mut config = self.config(isolation);
        config.set("group.id", "bench").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (mut open, mut records, mut bytes) = (partitions, 0, 0);
        while open > 0 {
            match consumer.poll(PATIENCE).ok_or("a topic can't be read to its end")? {
                Ok(message) => {
                    records += 1;
                    bytes += (message.key_len() + message.payload_len()) as u64;
                }
                Err(KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((records, bytes))
    }

    /// How long a topic's logs are on the broker's disk, in bytes.
    pub fn disk_bytes(&self, topic: &str) -> Outcome<u64> {
        let count = format!("cat /tmp/jumpstream-kafka/data/{topic}-[0-9]*/*.log | wc -c");
        Ok(docker(&["exec", &self.container, "bash", "-c", &count])?.parse()?)
    }

    pub fn config(&self, isolation: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("isolation.level", isolation);
        config
    }

    fn admin(&self) -> Outcome<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?)
    }
}

/// How an events' topic grew.
#[derive(Debug, Clone, Copy)]
pub struct Grown {
    /// When it was first seen to hold what it holds.
    pub last: Instant,
    /// As [`Broker::count`].
    pub offsets: u64,
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.container]) {
            eprintln!("{error}");
        }
    }
}

pub fn docker(arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("docker").args(arguments).output().map_err(|error| format!("docker: {error}"))?;
    if !output.status.success() {
        return Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
