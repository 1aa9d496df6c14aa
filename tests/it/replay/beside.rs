//! Beside a running instance with a real Kafka, exactly once: it is not disturbed, and its consumers see what is what.

use std::collections::BTreeMap;
use std::time::Duration;

use jumpstream::emulator::{Emulator, Options};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{Range, emulate, ends};
use crate::exactly_once::{Stage, calm};
use crate::kafka::{Kafka, Message, unique};
use crate::process::Home;
use crate::process::tally::{Tally, assert_each_once};
use crate::random;

/// Its id is given by the coordinator when it joins.
async fn members(brokers: &str, group: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let group = group.to_owned();
    let look = move || {
        let list = consumer.fetch_group_list(Some(&group), Duration::from_secs(20)).unwrap();
        let members = list.groups().iter().flat_map(|group| group.members());
        members.map(|member| member.id().to_owned()).collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap()
}

/// The topic's messages by whether they are a replay's.
async fn delivered(stage: &Stage) -> (Vec<Message>, Vec<Message>) {
    let messages = stage.settled().await;
    messages.into_iter().partition(|message| message.header("delivery") != Some("replay"))
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text()).collect()
}

async fn once_each(stage: &Stage, home: &Home, emulator: &Emulator) {
    let until = emulator.now();
    home.catch_up().await;
    let (first, _) = delivered(stage).await;
    let tally = Tally::of(&emulator.truth(Some(until)), &emulator.truth(None), texts(&first));
    assert_eq!((tally.lost, tally.repeated, tally.foreign), (0, 0, 0), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_instance_is_undisturbed_and_each_event_is_there_once_by_it_and_once_as_a_replay() {
    let Some(stage) = Stage::set("replay beside a running instance", 4).await else { return };
    let seed = random::seeds(1, 1).next().unwrap();
    let emulator = emulate(Options { organizations: 3, ..calm(3, seed) }).await;
    let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
    let group = unique("group");
    let home = stage.home(&emulator, &group, &account);
    let mut running = home.start(&[]);
    running.said("stream live").await;
    running.ready().await;
    stage.flows().await;
    let range = Range::before(&emulator);
    let (before, taken_over) = (members(&stage.brokers, &group).await, running.count("taken over"));
    assert_eq!(before.len(), 1);

    ends(&home, &range.replay(&[]), 0).await;
    stage.flows().await;
    assert_eq!(members(&stage.brokers, &group).await, before, "nobody joined or left");
    assert_eq!(running.count("taken over"), taken_over, "{}", running.log());
    for trouble in ["given up", "another owner", "ERROR"] {
        assert_eq!(running.count(trouble), 0, "{trouble}: {}", running.log());
    }
    running.stop().await;
    once_each(&stage, &home, &emulator).await;
    let (_, replayed) = delivered(&stage).await;
    assert_each_once(&range.truth(&emulator), &texts(&replayed), 3_000);

    // Alone, since a running instance writes to its ledger all the time.
    let shared = Kafka::shared("the stage's own broker").await.unwrap();
    let ledger = shared.read_all(&stage.ledger).await;
    ends(&home, &range.replay(&[]), 0).await;
    assert_eq!(shared.read_all(&stage.ledger).await, ledger, "it wrote to the ledger topic");
    let (_, replayed) = delivered(&stage).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    texts(&replayed).into_iter().for_each(|text| *counts.entry(text).or_default() += 1);
    assert!(counts.values().all(|count| *count == 2), "once in each of two replays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_noticed_behind_replayed_records_and_made_again_without_them() {
    let Some(stage) = Stage::set("replay and state rebuild", 4).await else { return };
    let seed = random::seeds(1, 1).next().unwrap();
    let emulator = emulate(Options { rate: 0.0, late_share: 0.0, ..calm(2, seed) }).await;
    let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
    let home = stage.home(&emulator, &unique("group"), &account);
    home.catch_up().await;
    let range = Range::before(&emulator);
    // More than is looked at of a partition's end.
    ends(&home, &range.replay(&[]), 0).await;
    ends(&home, &range.replay(&[]), 0).await;
    let (first, replayed) = delivered(&stage).await;
    assert_eq!(replayed.len(), 2 * range.truth(&emulator).len());
    let shared = Kafka::shared("the stage's own broker").await.unwrap();
    shared.delete_topic(&stage.ledger).await;
    let mut refused = home.start(&[]);
    assert_eq!(refused.ended().await, 78, "{}", refused.log());
    let (printed, _) = ends(&home, &["state", "rebuild"], 0).await;
    let left_out = format!("{} records left out: replayed", indicatif::HumanCount(replayed.len() as u64));
    assert!(printed.contains(&left_out), "{printed}");
    once_each(&stage, &home, &emulator).await;
    assert_eq!(delivered(&stage).await.0.len(), first.len(), "what was known came again");
}
