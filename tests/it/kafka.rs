//! A real Kafka in a container, for every test that wants one; `kafka/round_trip.rs` shows that it is one.
//!
//! `scripts/services` provides the image and names it in `JUMPSTREAM_TEST_KAFKA_IMAGE`; without it a test is skipped,
//! aloud, and with `JUMPSTREAM_TEST_REQUIRE_SERVICES=1` it fails. A test begins with
//! `let Some(kafka) = Kafka::shared("its name").await else { return };`, and takes [`Kafka::own`] where it wants to
//! kill, pause or configure the broker.
//!
//! # Invariants
//! A broker keeps its addresses over [`Kafka::kill`] and [`Kafka::start_again`]. Topics are never created by use.

pub mod certificate;
pub mod reader;
mod round_trip;
pub mod trio;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use self::certificate::Certificates;
pub use self::reader::Message;
use crate::container::{Container, Plan, free_ports, image_or_skip};

/// The one user of the listeners that ask for a name and password.
pub const USER: &str = "jumpstream";
pub const PASSWORD: &str = "only-for-tests";

/// Lines of server.properties with which a broker heeds access lists; what none is about is allowed.
pub const ACLS: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS";

/// Where a broker's data lies, inside its container.
const DATA: &str = "/tmp/jumpstream-kafka/data";

/// How long a broker may take to answer: 3 s where it has the machine for itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a client must bring; each is a port of its own, on every broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Nothing: plain text.
    Plain,
    /// Trust in [`Certificates::ca`].
    Tls,
    /// That, and a certificate that the same authority has signed.
    MutualTls,
    /// [`USER`] and [`PASSWORD`] over plain text by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; or by OAUTHBEARER a token
    /// that nobody signed.
    Sasl,
    /// That over TLS.
    SaslTls,
}

/// Each listener with the name and the protocol that Kafka's settings give it; a broker's ports are in this order.
const LISTENERS: [(Listener, &str, &str); 5] = [
    (Listener::Plain, "PLAIN", "PLAINTEXT"),
    (Listener::Tls, "TLS", "SSL"),
    (Listener::MutualTls, "MUTUAL_TLS", "SSL"),
    (Listener::Sasl, "SASL", "SASL_PLAINTEXT"),
    (Listener::SaslTls, "SASL_TLS", "SASL_SSL"),
];

/// The image of Kafka, or none after saying why `test` is skipped.
///
/// # Panics
/// Without an image, where `JUMPSTREAM_TEST_REQUIRE_SERVICES=1`.
pub fn service_or_skip(test: &str) -> Option<String> {
    image_or_skip("JUMPSTREAM_TEST_KAFKA_IMAGE", "Kafka", test)
}

/// `name`, never given before on any broker: for topics, groups and transactional ids on the shared one.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// One broker, its ports and its certificates.
pub struct Kafka {
    container: Container,
    ports: [u16; LISTENERS.len()],
    certificates: Certificates,
}

