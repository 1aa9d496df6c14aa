//! Killed in the middle of a replay and started again: nothing of the range is missing, and only the batch in flight
//! comes again.

use std::collections::HashMap;

use fastrand::Rng;

use super::{Range, emulate, ends, some_time};
use crate::kill::{awkward, repeats};
use crate::process::tally::{Tally, sha256};
use crate::process::{EVENTS, Home, Settings, eventually};
use crate::random;

/// Kills, where the replay lasts for so many, and seeds in `make prove`.
const KILLS: usize = 6;
const SEEDS: u64 = 20;
/// Between any two steps of a commit.
const POINTS: [&str; 3] = ["delivered", "buried", "saved"];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_of_the_range_is_missing_and_only_the_batch_in_flight_comes_again() {
    for seed in random::seeds(1, SEEDS) {
        let mut rng = Rng::with_seed(seed);
        let emulator = emulate(awkward(seed)).await;
        let home = Home::new(Settings { poll: "{start: 24h, page_size: 200}", ..Settings::of(&emulator) });
        let range = Range::before(&emulator);
        // Slow enough to be met in the middle.
        let command = range.replay(&["--rate-share", "0.01"]);
        let mut ends_at = Vec::new();
        while ends_at.len() < KILLS {
            if !live_and_die(&home, &command, ends_at.len(), &mut rng).await {
                break;
            }
            ends_at.push(home.lines(EVENTS).len());
        }
        // Killed behind its last save, it may be done.
        if home.path("jumpstream-replay.json").exists() {
            ends(&home, &range.replay(&[]), 0).await;
        }

        let lines = home.lines(EVENTS);
        let tally = Tally::of(&range.truth(&emulator), &emulator.truth(None), &lines);
        assert_eq!((tally.lost, tally.foreign), (0, 0), "{tally:?}, seed {seed}");
        let mut lanes: HashMap<(usize, i32), Vec<String>> = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            let life = ends_at.iter().take_while(|end| **end <= at).count();
            lanes.entry((life, 0)).or_default().push(sha256(line));
        }
        let repeats = repeats(&lanes, ends_at.len());
        println!("killed {} times, seed {seed}: {} events, again {repeats:?}", ends_at.len(), tally.true_events);
        assert!(repeats.iter().any(|repeats| *repeats > 0), "no kill met a batch between delivering and saving");
    }
}

/// Whether it was killed before it had come to its end.
async fn live_and_die(home: &Home, command: &[&str], kill: usize, rng: &mut Rng) -> bool {
    let mut process = if kill > 0 && rng.u8(..3) == 0 {
        let process = home.start_command(command);
        tokio::time::sleep(some_time(rng)).await;
        process
    } else {
        let mut process = home.command_failing(command, POINTS[kill % POINTS.len()], rng.u32(1..3));
        eventually("it comes by the fail point, or to its end", async || {
            (process.count("fail point") > 0 || !process.is_running()).then_some(())
        })
        .await;
        process
    };
    let met = process.is_running();
    process.kill();
    met
}
