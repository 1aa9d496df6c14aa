//! Killed in the middle of a replay and started again: nothing of the range is missing, and only the batch in flight
//! comes again.

use std::collections::HashMap;

use fastrand::Rng;

use super::{Range, emulate, ends, some_time};
use crate::kill::{awkward, repeats};
use crate::process::tally::{Tally, sha256};
use crate::process::{EVENTS, Home, Settings};
use crate::random;

/// Kills in `make test` and in `make prove`.
const SAMPLE: usize = 5;
const ALL: usize = 60;
/// Between any two steps of a commit.
const POINTS: [&str; 3] = ["delivered", "buried", "saved"];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_of_the_range_is_missing_and_only_the_batch_in_flight_comes_again() {
    let kills = if random::is_prove() { ALL } else { SAMPLE };
    for seed in random::seeds(1, 1) {
        let mut rng = Rng::with_seed(seed);
        let emulator = emulate(awkward(seed)).await;
        let home = Home::new(Settings { poll: "{start: 24h, page_size: 1000}", ..Settings::of(&emulator) });
        let range = Range::before(&emulator);
        // Slow enough to be met in the middle.
        let command = range.replay(&["--rate-share", "0.01"]);
        let mut ended = vec![0];
        for kill in 0..kills {
            if rng.u8(..3) == 0 {
                let mut process = home.start_command(&command);
                tokio::time::sleep(some_time(&mut rng)).await;
                process.kill();
            } else {
                let point = POINTS[kill % POINTS.len()];
                let mut process = home.command_failing(&command, point, rng.u32(1..3));
                process.said(&format!("fail point {point}")).await;
                process.kill();
            }
            ended.push(home.lines(EVENTS).len());
        }
        ends(&home, &range.replay(&[]), 0).await;

        let lines = home.lines(EVENTS);
        let tally = Tally::of(&range.truth(&emulator), &emulator.truth(None), &lines);
        assert_eq!((tally.lost, tally.foreign), (0, 0), "{tally:?}, seed {seed}");
        let mut lanes: HashMap<(usize, i32), Vec<String>> = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            let life = ended[1..].iter().take_while(|end| **end <= at).count();
            lanes.entry((life, 0)).or_default().push(sha256(line));
        }
        let repeats = repeats(&lanes, kills);
        println!("{kills} kills, seed {seed}: {} events, delivered again {repeats:?}", tally.true_events);
        assert!(repeats.iter().any(|repeats| *repeats > 0), "no kill met a batch between delivering and saving");
    }
}