impl Kafka {
    /// The broker that tests share, each with [`unique`] names of its own.
    pub async fn shared(test: &str) -> Option<&'static Kafka> {
        static SHARED: OnceCell<Kafka> = OnceCell::const_new();
        let image = service_or_skip(test)?;
        Some(SHARED.get_or_init(|| Kafka::start(image, "", None)).await)
    }

    /// A broker for this test alone; `properties` are further lines of its server.properties.
    pub async fn own(test: &str, properties: &str) -> Option<Kafka> {
        Some(Kafka::start(service_or_skip(test)?, properties, None).await)
    }

    /// A broker for this test alone whose data lies on a disk of so many bytes. When it ends it is started again, as by
    /// a service manager; it is not to be killed, since the disk is its container's.
    pub async fn on_a_disk_of(test: &str, bytes: u64) -> Option<Kafka> {
        Some(Kafka::start(service_or_skip(test)?, "", Some(bytes)).await)
    }

    async fn start(image: String, properties: &str, disk: Option<u64>) -> Kafka {
        let certificates = Certificates::generate();
        let mut attempt = 1;
        let (container, ports) = loop {
            let ports = free_ports();
            let mut plan = plan(&image, &ports, &certificates, properties);
            if let Some(bytes) = disk {
                plan.disk = Some((DATA, bytes));
                let forever = "while :; do bash /jumpstream/kafka-start || echo \"Kafka ended with $?\"; sleep 2; done";
                plan.command = ["bash", "-c", forever].map(str::to_owned).to_vec();
            }
            match Container::start(&plan).await {
                Ok(container) => break (container, ports),
                // Another process may have taken a port between our look and the start.
                Err(_) if attempt < 5 => attempt += 1,
                Err(error) => panic!("starting Kafka from {image}: {error}"),
            }
        };
        let kafka = Kafka { container, ports, certificates };
        kafka.await_ready().await;
        kafka
    }

    /// `host:port` of the plain listener.
    pub fn bootstrap(&self) -> String {
        self.bootstrap_of(Listener::Plain)
    }

    /// `host:port` of a listener; the same for as long as the broker lives.
    pub fn bootstrap_of(&self, listener: Listener) -> String {
        let place = LISTENERS.iter().position(|(each, _, _)| *each == listener).expect("every listener is listed");
        format!("127.0.0.1:{}", self.ports[place])
    }

    /// Those of the TLS listeners and of their clients.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Kills the broker as `kill -9` does; returns when it is gone.
    pub async fn kill(&self) {
        self.container.kill().await;
    }

    /// Starts a killed broker: the same data, the same addresses. Returns when it answers.
    pub async fn start_again(&self) {
        self.container.start_again().await;
        self.await_ready().await;
    }

    /// Freezes the broker: connections stay open, nothing is answered.
    pub async fn pause(&self) {
        self.container.pause().await;
    }

    /// Lets a paused broker go on.
    pub async fn unpause(&self) {
        self.container.unpause().await;
    }

    /// Fills the broker's disk but for `left` bytes.
    pub async fn fill_disk(&self, left: u64) {
        // The broker may take what is left meanwhile: then it is full all the same.
        let fill = format!(
            "free=$(df -Pk {DATA} | awk 'END {{print $4}}'); head -c $((free * 1024 - {left})) /dev/zero > {DATA}/filler || true"
        );
        self.container.run(["bash", "-c", &fill].map(str::to_owned).to_vec()).await;
    }

    /// Gives the room back.
    pub async fn free_disk(&self) {
        self.container.run(["rm", &format!("{DATA}/filler")].map(str::to_owned).to_vec()).await;
    }

    /// All that the broker has logged.
    pub async fn log(&self) -> String {
        self.container.log().await
    }

    /// Creates a topic (`configs` as `("max.message.bytes", "1000")`); returns when it can be written to.
    pub async fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        create_topic(&self.bootstrap(), name, (partitions, 1), configs).await;
        self.await_metadata("the topic is there", |all| leaders(all, name) == partitions as usize).await;
    }

    /// Deletes a topic; returns when the broker knows it no more.
    pub async fn delete_topic(&self, name: &str) {
        let results = self.admin().delete_topics(&[name], &AdminOptions::new()).await.unwrap();
        results[0].as_ref().unwrap();
        self.await_metadata("the topic is gone", |all| all.topics().iter().all(|each| each.name() != name)).await;
    }

    /// Deletes the first records of a partition, up to `offset`, as retention does.
    pub async fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut until = TopicPartitionList::new();
        until.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&until, &AdminOptions::new()).await.unwrap();
    }

    /// All that a consumer with `read_committed` gets of a topic, by partition and offset.
    ///
    /// First waits until no transaction is open in it: a commit is answered before its last marker is written.
    pub async fn read_all(&self, topic: &str) -> Vec<Message> {
        reader::read(self.bootstrap(), topic, reader::View::Settled).await
    }

    /// As [`Kafka::read_all`], but what is visible now, while transactions may be open.
    pub async fn read_visible(&self, topic: &str) -> Vec<Message> {
        reader::read(self.bootstrap(), topic, reader::View::Committed).await
    }

    /// As [`Kafka::read_visible`], with what was aborted and what is still open.
    pub async fn read_uncommitted(&self, topic: &str) -> Vec<Message> {
        reader::read(self.bootstrap(), topic, reader::View::Uncommitted).await
    }

    /// What Kafka's own console consumer prints of a topic's first `count` committed messages: a line each of
    /// timestamp, partition, offset, headers, key and value, separated by tabs.
    pub async fn console_consume(&self, topic: &str, count: usize) -> Vec<String> {
        let command = format!(
            "org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server localhost:9092 --topic {topic} --from-beginning --isolation-level read_committed \
             --max-messages {count} --timeout-ms 60000 --property print.timestamp=true \
             --property print.partition=true --property print.offset=true --property print.headers=true \
             --property print.key=true"
        );
        self.tool(&command).await.lines().map(str::to_owned).collect()
    }

    /// What the console consumer prints of a topic's first `count` committed messages for a user with [`PASSWORD`], in
    /// the group of the user's name.
    pub async fn console_consume_as(&self, user: &str, topic: &str, count: usize) -> Vec<String> {
        let (broker, properties) = (self.bootstrap_of(Listener::Sasl), format!("/tmp/{user}.properties"));
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
        let command = format!(
            "printf '%s\\n' security.protocol=SASL_PLAINTEXT sasl.mechanism=SCRAM-SHA-512 \
             'sasl.jaas.config={module} required username=\"{user}\" password=\"{PASSWORD}\";' > {properties} \
             && java -cp '/opt/kafka/libs/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server {broker} \
             --topic {topic} --group {user} --from-beginning --isolation-level read_committed --max-messages {count} \
             --timeout-ms 60000 --consumer.config {properties}"
        );
        let printed = self.container.run(["bash", "-c", &command].map(str::to_owned).to_vec()).await;
        printed.lines().map(str::to_owned).collect()
    }

    /// Lets a user do what the arguments of `kafka-acls.sh` say. For a broker of one's own with an authorizer.
    pub async fn allow(&self, user: &str, arguments: &str) {
        let tool = "org.apache.kafka.tools.AclCommand --bootstrap-server localhost:9092 --add --allow-principal";
        self.tool(&format!("{tool} User:{user} {arguments}")).await;
    }

    /// Gives a user of the SASL listeners this password, by SCRAM-SHA-512; whoever is connected stays.
    pub async fn set_password(&self, user: &str, password: &str) {
        let change = format!(
            "kafka.admin.ConfigCommand --bootstrap-server localhost:9092 --alter --entity-type users --entity-name {user} \
             --add-config SCRAM-SHA-512=[password={password}]"
        );
        self.tool(&change).await;
    }

    /// Lets [`USER`] see the topic, and write nothing to it. For a broker of one's own with [`ACLS`].
    pub async fn deny_write(&self, topic: &str) {
        let change = format!(
            "org.apache.kafka.tools.AclCommand --bootstrap-server localhost:9092 --add --deny-principal User:{USER} \
             --operation Write --topic {topic}"
        );
        self.tool(&change).await;
    }

    /// Takes back what [`Kafka::deny_write`] has done.
    pub async fn allow_write(&self, topic: &str) {
        let change = format!(
            "org.apache.kafka.tools.AclCommand --bootstrap-server localhost:9092 --remove --force --deny-principal \
             User:{USER} --operation Write --topic {topic}"
        );
        self.tool(&change).await;
    }

    /// Changes a topic's setting, as `max.message.bytes=100000`.
    pub async fn set_topic(&self, topic: &str, setting: &str) {
        let change = format!(
            "kafka.admin.ConfigCommand --bootstrap-server localhost:9092 --alter --entity-type topics --entity-name \
             {topic} --add-config {setting}"
        );
        self.tool(&change).await;
    }

    /// What `kafka-transactions.sh` is, with these arguments and without its server.
    pub async fn transactions(&self, arguments: &str) -> String {
        let tool = "org.apache.kafka.tools.TransactionsCommand --bootstrap-server localhost:9092";
        self.tool(&format!("{tool} {arguments}")).await
    }

    /// One of Kafka's own, inside the container; it must succeed.
    async fn tool(&self, command: &str) -> String {
        let command = format!("java -cp /opt/kafka/libs/* {command}");
        self.container.run(command.split_whitespace().map(str::to_owned).collect()).await
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        admin(&self.bootstrap())
    }

    /// Returns when clients are answered and every partition has its leader.
    async fn await_ready(&self) {
        self.await_metadata("Kafka answers", |all| {
            let mut partitions = all.topics().iter().flat_map(|topic| topic.partitions());
            !all.brokers().is_empty() && partitions.all(|each| each.leader() >= 0)
        })
        .await;
    }

    /// Asks the broker until its metadata suits.
    async fn await_metadata(&self, what: &str, suits: impl Fn(&Metadata) -> bool) {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                assert!(self.container.is_running().await, "Kafka ended: {}", self.container.log().await);
                if reader::metadata(self.bootstrap()).await.is_some_and(|metadata| suits(&metadata)) {
                    break;
                }
            }
        });
        if found.await.is_err() {
            panic!("waited {PATIENCE:?} in vain until {what}; its log: {}", self.container.log().await);
        }
    }
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

