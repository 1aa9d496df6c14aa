//! A topic takes less than it did a moment ago: what is too large now becomes a dead letter, once, and all else goes on.

use std::collections::HashMap;

use jumpstream::emulator::Emulator;

use super::{Member, PARTITIONS, Stage, assert_once, calm, say};
use crate::kafka::reader::{self, View};
use crate::kafka::{Kafka, Message, unique};
use crate::process::{emulate, eventually, steer};
use crate::random;
use crate::sink::broker::noise;

/// How many events are too large, in `make test` and in `make prove`.
const SAMPLE: usize = 3;
const ALL: usize = 40;
const LIMIT: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lowered_limit_refuses_is_a_dead_letter_once_and_all_else_goes_on() {
    for seed in random::seeds(1, 1) {
        let Some(kafka) = Kafka::shared("a limit that is lowered").await else { return };
        let stage = Stage::on(kafka, 2).await;
        let dead = unique("dead");
        kafka.create_topic(&dead, PARTITIONS, &[]).await;
        let emulator = emulate(calm(4, seed)).await;
        let ids = emulator.organizations();
        let (account, more) =
            (format!(", organizations: [{}]", ids.join(", ")), format!("dead_letter: {{topic: {dead}}}\n"));
        let group = unique("group");
        let home =
            stage.home_of(&emulator, Member { group: &group, account: &account, more: &more, ..Member::default() });
        let mut process = home.start(&[]);
        process.ready().await;
        stage.flows().await;
        kafka.set_topic(&stage.topic, &format!("max.message.bytes={LIMIT}")).await;

        let count = if random::is_prove() { ALL } else { SAMPLE };
        for number in 0..count {
            insert_large(&emulator, &ids[number % ids.len()], number).await;
            let id = format!("large-{number}");
            let buried = |letters: Vec<Message>| letters.iter().any(|letter| letter.header("event-id") == Some(&id));
            eventually("the dead letter", async || buried(stage.visible(&dead).await).then_some(())).await;
            stage.flows().await;
        }
        let until = emulator.now();
        process.stop().await;
        home.catch_up().await;

        let letters = stage.visible(&dead).await;
        let ours = letters.iter().filter(|letter| letter.header("event-id").is_some_and(|id| id.starts_with("large-")));
        assert_eq!(ours.count(), count, "each once");
        for letter in &letters {
            assert_eq!(letter.header("dead-letter-reason"), Some("too_large_for_sink"));
            let explanation = letter.header("dead-letter-explanation").unwrap();
            assert!(explanation.contains(&format!("max.message.bytes of {LIMIT}")), "{explanation}");
        }
        // Large ones of the emulator's own may be among them.
        let told = home.logs().matches("went to the dead letters").count();
        assert_eq!(told, letters.len(), "{}", home.logs());
        let written = reader::read(stage.brokers.clone(), &stage.topic, View::Uncommitted).await;
        let mut times: HashMap<&str, usize> = HashMap::new();
        written.iter().for_each(|message| *times.entry(message.text()).or_default() += 1);
        let most = times.values().max().unwrap();
        let (tally, uncommitted) = stage.tally_of(&[&stage.topic, &dead], &emulator, until).await;
        say(&format!("seed {seed}, {count} events over a lowered limit"), &tally, uncommitted);
        println!("the event that was written most often was written {most} times");
        assert_once(&tally);
        assert!(uncommitted > 0, "no transaction was aborted: the brokers refused nothing");
        // Aborted with the one that was refused, found to be sound beside it, committed.
        assert!(*most <= 3, "a refused record was sent again with its neighbours");
    }
}

/// An event that no compression makes small enough.
async fn insert_large(emulator: &Emulator, organization: &str, number: usize) {
    let timestamp = jiff::Timestamp::from_second(emulator.now().as_second() - 1).unwrap();
    let event = format!(
        r#"{{"id":"large-{number}","service":"mdm","event_type":"mdm_large","organization":"{organization}","timestamp":"{timestamp}","noise":"{}"}}"#,
        noise(2 * LIMIT + number)
    );
    steer(emulator, "events", format!("{{\"organization\":\"{organization}\",\"event\":{event}}}")).await;
}
