//! A ledger topic that was deleted is made again from the events: afterwards nothing is lost and nothing comes twice.

use std::time::Duration;

use fastrand::Rng;
use jumpstream::emulator::{Emulator, Options};

use super::foreign::Foreigner;
use super::{PARTITIONS, Stage, assert_once, awkward, shared};
use crate::kafka::unique;
use crate::process::{Home, emulate};
use crate::random;

const REBUILD: &[&str] = &["state", "rebuild"];
/// Why it is refused where there is a ledger.
const WHOLE: &str = "nothing is ever written over a ledger";
const SAMPLE: u64 = 1;
const ALL: u64 = 20;

/// A ledger that was written and is not there any more, and what the program needs to go on.
struct Lost {
    stage: Stage,
    emulator: Emulator,
    home: Home,
}

impl Lost {
    /// After all was delivered.
    async fn set(test: &str, options: Options) -> Option<Lost> {
        let lost = Lost::begin(test, options).await?;
        lost.home.catch_up().await;
        shared().await.delete_topic(&lost.stage.ledger).await;
        Some(lost)
    }

    /// Before anything was delivered.
    async fn begin(test: &str, options: Options) -> Option<Lost> {
        let stage = Stage::set(test, 4).await?;
        let emulator = emulate(options).await;
        let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
        let home = stage.home(&emulator, &unique("group"), &account);
        Some(Lost { stage, emulator, home })
    }

    /// `run` names what is to be done, and ends.
    async fn is_refused(&self) {
        let mut process = self.home.start(&[]);
        assert_eq!(process.ended().await, 78, "{}", process.log());
        let sentence = format!("ledger topic {} is empty, but topic {} holds", self.stage.ledger, self.stage.topic);
        assert_eq!(process.count(&sentence), 1, "{}", process.log());
        assert_eq!(process.count("`jumpstream state rebuild`"), 1, "{}", process.log());
    }

    /// Makes the ledger again; gives what it prints.
    async fn rebuild(&self, arguments: &[&str]) -> String {
        let (code, printed, log) = self.home.command(&[REBUILD, arguments].concat()).await;
        assert_eq!(code, 0, "{log}");
        printed
    }

    /// With 1, for that reason.
    async fn rebuild_refused(&self, why: &str) {
        let (code, printed, log) = self.home.command(REBUILD).await;
        assert_eq!((code, printed.as_str()), (1, ""), "{log}");
        assert!(log.contains(why), "{log}");
    }