/// Creates a topic of so many partitions with so many replicas each.
async fn create_topic(bootstrap: &str, name: &str, (partitions, replicas): (i32, i32), configs: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let results = admin(bootstrap).create_topics([&topic], &AdminOptions::new()).await.unwrap();
    results[0].as_ref().unwrap();
}

/// How many of a topic's partitions have a leader.
fn leaders(metadata: &Metadata, topic: &str) -> usize {
    let topics = metadata.topics().iter().filter(|each| each.name() == topic);
    topics.flat_map(|each| each.partitions()).filter(|each| each.leader() >= 0).count()
}

fn plan(image: &str, ports: &[u16], certificates: &Certificates, properties: &str) -> Plan {
    let listeners = LISTENERS.iter().zip(ports).map(|((_, name, protocol), port)| format!("{name}:{protocol}:{port}"));
    Plan {
        image: image.to_owned(),
        command: ["bash", "/jumpstream/kafka-start"].map(str::to_owned).to_vec(),
        environment: vec![
            // Ready with two thirds of the processor time; a broker this short-lived never repays a better compiler.
            ("JVM", "-Xms256m -Xmx768m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC".to_owned()),
            ("ADVERTISED", "127.0.0.1".to_owned()),
            ("LISTENERS", listeners.collect::<Vec<_>>().join(",")),
            ("CLIENT_AUTH", "MUTUAL_TLS".to_owned()),
            ("PEM", "/jumpstream".to_owned()),
            ("SASL_USER", USER.to_owned()),
            ("SASL_PASSWORD", PASSWORD.to_owned()),
            ("PROPERTIES", properties.to_owned()),
        ],
        files: vec![
            ("/jumpstream/kafka-start", include_str!("../../scripts/kafka-start").to_owned()),
            ("/jumpstream/ca.pem", certificates.ca_pem.clone()),
            ("/jumpstream/server.pem", certificates.server_pem.clone()),
        ],
        ports: ports.to_vec(),
        ..Plan::default()
    }
}
