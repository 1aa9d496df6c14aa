//! Three brokers: whichever dies, and be it all of them, two replicas go on and readers see each event once.

use fastrand::Rng;

use super::fleet::{Fleet, partition_of};
use super::{PARTITIONS, Stage, assert_once, calm, say};
use crate::kafka::trio::{Coordinated, Trio};
use crate::kafka::unique;
use crate::process::emulate;
use crate::random;

/// Rounds in `make test` and in `make prove`: in each both coordinators are killed, and then all at once; in the latter
/// any one besides.
const SAMPLE: usize = 1;
const ALL: usize = 4;
const LEDGER_PARTITIONS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn whichever_broker_of_three_dies_and_when_all_do_readers_see_each_event_once() {
    for seed in random::seeds(1, 1) {
        let Some(trio) = Trio::own("three brokers").await else { return };
        let mut rng = Rng::with_seed(seed);
        let stage = Stage::at(trio.bootstrap(), LEDGER_PARTITIONS);
        trio.create_topic(&stage.topic, PARTITIONS).await;
        let emulator = emulate(calm(6, seed)).await;
        let ids = emulator.organizations();
        let (account, group) = (format!(", organizations: [{}]", ids.join(", ")), unique("group"));
        let homes = (0..2).map(|_| stage.home(&emulator, &group, &account)).collect();
        let mut fleet = Fleet::of(&stage, &ids, homes);
        (0..2).for_each(|place| fleet.start(place));
        fleet.until_all_owned().await;
        stage.flows().await;

        let mut kills = 0;
        for _ in 0..if random::is_prove() { ALL } else { SAMPLE } {
            if random::is_prove() {
                kill_one(&trio, &stage, rng.i32(1..=3), None).await;
                kills += 1;
            }
            let transactions = format!("{}-{}", stage.ledger, partition_of(&stage, rng.choice(&ids).unwrap()));
            for (what, name) in [(Coordinated::Transactions, &transactions), (Coordinated::Group, &group)] {
                let node = trio.coordinator(what, name).await.unwrap();
                kill_one(&trio, &stage, node, Some((what, name))).await;
            }
            kill_all(&trio, &mut fleet, &stage).await;
            fleet.until_all_owned().await;
            kills += 5;
        }

        let until = emulator.now();
        fleet.stop().await;
        fleet.homes[0].catch_up().await;
        let (tally, uncommitted) = stage.tally(&emulator, until).await;
        let logs: String = fleet.homes.iter().map(|home| home.logs()).collect();
        let lines = |text: &str| logs.lines().filter(|line| line.contains(text)).count();
        say(&format!("seed {seed}, {kills} kills of three brokers"), &tally, uncommitted);
        println!("{} times given up, {} times lost to the group", lines("given up"), lines("lost to the group"));
        assert_once(&tally);
        assert!(lines("waiting: ") > 0, "nobody noticed that brokers died:\n{logs}");
    }
}

/// Kills a broker, sees that events flow without it and that another has its part, and starts it again.
async fn kill_one(trio: &Trio, stage: &Stage, node: i32, part: Option<(Coordinated, &String)>) {
    println!("broker {node} dies: {part:?}");
    trio.kill(node).await;
    if let Some((what, name)) = part {
        trio.until_moved(what, name, node).await;
    }
    stage.flows().await;
    trio.start_again(node).await;
    trio.until_in_sync().await;
}

async fn kill_all(trio: &Trio, fleet: &mut Fleet, stage: &Stage) {
    println!("all brokers die");
    tokio::join!(trio.kill(1), trio.kill(2), trio.kill(3));
    for process in fleet.running.values_mut() {
        process.degraded("no broker").await;
    }
    tokio::join!(trio.start_again(1), trio.start_again(2), trio.start_again(3));
    trio.until_in_sync().await;
    stage.flows().await;
    for process in fleet.running.values_mut() {
        process.ready().await;
    }
}
