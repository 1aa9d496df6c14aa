//! The broker's disk is full in mid-flow, so that the broker ends; later there is room again.

use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::Options;

use super::{Stage, assert_once, calm, say};
use crate::kafka::{Kafka, unique};
use crate::process::{emulate, eventually};
use crate::random;

/// How often the disk is full, in `make test` and in `make prove`, and for how long.
const SAMPLE: (usize, Duration) = (1, Duration::from_secs(5));
const ALL: (usize, Duration) = (5, Duration::from_secs(20));

const DISK: u64 = 512 << 20;
/// What events may still fill.
const LEFT: u64 = 2 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_disk_is_full_costs_no_event_and_repeats_none() {
    for seed in random::seeds(1, 1) {
        let Some(kafka) = Kafka::on_a_disk_of("a broker's full disk", DISK).await else { return };
        let stage = Stage::on(&kafka, 2).await;
        let options = Options { rate: 300.0, incompressible: true, ..calm(3, seed) };
        let emulator = emulate(options).await;
        let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
        let home = stage.home(&emulator, &unique("group"), &account);
        let mut process = home.start(&[]);
        process.ready().await;
        let (rounds, spell) = if random::is_prove() { ALL } else { SAMPLE };
        for round in 1..=rounds {
            stage.flows().await;
            let ends = async || kafka.log().await.matches("Kafka ended with").count();
            let before = ends().await;
            kafka.fill_disk(LEFT).await;
            eventually("the broker ends", async || (ends().await > before).then_some(())).await;
            let said = process.degraded("no broker").await;
            println!("round {round}: {:?}", said.reasons);
            let end = clock::uptime() + spell;
            while clock::uptime() < end {
                assert!(process.is_running(), "it gave up:\n{}", process.log());
                process.degraded("no broker").await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            kafka.free_disk().await;
            process.ready().await;
        }
        let log = kafka.log().await;
        assert!(log.contains("No space left on device"), "the disk was not full: {log}");
        stage.flows().await;
        let until = emulator.now();
        process.stop().await;
        home.catch_up().await;
        let (tally, uncommitted) = stage.tally(&emulator, until).await;
        say(&format!("seed {seed}, the broker's disk full {rounds} times"), &tally, uncommitted);
        assert_once(&tally);
    }
}
