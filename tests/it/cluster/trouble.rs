//! What keeps a replica out of the group is said, with the remedy, and waited for.

use jumpstream::cluster::{Change, Error, Membership, Options};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::time::Duration;

use super::replica::Group;
use crate::container::free_ports;
use crate::kafka::{Kafka, unique};
use crate::process::eventually;

async fn says(membership: &Membership, part: &str) {
    eventually(&format!("{part:?} is said"), async || {
        membership.trouble().filter(|trouble| trouble.contains(part)).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_yet_is_waited_for() {
    let Some(kafka) = Kafka::shared("no topic").await else { return };
    let mut group = Group::new(kafka, 2).await;
    group.topic = unique("later");
    let (membership, mut changes) = Membership::join(group.options()).unwrap();
    says(&membership, "doesn't exist; create it").await;
    assert!(changes.try_recv().is_err(), "nothing is given out");
    kafka.create_topic(&group.topic, 2, &[]).await;
    assert_eq!(changes.recv().await, Some(Change::Assigned(vec![0, 1])));
    assert_eq!(membership.trouble(), None);
    membership.leave().await;
    assert_eq!(changes.recv().await, Some(Change::Lost(vec![0, 1])), "nobody let go of them before");
    assert_eq!(changes.recv().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_program_is_named() {
    let Some(kafka) = Kafka::shared("another program's group").await else { return };
    let group = Group::new(kafka, 2).await;
    let mut config = (group.options().client)().unwrap();
    config.set("group.id", &group.name).set("partition.assignment.strategy", "range");
    let other: BaseConsumer = config.create().unwrap();
    other.subscribe(&[&group.topic]).unwrap();
    eventually("the other program has its partitions", async || {
        other.poll(Duration::from_millis(50));
        other.assignment().is_ok_and(|held| held.count() == 2).then_some(())
    })
    .await;
    let (membership, _changes) = Membership::join(group.options()).unwrap();
    says(&membership, "another program's").await;
    membership.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_said_and_leaving_does_not_wait_for_them() {
    let [port] = free_ports();
    let client = move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{port}"));
        Ok(config)
    };
    let options = Options { client: Box::new(client), tokens: None, topic: "ledger".into(), group: "group".into() };
    let (membership, mut changes) = Membership::join(options).unwrap();
    says(&membership, "no broker answers").await;
    membership.leave().await;
    assert_eq!(changes.recv().await, None);
}

#[test]
fn a_property_that_is_none_is_refused_at_once() {
    let client = || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.server", "127.0.0.1:1");
        Ok(config)
    };
    let options = Options { client: Box::new(client), tokens: None, topic: "ledger".into(), group: "group".into() };
    let refused = Membership::join(options).map(drop);
    assert!(matches!(&refused, Err(Error::Client { fault, .. }) if fault.contains("bootstrap.server")), "{refused:?}");
}
