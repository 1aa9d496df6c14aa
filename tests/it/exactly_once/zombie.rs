//! An owner that is frozen in the middle of a transaction, replaced, and woken.

use super::{Stage, assert_once};
use crate::kafka::unique;
use crate::kill::awkward;
use crate::process::emulate;
use crate::random;

const SAMPLE: u64 = 1;
const ALL: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_woken_zombie_commits_nothing_and_does_not_fence_its_successor() {
    let group = unique("group");
    for seed in random::seeds(SAMPLE, ALL) {
        let Some(stage) = Stage::set("SIGSTOP and exactly once", 1).await else { return };
        let emulator = emulate(awkward(seed)).await;
        let (first, second) = (stage.home(&emulator, &group, ""), stage.home(&emulator, &group, ""));
        // The last step before it commits: all is written.
        let mut owner = first.start_failing("sent", 4);
        owner.said("fail point sent").await;
        owner.freeze();
        let mut successor = second.start(&[]);
        successor.said("taken over").await;
        stage.flows().await;
        first.write("go", "");
        owner.thaw();
        owner.said("lost to the group").await;
        stage.flows().await;
        assert_eq!(successor.count("given up"), 0, "the zombie fenced its successor:\n{}", successor.log());
        owner.stop().await;
        let until = emulator.now();
        successor.stop().await;
        second.catch_up().await;
        let (tally, aborted) = stage.tally(&emulator, until).await;
        println!(
            "seed {seed}: {} events, lost {}, twice {}, {aborted} never committed",
            tally.true_events, tally.lost, tally.repeated
        );
        assert_once(&tally);
        assert!(aborted > 0, "the frozen transaction held nothing: the test did not bite");
    }
}
