//! Topics of a template that we may not write to, or that are not there: a fallback takes their events, or their streams
//! wait and no other does.

use jumpstream::emulator::Emulator;

use super::{Member, Stage, assert_once, calm, say};
use crate::kafka::{ACLS, Kafka, Listener, PASSWORD, USER, unique};
use crate::process::{Home, emulate};
use crate::random;

/// How often rights are taken and given back, in `make test` and in `make prove`.
const SAMPLE: usize = 1;
const ALL: usize = 5;

/// An own broker with access lists, a topic for each organization, and a ledger of one partition, which all share.
struct Scene {
    kafka: Kafka,
    stage: Stage,
    prefix: String,
    ids: Vec<String>,
    emulator: Emulator,
}

impl Scene {
    async fn set(test: &str, seed: u64) -> Option<Scene> {
        let kafka = Kafka::own(test, ACLS).await?;
        let stage = Stage::at(kafka.bootstrap(), 1);
        let emulator = emulate(calm(4, seed)).await;
        Some(Scene { kafka, stage, prefix: unique("template"), ids: emulator.organizations(), emulator })
    }

    fn topic(&self, place: usize) -> String {
        format!("{}.{}", self.prefix, self.ids[place])
    }

    fn home(&self, fallback: &str) -> Home {
        let topic = format!(
            "\"{}.{{organization}}\"{fallback}, sasl: {{mechanism: PLAIN, username: {USER}, password: {{file: \
             secret}}}}",
            self.prefix
        );
        let (account, group) = (format!(", organizations: [{}]", self.ids.join(", ")), unique("group"));
        let brokers = self.kafka.bootstrap_of(Listener::Sasl);
        let member =
            Member { group: &group, account: &account, brokers: Some(&brokers), topic: Some(&topic), more: "" };
        let home = self.stage.home_of(&self.emulator, member);
        home.write("secret", PASSWORD);
        home
    }

    /// All events are in these topics together, each once.
    async fn assert_once_in(&self, topics: &[String], until: jiff::Timestamp, what: &str) {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let (tally, uncommitted) = self.stage.tally_of(&topics, &self.emulator, until).await;
        say(what, &tally, uncommitted);
        assert_once(&tally);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_topic_of_a_template_gives_way_to_the_fallback_in_mid_flow() {
    for seed in random::seeds(1, 1) {
        let Some(scene) = Scene::set("a forbidden topic and a fallback", seed).await else { return };
        let (kafka, stage) = (&scene.kafka, &scene.stage);
        let fallback = format!("{}.fallback", scene.prefix);
        let mut topics: Vec<String> = (0..4).map(|place| scene.topic(place)).collect();
        topics.push(fallback.clone());
        for topic in &topics {
            kafka.create_topic(topic, 2, &[]).await;
        }
        let home = scene.home(&format!(", topic_fallback: {fallback}"));
        let mut process = home.start(&[]);
        process.ready().await;
        for place in 0..4 {
            stage.flows_in(&scene.topic(place), |_| true).await;
        }
        assert_eq!(stage.visible(&fallback).await.len(), 0);
        kafka.deny_write(&scene.topic(0)).await;
        stage.flows_in(&fallback, |_| true).await;
        for place in 1..4 {
            stage.flows_in(&scene.topic(place), |_| true).await;
        }
        process.ready().await;
        process.said(&format!("records of topic {} go to {fallback}", scene.topic(0))).await;
        let until = scene.emulator.now();
        process.stop().await;
        home.catch_up().await;
        for message in stage.visible(&fallback).await {
            assert_eq!(message.header("organization"), Some(&*scene.ids[0]), "a stranger in the fallback");
        }
        scene.assert_once_in(&topics, until, &format!("seed {seed}, forbidden, with a fallback")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_or_missing_topic_without_a_fallback_holds_back_its_own_stream_alone() {
    for seed in random::seeds(1, 1) {
        let Some(scene) = Scene::set("a forbidden topic without a fallback", seed).await else { return };
        let (kafka, stage) = (&scene.kafka, &scene.stage);
        let topics: Vec<String> = (0..4).map(|place| scene.topic(place)).collect();
        // That of the second organization is made later.
        for place in [0, 2, 3] {
            kafka.create_topic(&topics[place], 2, &[]).await;
        }
        let home = scene.home("");
        let mut process = home.start(&[]);
        process.degraded(&format!("topic {} doesn't exist", topics[1])).await;
        for place in [0, 2, 3] {
            stage.flows_in(&topics[place], |_| true).await;
        }
        kafka.create_topic(&topics[1], 2, &[]).await;
        process.ready().await;
        stage.flows_in(&topics[1], |_| true).await;

        let denials = if random::is_prove() { ALL } else { SAMPLE };
        for _ in 0..denials {
            kafka.deny_write(&topics[0]).await;
            process.degraded(&format!("refuse topic {}", topics[0])).await;
            let held = stage.visible(&topics[0]).await.len();
            for topic in &topics[1..] {
                stage.flows_in(topic, |_| true).await;
            }
            assert_eq!(stage.visible(&topics[0]).await.len(), held, "it was not forbidden: the test did not bite");
            process.degraded(&format!("refuse topic {}", topics[0])).await;
            kafka.allow_write(&topics[0]).await;
            stage.flows_in(&topics[0], |_| true).await;
            process.ready().await;
        }
        // A transaction in the midst of which a right is withdrawn may cost its producer, and so a take-over; what waits
        // for the right costs none.
        let anew = process.count("given up");
        println!("{denials} denials, the partition taken over anew {anew} times");
        assert!(anew <= denials, "{}", process.log());
        let until = scene.emulator.now();
        process.stop().await;
        home.catch_up().await;
        scene.assert_once_in(&topics, until, &format!("seed {seed}, forbidden and missing, without a fallback")).await;
    }
}
