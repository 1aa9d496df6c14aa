//! Control records in a real topic, beside transactions that they don't take part in.

use std::time::Duration;

use jumpstream::emulator::Options;
use serde_json::Value;

use super::of_type;
use crate::exactly_once::{Member, Stage};
use crate::kafka::reader::{self, View};
use crate::kafka::{Kafka, unique};
use crate::process::{emulate, eventually};

/// Each record with its key.
async fn told(stage: &Stage, topic: &str) -> Vec<(String, Value)> {
    let messages = reader::read(stage.brokers.clone(), topic, View::Committed).await;
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
    let told = |message: &reader::Message| (text(&message.key), serde_json::from_str(message.text()).unwrap());
    messages.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_holds_up_no_event_and_has_what_waited_once_it_is_there() {
    let Some(kafka) = Kafka::shared("control topic").await else { return };
    let Some(stage) = Stage::set("control topic", 2).await else { return };
    let emulator = emulate(Options { events: 200, rate: 20.0, ..super::run::behind() }).await;
    let topic = unique("control");
    let more = format!("control: {{topic: {topic}}}\n");
    let group = unique("group");
    let home = stage.home_of(&emulator, Member { group: &group, more: &more, ..Member::default() });
    let mut process = home.start(&[]);
    stage.flows().await;
    process.degraded("control records: ").await;
    stage.flows().await;
    let (_, looked, _) = home.command(&["check"]).await;
    let row = looked.lines().find(|line| line.contains(&format!("topic {topic}")));
    assert!(row.is_some_and(|row| row.starts_with("red")), "{looked}");
    kafka.create_topic(&topic, 1, &[]).await;
    // What waited for it is written before the process ends.
    process.stop().await;
    let waited = told(&stage, &topic).await;
    assert!(waited.iter().any(|(_, record)| record["type"] == "heartbeat"), "{waited:?}");
    let mut process = home.start(&[]);
    process.ready().await;
    stage.flows().await;
    process.kill();
    emulator.advance(Duration::from_secs(15 * 60));
    let mut process = home.start(&[]);
    let closed = eventually("a gap is closed", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        told(&stage, &topic).await.into_iter().find(|(_, record)| record["type"] == "gap.closed")
    })
    .await;
    let (key, closed) = closed;
    assert_eq!((key.as_str(), &closed["organization"]), (&*emulator.organizations()[0], &key.as_str().into()));
    let records: Vec<Value> = told(&stage, &topic).await.into_iter().map(|(_, record)| record).collect();
    let [opened] = of_type(&records, "gap.opened")[..] else { panic!("{records:?}") };
    assert_eq!((&opened["from"], &opened["reason"]), (&closed["from"], &"down".into()));
    process.kill();
    let (_, looked, _) = home.command(&["check"]).await;
    let row = looked.lines().find(|line| line.contains(&format!("topic {topic}")));
    assert!(row.is_some_and(|row| row.starts_with("green")), "{looked}");
}
