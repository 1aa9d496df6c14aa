//! Late events, ages of minutes, and `kill -9` while they are compared and delivered.

use std::time::Duration;

use fastrand::Rng;
use jumpstream::emulator::Options;

use super::{Member, Stage, assert_once, awkward, say};
use crate::kafka::reader::{self, View};
use crate::kafka::unique;
use crate::process::emulate;
use crate::process::tally::Tally;
use crate::random;

/// Kills in `make test` and in `make prove`.
const SAMPLE: usize = 6;
const ALL: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn late_events_are_committed_once_though_it_is_killed_while_it_compares() {
    let Some(stage) = Stage::set("late events and kill -9", 2).await else { return };
    for seed in random::seeds(1, 1) {
        let mut rng = Rng::with_seed(seed);
        let late_max = "3m".parse().unwrap();
        let options =
            Options { events: 4_000, rate: 20.0, late_share: 0.3, late_max, duplicates: 0.02, ..awkward(seed) };
        let emulator = emulate(options).await;
        let home = stage.home(&emulator, &unique("group"), "");
        let join = |group: &str| {
            let more = "verify: {after: [1m, 2m, 6m]}\n";
            stage.configure(&home, &emulator, Member { group, more, ..Member::default() });
        };
        let kills = if random::is_prove() { ALL } else { SAMPLE };
        for _ in 0..kills {
            join(&unique("group"));
            let mut process = home.start(&[]);
            tokio::time::sleep(Duration::from_millis(rng.u64(1_500..6_000))).await;
            process.kill();
            emulator.advance(Duration::from_secs(rng.u64(20..150)));
        }
        let until = emulator.now();
        emulator.advance(Duration::from_secs(15 * 60));
        join(&unique("group"));
        home.catch_up().await;
        let committed = reader::read(stage.brokers.clone(), &stage.topic, View::Settled).await;
        let all = reader::read(stage.brokers.clone(), &stage.topic, View::Uncommitted).await;
        // Those that were late by then have been visible for a while, and their last age has come.
        let truth = emulator.truth(Some(emulator.now()));
        let is_old = |timestamp: &str| timestamp.parse::<jiff::Timestamp>().is_ok_and(|time| time < until);
        let wanted: Vec<_> = truth.into_iter().filter(|truth| is_old(&truth.timestamp)).collect();
        let tally = Tally::of(&wanted, &emulator.truth(None), committed.iter().map(|message| message.text()));
        say(&format!("{kills} kills among late events, seed {seed}"), &tally, all.len() - committed.len());
        assert_once(&tally);
        let late = committed.iter().filter(|message| message.header("delivery") == Some("late")).count();
        assert!(late > 100, "only {late} events were late: the test did not bite");
    }
}
