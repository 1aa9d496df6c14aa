//! Three brokers that are one cluster: what is written is on at least two of them, and each can be killed by itself.
//!
//! # Invariants
//! A broker keeps its address, its name and its data over [`Trio::kill`] and [`Trio::start_again`].

use std::time::Duration;

use jumpstream::clock;
use rdkafka::metadata::{Metadata, MetadataPartition};

use super::{create_topic, reader, service_or_skip};
use crate::container::{Container, Plan, free_ports, unique_name};
use crate::random;

/// How long the cluster may take until it is as it should be.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every topic has three replicas, the inner ones too, of which two must have a record.
const REPLICATED: &str = "default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
";

/// A dead broker is noticed sooner than after Kafka's 9 s; not in the proof.
const HASTE: &str = "broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
";

/// What the cluster has a coordinator for; named after the topic that its state is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinated {
    Transactions,
    Group,
}

pub struct Trio {
    containers: [Container; 3],
    ports: [u16; 3],
}

impl Trio {
    /// Three brokers for this test alone.
    pub async fn own(test: &str) -> Option<Trio> {
        let image = service_or_skip(test)?;
        let mut attempt = 1;
        let trio = loop {
            match Trio::start(&image).await {
                Ok(trio) => break trio,
                // Another process may have taken a port between our look and the start.
                Err(_) if attempt < 5 => attempt += 1,
                Err(error) => panic!("starting three Kafkas from {image}: {error}"),
            }
        };
        trio.until("all three answer", |all| all.brokers().len() == 3).await;
        Some(trio)
    }

    async fn start(image: &str) -> Result<Trio, String> {
        let (network, names, ports) = (unique_name(), [(); 3].map(|()| unique_name()), free_ports());
        let voters: Vec<String> = (1..).zip(&names).map(|(node, name)| format!("{node}@{name}:9091")).collect();
        let plan = |place: usize| {
            let properties = [REPLICATED, if random::is_prove() { "" } else { HASTE }].concat();
            // Names are looked up again: a broker that was started again may have another address inside the network.
            let jvm = "-Xms128m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dsun.net.inetaddr.ttl=1";
            Plan {
                image: image.to_owned(),
                command: ["bash", "/jumpstream/kafka-start"].map(str::to_owned).to_vec(),
                environment: vec![
                    ("JVM", jvm.to_owned()),
                    ("ADVERTISED", "127.0.0.1".to_owned()),
                    ("LISTENERS", format!("PLAIN:PLAINTEXT:{}", ports[place])),
                    ("NODE", (place + 1).to_string()),
                    ("HOST", names[place].clone()),
                    ("VOTERS", voters.join(",")),
                    ("PROPERTIES", properties),
                ],
                files: vec![("/jumpstream/kafka-start", include_str!("../../../scripts/kafka-start").to_owned())],
                ports: vec![ports[place]],
                network: Some((network.clone(), names[place].clone())),
                ..Plan::default()
            }
        };
        let [first, second, third] = [0, 1, 2].map(plan);
        let containers =
            [Container::start(&first).await?, Container::start(&second).await?, Container::start(&third).await?];
        Ok(Trio { containers, ports })
    }

    /// `host:port` of each, separated by commas.
    pub fn bootstrap(&self) -> String {
        self.ports.map(|port| format!("127.0.0.1:{port}")).join(",")
    }

    /// Creates a topic; returns when all three have it.
    pub async fn create_topic(&self, name: &str, partitions: i32) {
        create_topic(&self.bootstrap(), name, (partitions, 3), &[]).await;
        self.until("the topic is on all three", |all| {
            let own = all.topics().iter().filter(|topic| topic.name() == name);
            own.flat_map(|topic| topic.partitions()).filter(|each| is_in_sync(each)).count() == partitions as usize
        })
        .await;
    }

    /// Kills broker 1, 2 or 3 as `kill -9` does; returns when it is gone.
    pub async fn kill(&self, node: i32) {
        self.container(node).kill().await;
    }

    /// Starts a killed broker; returns before it answers.
    pub async fn start_again(&self, node: i32) {
        self.container(node).start_again().await;
    }

    /// Returns when all three answer and have all that was written.
    pub async fn until_in_sync(&self) {
        self.until("all three have all records", |all| {
            let mut partitions = all.topics().iter().flat_map(|topic| topic.partitions());
            all.brokers().len() == 3 && partitions.all(is_in_sync)
        })
        .await;
    }

    /// Which broker coordinates the transactions of this id, or the group of this name; none where nobody does.
    pub async fn coordinator(&self, what: Coordinated, name: &str) -> Option<i32> {
        let topic = match what {
            Coordinated::Transactions => "__transaction_state",
            Coordinated::Group => "__consumer_offsets",
        };
        let all = reader::metadata(self.bootstrap()).await?;
        let own = all.topics().iter().find(|own| own.name() == topic)?;
        let partition = java_hash(name).unsigned_abs() as usize % own.partitions().len();
        let leader = own.partitions().iter().find(|each| each.id() as usize == partition)?.leader();
        (leader >= 0).then_some(leader)
    }

    /// Returns when another than `node` has that part.
    pub async fn until_moved(&self, what: Coordinated, name: &str, node: i32) -> i32 {
        let deadline = clock::uptime() + PATIENCE;
        loop {
            match self.coordinator(what, name).await {
                Some(now) if now != node => return now,
                _ => assert!(clock::uptime() < deadline, "broker {node} has no successor for {name}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn container(&self, node: i32) -> &Container {
        &self.containers[node as usize - 1]
    }

    async fn until(&self, what: &str, suits: impl Fn(&Metadata) -> bool) {
        let deadline = clock::uptime() + PATIENCE;
        while !reader::metadata(self.bootstrap()).await.is_some_and(|metadata| suits(&metadata)) {
            if clock::uptime() > deadline {
                let [first, second, third] = &self.containers;
                let logs = [first.log().await, second.log().await, third.log().await].join("\n");
                panic!("waited {PATIENCE:?} in vain until {what}; their logs: {logs}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn is_in_sync(partition: &MetadataPartition) -> bool {
    partition.leader() >= 0 && partition.isr().len() == 3
}

/// `String.hashCode`, by which Kafka finds a coordinator.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}