    async fn all_is_there_once(&self) {
        let until = self.emulator.now();
        self.home.catch_up().await;
        let (tally, _) = self.stage.tally(&self.emulator, until).await;
        println!("{} events, lost {}, twice {}", tally.true_events, tally.lost, tally.repeated);
        assert_once(&tally);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_ledger_is_made_again_and_nothing_is_lost_or_twice() {
    for seed in random::seeds(SAMPLE, ALL) {
        let options = Options { organizations: 6, ..awkward(seed) };
        let Some(lost) = Lost::begin("state rebuild", options).await else { return };
        // In the middle of the past, and of a transaction.
        let mut process = lost.home.start_failing("sent", 12);
        process.said("fail point sent").await;
        process.kill();
        shared().await.delete_topic(&lost.stage.ledger).await;
        lost.is_refused().await;

        let dry = lost.rebuild(&["--dry-run"]).await;
        assert!(dry.contains("a dry run, nothing was written"), "{dry}");
        lost.is_refused().await;

        let said = lost.rebuild(&[]).await;
        println!("{said}");
        for organization in lost.emulator.organizations() {
            assert!(said.contains(&format!("stream {organization}/all: ")), "{said}");
        }
        let (found, there) =
            (said.lines().filter_map(events_of).sum::<usize>(), shared().await.read_all(&lost.stage.topic).await.len());
        assert_eq!(found, there, "{said}");
        let shown = lost.emulator.truth(Some(lost.emulator.now())).len();
        assert!((1..shown).contains(&found), "it was not lost in the middle: {found} of {shown}");
        lost.rebuild_refused(WHOLE).await;
        lost.all_is_there_once().await;
    }
}

/// `stream …: 1,234 events, from …`
fn events_of(line: &str) -> Option<usize> {
    let number = line.strip_prefix("stream ")?.split_once(": ")?.1.split(' ').next()?;
    Some(number.replace(',', "").parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_ledger_is_noticed_behind_open_and_aborted_transactions() {
    const LONG: Duration = Duration::from_secs(600);
    let options = Options { events: 3_000, span: "1h".parse().unwrap(), ..Options::default() };
    let Some(lost) = Lost::begin("a deleted ledger behind transactions", options).await else { return };
    let Stage { brokers, topic, .. } = &lost.stage;
    let mut open = Vec::new();
    for partition in 0..PARTITIONS as u32 {
        open.push(Foreigner::intrude(brokers, topic, partition, LONG).await);
    }
    lost.home.catch_up().await;
    for partition in 0..PARTITIONS as u32 {
        Foreigner::write(brokers, topic, partition, 5_000, LONG).await.abort().await;
    }
    shared().await.delete_topic(&lost.stage.ledger).await;
    let mut process = lost.home.start(&[]);
    process.said(&format!("an open transaction hides whether topic {topic}")).await;
    assert_eq!(process.count("ledger topic made"), 0, "{}", process.log());
    for foreigner in open {
        foreigner.abort().await;
    }
    assert_eq!(process.ended().await, 78, "{}", process.log());
    lost.is_refused().await;
    lost.rebuild(&[]).await;
    lost.all_is_there_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_rebuild_is_none_and_it_is_done_again() {
    let mut rng = Rng::with_seed(random::seeds(1, 1).next().unwrap());
    let Some(lost) = Lost::set("a rebuild is killed", awkward(rng.u64(..))).await else { return };
    for step in ["gathered", "begun", "sent"] {
        let mut process = lost.home.command_failing(REBUILD, step, 1);
        process.said(&format!("fail point {step}")).await;
        process.kill();
        lost.is_refused().await;
    }
    // There is no second transaction to be killed in.
    let mut process = lost.home.command_failing(REBUILD, "sent", 2);
    assert_eq!(process.ended().await, 0, "{}", process.log());
    lost.all_is_there_once().await;
    for _ in 0..if random::is_prove() { 100 } else { 3 } {
        shared().await.delete_topic(&lost.stage.ledger).await;
        let mut process = lost.home.command_failing(REBUILD, "rebuilt", 1);
        tokio::time::sleep(Duration::from_millis(rng.u64(100..6_000))).await;
        process.kill();
        let (code, _, log) = lost.home.command(REBUILD).await;
        assert!(code == 0 || code == 1 && log.contains(WHOLE), "{code}: {log}");
    }
    lost.all_is_there_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_age_that_is_configured_is_read() {
    let options = Options { events: 2_000, span: "1h".parse().unwrap(), rate: 0.05, ..Options::default() };
    let Some(lost) = Lost::set("a rebuild after an outage", options).await else { return };
    let before = lost.emulator.truth(Some(lost.emulator.now())).len();
    // poll.start is two hours.
    lost.emulator.advance(Duration::from_secs(86_400));
    lost.rebuild(&[]).await;
    lost.all_is_there_once().await;
    let after = shared().await.read_all(&lost.stage.topic).await.len();
    assert!(after > before + 3_000, "{before}, {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_topic_no_longer_holds_comes_again_once() {
    let options = Options { events: 3_000, span: "1h".parse().unwrap(), ..Options::default() };
    let Some(lost) = Lost::set("a rebuild from what is left", options).await else { return };
    let stage = &lost.stage;
    let whole = shared().await.read_all(&stage.topic).await.len();
    let said = lost.rebuild(&["--dry-run"]).await;
    assert!(!said.contains("gone from"), "{said}");
    shared().await.delete_records(&stage.topic, 0, 400).await;
    let left = shared().await.read_all(&stage.topic).await.len();
    assert!(left + 100 < whole, "{left} of {whole} are left");
    let said = lost.rebuild(&[]).await;
    assert!(said.contains("its first records are gone from 1 partition"), "{said}");
    lost.all_is_there_once().await;
    assert_eq!(shared().await.read_all(&stage.topic).await.len(), whole, "each is there once again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_beside_a_replica_is_refused() {
    let options = awkward(u64::from(fastrand::u32(..)));
    let Some(lost) = Lost::set("a rebuild beside a replica", options).await else { return };
    lost.rebuild(&[]).await;
    let mut replica = lost.home.start(&[]);
    replica.said("taken over").await;
    lost.rebuild_refused(WHOLE).await;
    shared().await.delete_topic(&lost.stage.ledger).await;
    lost.rebuild_refused("so replicas are running; stop all of them").await;
    // A killed one is waited for.
    replica.kill();
    lost.rebuild(&[]).await;
    lost.all_is_there_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_nobody_saw_commits_nothing_after_a_rebuild() {
    let options = awkward(u64::from(fastrand::u32(..)));
    let Some(lost) = Lost::set("a rebuild and a zombie", options).await else { return };
    lost.rebuild(&[]).await;
    // Frozen, it would be none of the group any more; here it is one of another group, and so wide awake.
    let account = format!(", organizations: [{}]", lost.emulator.organizations().join(", "));
    let stray = lost.stage.home(&lost.emulator, &unique("stray"), &account);
    let mut zombie = stray.start_failing("begun", 3);
    zombie.said("fail point begun").await;
    shared().await.delete_topic(&lost.stage.ledger).await;
    lost.rebuild(&[]).await;
    stray.write("go", "");
    zombie.said("another owner has the transactional id").await;
    // It goes on as every owner that was fenced: with the ledger that is there now.
    zombie.said("taken over").await;
    zombie.stop().await;
    lost.all_is_there_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_earlier_topic_are_known_where_it_is_named() {
    let options = Options { events: 3_000, span: "1h".parse().unwrap(), ..Options::default() };
    let Some(lost) = Lost::set("a rebuild from two topics", options).await else { return };
    let (earlier, later) = (lost.stage.topic.clone(), unique("later"));
    shared().await.create_topic(&later, 1, &[]).await;
    let stage = Stage {
        topic: later.clone(),
        ledger: lost.stage.ledger.clone(),
        brokers: lost.stage.brokers.clone(),
        ..lost.stage
    };
    let account = format!(", organizations: [{}]", lost.emulator.organizations().join(", "));
    stage.join(&lost.home, &lost.emulator, &unique("group"), &account);
    lost.rebuild_refused("so there is nothing to make again").await;
    let (code, _, log) = lost.home.command(&[REBUILD, &["--topic", "no-such"]].concat()).await;
    assert!(code == 1 && log.contains("topic no-such doesn't exist"), "{code}: {log}");
    lost.rebuild(&["--topic", &earlier]).await;
    lost.home.catch_up().await;
    assert_eq!(shared().await.read_all(&later).await.len(), 0, "known events came again");
    let (tally, _) = lost.stage.tally(&lost.emulator, lost.emulator.now()).await;
    assert_once(&tally);
}
