//! Replicas that share many organizations: killed, frozen, restarted one by one, fewer and more, while events come.

use jumpstream::emulator::Options;

use super::fleet::{Fleet, spread};
use super::{Stage, assert_once, awkward};
use crate::kafka::unique;
use crate::process::{Process, emulate, heal};
use crate::random;

const LEDGER_PARTITIONS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_over_from_each_other_and_nothing_is_lost_or_twice() {
    let Some(stage) = Stage::set("replicas", LEDGER_PARTITIONS).await else { return };
    // What shares its millisecond with an organization's last event may come minutes late, where there are so many
    // organizations, and then only comparing finds it.
    let (organizations, ties) = if random::is_prove() { (300, 0.0) } else { (24, 0.05) };
    for seed in random::seeds(1, 1) {
        let options = Options { organizations, rate: 100.0, fault_share: 0.02, ties, ..awkward(seed) };
        let emulator = emulate(options).await;
        let ids = emulator.organizations();
        let account = format!(", organizations: [{}]", ids.join(", "));
        let group = unique("group");
        let mut fleet = Fleet::of(&stage, &ids, (0..4).map(|_| stage.home(&emulator, &group, &account)).collect());
        (0..3).for_each(|place| fleet.start(place));
        fleet.until_all_owned().await;
        stage.flows().await;

        let ((), killed) = fleet.without(0, Process::kill_and_forget).await;
        fleet.start(0);
        fleet.until_all_owned().await;
        let (mut zombie, frozen) = fleet
            .without(1, async |process| {
                process.freeze();
                process
            })
            .await;
        zombie.thaw();
        zombie.said("lost to the group").await;
        fleet.running.insert(1, zombie);
        let mut restarted = Vec::new();
        for place in 0..3 {
            restarted.extend(fleet.without(place, Process::stop_and_forget).await.1);
            fleet.start(place);
            fleet.until_all_owned().await;
        }
        stage.flows().await;
        for place in [1, 2] {
            restarted.extend(fleet.without(place, Process::stop_and_forget).await.1);
        }
        (1..4).for_each(|place| fleet.start(place));
        fleet.until_all_owned().await;
        stage.flows().await;

        let until = emulator.now();
        fleet.stop().await;
        // Its 429s have the rate lowered, which three hundred organizations would wait for.
        heal(&emulator).await;
        fleet.homes[0].catch_up().await;
        let (tally, aborted) = stage.tally(&emulator, until).await;
        println!(
            "{organizations} organizations, seed {seed}: {} events, lost {}, twice {}, {aborted} never committed",
            tally.true_events, tally.lost, tally.repeated
        );
        println!(
            "without an owner after a kill: {}; after SIGSTOP: {}; after a clean end: {}",
            spread(killed),
            spread(frozen),
            spread(restarted)
        );
        if tally.lost > 0 {
            fleet.homes.iter().enumerate().for_each(|(place, home)| println!("replica {place}:\n{}", home.logs()));
        }
        assert_once(&tally);
    }
}
