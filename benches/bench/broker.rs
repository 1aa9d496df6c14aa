//! One Kafka in a container, with the compiler and the collector that Java chooses by itself.

use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::{Outcome, process};

const PARTITIONS: i32 = 4;
/// How often a topic is looked at while it fills.
const GLANCE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker; its container is removed when it is dropped.
pub struct Broker {
    container: String,
    pub bootstrap: String,
    process: u32,
    /// Asks and never reads; none before the broker has its address.
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
        let listeners = ["--label", "jumpstream-test", "--env", "LISTENERS=BENCH:PLAINTEXT:9094"];
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
        broker.client = Some(ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).create()?);
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

    /// Makes a topic and waits for its leaders.
    pub async fn create(&self, topic: &str) -> Outcome<()> {
        // What was measured is not kept: the next round is to find the disk as this one did.
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1)).set("file.delete.delay.ms", "100");
        self.admin()?.create_topics([&new], &AdminOptions::new()).await?;
        let begun = Instant::now();
        while self.count(topic).is_err() {
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

    /// How many records the topic holds.
    pub fn count(&self, topic: &str) -> Outcome<u64> {
        let mut count = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = self.client()?.fetch_watermarks(topic, partition, Duration::from_secs(5))?;
            count += (high - low) as u64;
        }
        Ok(count)
    }

    /// When the topic was first seen to hold `count` records, or now once `ended` says that no more will come.
    pub async fn await_count(&self, topic: &str, count: u64, ended: impl Fn() -> bool) -> Outcome<Instant> {
        while !ended() && self.count(topic)? < count {
            tokio::time::sleep(GLANCE).await;
        }
        Ok(Instant::now())
    }

    fn admin(&self) -> Outcome<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.container]) {
            eprintln!("{error}");
        }
    }
}

fn docker(arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("docker").args(arguments).output().map_err(|error| format!("docker: {error}"))?;
    if !output.status.success() {
        return Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
