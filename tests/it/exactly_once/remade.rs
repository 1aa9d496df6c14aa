//! The events' topic is deleted and made again while the program runs: it says so, waits, and goes on.

use jumpstream::emulator::{Emulator, Options};

use super::shared;
use super::{PARTITIONS, Stage};
use crate::kafka::unique;
use crate::process::{Process, emulate, eventually, insert};

/// Events that the API shows from now on, by their texts; four seconds old, which every poll looks back over.
async fn happen(emulator: &Emulator, kind: &str, count: usize) -> Vec<String> {
    let at = emulator.now() - jiff::SignedDuration::from_secs(4);
    // Many actors, so that each partition gets some.
    let text = |number| format!(r#"{{"id":"{kind}-{number}","timestamp":"{at}","initiated_by":{{"id":"{number}"}}}}"#);
    let events: Vec<String> = (0..count).map(text).collect();
    insert(emulator, events.clone()).await;
    events
}

async fn committed(stage: &Stage) -> Vec<String> {
    let mut texts: Vec<String> =
        shared().await.read_visible(&stage.topic).await.iter().map(|message| message.text().to_owned()).collect();
    texts.sort();
    texts
}

/// Waits until the topic holds these events, each once and no other.
async fn holds(stage: &Stage, mut events: Vec<String>) {
    events.sort();
    eventually("all events are committed", async || (committed(stage).await.len() >= events.len()).then_some(())).await;
    assert_eq!(committed(stage).await, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_gets_what_comes_after_exactly_once() {
    let Some(stage) = Stage::set("the events' topic is made again", 2).await else { return };
    let emulator = emulate(Options { events: 0, ..Options::default() }).await;
    let account = format!(", organizations: [{}]", emulator.organizations()[0]);
    let home = stage.home(&emulator, &unique("group"), &account);
    let mut process = home.start(&[]);
    let before = happen(&emulator, "before", 500).await;
    holds(&stage, before).await;

    // While it is absent, for long enough to be asked about.
    shared().await.delete_topic(&stage.topic).await;
    let mut after = happen(&emulator, "meanwhile", 300).await;
    process.degraded(&format!("topic {} doesn't exist", stage.topic)).await;
    shared().await.create_topic(&stage.topic, PARTITIONS, &[]).await;
    holds(&stage, after.clone()).await;
    process.ready().await;
    after.extend(happen(&emulator, "then", 200).await);
    holds(&stage, after).await;

    // Between two events, too fast for anybody to see it.
    let said = |process: &Process| process.count(&stage.topic) + process.count("given up");
    let mut before = said(&process);
    for round in 0..3 {
        shared().await.delete_topic(&stage.topic).await;
        shared().await.create_topic(&stage.topic, PARTITIONS, &[]).await;
        let events = happen(&emulator, &format!("at once {round}"), 100).await;
        holds(&stage, events).await;
        // Or it was met while it was absent.
        let now = said(&process);
        assert!(now > before, "nothing was said of it:\n{}", process.log());
        before = now;
    }
    process.stop().await;
    let kept = committed(&stage).await;
    home.catch_up().await;
    assert_eq!(committed(&stage).await, kept, "what was committed before came again");
}
