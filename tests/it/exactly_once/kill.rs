//! `kill -9` at every step of a commit and of a take-over, and at any moment.

use std::time::Duration;

use fastrand::Rng;

use super::{Stage, assert_once};
use crate::kafka::unique;
use crate::kill::awkward;
use crate::process::{Home, emulate};
use crate::random;

/// Kills in `make test` and in `make prove`.
const SAMPLE: usize = 12;
const ALL: usize = 200;

/// Where a process may be told to stand still, in the order it comes by.
const STEPS: [&str; 11] = [
    "opened",
    "owned",
    "read",
    "delivered",
    "buried",
    "submitted",
    "begun",
    "sent",
    "committed",
    "answered",
    "settled",
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_readers_see_each_event_once() {
    let Some(stage) = Stage::set("kill -9 and exactly once", 2).await else { return };
    for seed in random::seeds(1, 1) {
        let mut rng = Rng::with_seed(seed);
        let emulator = emulate(awkward(seed)).await;
        let group = unique("group");
        let home = stage.home(&emulator, &group, "");
        let kills = if random::is_prove() { ALL } else { SAMPLE };
        let mut reached = 0;
        for kill in 0..kills {
            // Another group knows nothing of a dead member, so the next process owns all at once; sometimes it waits.
            let group = if rng.u8(..8) == 0 { group.clone() } else { unique("group") };
            stage.join(&home, &emulator, &group, "");
            let step = (kill < STEPS.len() || rng.u8(..3) > 0).then(|| STEPS[kill % STEPS.len()]);
            reached += usize::from(live_and_die(&home, step, &mut rng).await);
        }
        stage.join(&home, &emulator, &unique("group"), "");
        let until = emulator.now();
        home.catch_up().await;
        let (tally, aborted) = stage.tally(&emulator, until).await;
        println!(
            "{kills} kills, seed {seed}, {reached} at a step: {} events, lost {}, twice {}, {aborted} written and \
             never committed",
            tally.true_events, tally.lost, tally.repeated
        );
        assert_once(&tally);
        assert!(reached * 2 >= kills, "only {reached} of {kills} processes came by their step");
        if random::is_prove() {
            assert!(aborted > 0, "no kill left an open transaction: the test did not bite");
        }
    }
}

/// Starts a process and kills it at the step, or at any moment; whether it came by the step.
async fn live_and_die(home: &Home, step: Option<&str>, rng: &mut Rng) -> bool {
    let Some(step) = step else {
        let mut process = home.start(&[]);
        tokio::time::sleep(Duration::from_millis(rng.u64(500..8_000))).await;
        process.kill();
        return false;
    };
    let count = match step {
        "opened" | "owned" | "read" => rng.u32(1..=2),
        // The first are the owner's own entry and the stream's first checkpoint.
        "begun" | "sent" => rng.u32(3..=6),
        _ => rng.u32(1..=5),
    };
    let mut process = home.start_failing(step, count);
    let mark = format!("fail point {step}");
    let mut reached = false;
    for _ in 0..600 {
        reached = process.count(&mark) > 0;
        if reached {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(process.is_running(), "it ended by itself:\n{}", process.log());
    process.kill();
    reached
}
