//! `run --until-caught-up` as one of several members: what another one holds and gives up is read before it ends.

use std::sync::Arc;
use std::time::Duration;

use jumpstream::emulator::{Emulator, Options};

use super::{Member, Stage, assert_once, calm, say};
use crate::cluster::replica::{Group, Replica};
use crate::kafka::unique;
use crate::process::{Home, emulate, steer};
use crate::random;
use crate::sink::proxy::{Mode, Proxy};

const LEDGER_PARTITIONS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_until_caught_up_takes_what_a_member_leaves_and_does_not_end_without_it() {
    let Some(stage) = Stage::set("a share of the partitions", LEDGER_PARTITIONS).await else { return };
    let seed = random::seeds(1, 1).next().unwrap();
    let emulator = emulate(calm(24, seed)).await;
    let (home, _, idler) = beside_an_idler(&stage, &emulator).await;
    let mut process = home.start(&["--until-caught-up", "--timeout", "2m"]);
    // Beside another it is given nothing at first, and then its half.
    process.said("caught up with 4 of 8 partitions").await;
    let until = emulator.now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(process.is_running(), "it ended with half of the streams unread: {}", process.log());
    idler.leave().await;
    assert_eq!(process.ended().await, 0, "{}", process.log());
    let (tally, aborted) = stage.tally(&emulator, until).await;
    say(&format!("a share, seed {seed}"), &tally, aborted);
    assert_once(&tally);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_until_caught_up_beside_another_member_ends_with_its_share_whatever_becomes_due_meanwhile() {
    const CAUGHT_UP: &str = "caught up with 4 of 8 partitions";
    let Some(stage) = Stage::set("half of the partitions", LEDGER_PARTITIONS).await else { return };
    let slow_body = "3s".parse().unwrap();
    let emulator = emulate(Options { slow_body, ..calm(24, 1) }).await;
    let (home, members, idler) = beside_an_idler(&stage, &emulator).await;
    // With every other minute something becomes due to be compared: while it waits for what else may become its own.
    let into = emulator.now().as_second().rem_euclid(120) as u64;
    emulator.advance(Duration::from_secs((220 - into) % 120));
    let mut process = home.start(&["--until-caught-up", "--timeout", "2m"]);
    process.said(CAUGHT_UP).await;
    steer(&emulator, "faults", r#"{"kind":"slow_body","count":100000,"path":"/events/count"}"#).await;
    assert_eq!(process.ended().await, 0, "{}", process.log());
    assert_eq!(process.log().matches(CAUGHT_UP).count(), 1, "it waited anew: {}", process.log());
    members.owned_by(0, LEDGER_PARTITIONS as usize).await;
    idler.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_until_caught_up_that_is_struck_off_the_group_waits_until_it_is_back() {
    let Some(stage) = Stage::set("a run struck off the group", LEDGER_PARTITIONS).await else { return };
    let emulator = emulate(calm(4, 1)).await;
    let proxy = Proxy::before(&stage.brokers).await;
    let (address, group) = (proxy.address(), unique("group"));
    let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
    let member = Member { group: &group, account: &account, brokers: Some(&address), ..Member::default() };
    let home = stage.home_of(&emulator, member);
    let mut process = home.start(&["--until-caught-up", "--timeout", "4m"]);
    process.said("taken over").await;
    proxy.set(Mode::Silent);
    process.said("lost to the group").await;
    let until = emulator.now();
    tokio::time::sleep(jumpstream::cluster::MISSED + Duration::from_secs(5)).await;
    assert!(process.is_running(), "it ended while it owned nothing: {}", process.log());
    proxy.set(Mode::Open);
    assert_eq!(process.ended().await, 0, "{}", process.log());
    let (tally, aborted) = stage.tally(&emulator, until).await;
    say("struck off the group", &tally, aborted);
    assert_once(&tally);
}

/// A member to come, and one in this process that has all partitions by now and reads nothing of them.
async fn beside_an_idler(stage: &Stage, emulator: &Emulator) -> (Home, Group, Replica) {
    let name = unique("group");
    let home = stage.home(emulator, &name, &format!(", organizations: [{}]", emulator.organizations().join(", ")));
    // It makes the ledger topic.
    home.catch_up().await;
    let (bootstrap, topic) = (stage.brokers.clone(), stage.ledger.clone());
    let group = Group { bootstrap, topic, name, partitions: LEDGER_PARTITIONS, history: Arc::default() };
    let idler = group.replica(0);
    group.owned_by(0, LEDGER_PARTITIONS as usize).await;
    (home, group, idler)
}
