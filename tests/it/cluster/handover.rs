//! Partitions change hands: all are owned, none twice, and none for long by nobody.

use std::time::Duration;

use jumpstream::clock;
use jumpstream::cluster::{Change, DRAIN, Membership, NotOurs};
use tokio::sync::mpsc::UnboundedReceiver;

use super::replica::{Group, Replica, print};
use crate::kafka::Kafka;
use crate::random::is_prove;

const DEADLINE: Duration = Duration::from_secs(60);

/// What a partition may be without an owner where its owner left in order: some hundred milliseconds on a machine that
/// has time, generously more on one that has not. The figure is printed.
const ORDERLY: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn three_members_own_every_partition_and_none_twice() {
    let Some(kafka) = Kafka::shared("three members").await else { return };
    let group = Group::new(kafka, 8).await;
    let begin = clock::uptime();
    let replicas = [0, 1, 2].map(|number| group.replica(number));
    group.shared_by(&[0, 1, 2]).await;
    println!("three members at once: settled after {:.1?}", clock::uptime() - begin);
    group.history.assert_never_twice();
    for replica in replicas {
        assert_eq!(replica.membership.trouble(), None);
        replica.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leaving_member_owned_is_owned_again_at_once() {
    let Some(kafka) = Kafka::shared("a member leaves").await else { return };
    let group = Group::new(kafka, 8).await;
    let [first, second, mut third] = [0, 1, 2].map(|number| group.replica(number));
    group.shared_by(&[0, 1, 2]).await;
    let (mut leaves, mut joins) = (Vec::new(), Vec::new());
    for round in 0..if is_prove() { 10 } else { 1 } {
        // As in life: librdkafka joins at most once a second.
        peace().await;
        let begin = clock::uptime();
        third.leave().await;
        group.shared_by(&[0, 1]).await;
        leaves.extend(group.history.times_without_owner(begin));
        peace().await;
        let begin = clock::uptime();
        third = group.replica(3 + round);
        group.shared_by(&[0, 1, 3 + round]).await;
        joins.extend(group.history.times_without_owner(begin));
    }
    for (what, times) in [("one of three leaves", &mut leaves), ("a third one joins", &mut joins)] {
        times.sort();
        print(what, times);
        assert!(!times.is_empty() && times.iter().all(|time| *time < ORDERLY), "{what}: {times:?}");
    }
    group.history.assert_never_twice();
    for replica in [first, second, third] {
        replica.leave().await;
    }
}

async fn peace() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_become_one_and_then_four() {
    let Some(kafka) = Kafka::shared("three, one, four").await else { return };
    let group = Group::new(kafka, 8).await;
    let [first, second, third] = [0, 1, 2].map(|number| group.replica(number));
    group.shared_by(&[0, 1, 2]).await;
    let begin = clock::uptime();
    tokio::join!(second.leave(), third.leave());
    group.shared_by(&[0]).await;
    print("three become one", &group.history.times_without_owner(begin));
    let begin = clock::uptime();
    let others = [3, 4, 5].map(|number| group.replica(number));
    group.shared_by(&[0, 3, 4, 5]).await;
    let times = group.history.times_without_owner(begin);
    print("one becomes four", &times);
    assert!(times.iter().all(|time| *time < ORDERLY), "{times:?}");
    group.history.assert_never_twice();
    for replica in [first].into_iter().chain(others) {
        replica.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_partitions_leaves_too() {
    let Some(kafka) = Kafka::shared("an idle member leaves").await else { return };
    let group = Group::new(kafka, 1).await;
    let (worker, mut changes) = Membership::join(group.options()).unwrap();
    assert_eq!(next(&mut changes).await, Change::Assigned(vec![0]));
    let (idle, mut idles) = Membership::join(group.options()).unwrap();
    assert_eq!(next(&mut idles).await, Change::Assigned(vec![]), "admitted, with nothing to do");
    idle.leave().await;
    worker.leave().await;
    let begin = clock::uptime();
    let successor = group.replica(1);
    group.shared_by(&[1]).await;
    // A ghost would be given the partition, or waited for, until its session ends after 6 s.
    let after = clock::uptime() - begin;
    println!("the successor of an idle member and a worker owns after {after:.1?}");
    assert!(after < Duration::from_secs(6), "a ghost is in the group: {after:?}");
    successor.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_waits_for_the_last_drain_and_no_longer_than_told() {
    let Some(kafka) = Kafka::shared("the drain").await else { return };
    let group = Group::new(kafka, 4).await;
    let (slow, mut changes) = Membership::join(group.options()).unwrap();
    assert_eq!(next(&mut changes).await, Change::Assigned(vec![0, 1, 2, 3]));
    slow.confirm(0).await.unwrap();

    let other = group.replica(1);
    let revoked = next(&mut changes).await;
    let begin = clock::uptime();
    let Change::Revoked(partitions) = revoked else { panic!("{revoked:?}") };
    let [quick, late] = partitions[..] else { panic!("half of them are asked back: {partitions:?}") };
    let kept = (0..4).find(|partition| !partitions.contains(partition)).unwrap();
    assert_eq!(slow.confirm(quick).await, Err(NotOurs::NotAssigned(quick)));
    slow.released(quick);
    assert_eq!(next(&mut changes).await, Change::Lost(vec![late]), "its time is over");
    let waited = clock::uptime() - begin;
    assert!((DRAIN..DRAIN + Duration::from_secs(5)).contains(&waited), "{waited:?}");
    group.owned_by(1, 2).await;
    let owned = group.history.moments().first().unwrap().at;
    assert!(owned >= begin + DRAIN, "something was given away while it drained");
    // What it still has is still its own, and it was a member all the while.
    slow.confirm(kept).await.unwrap();
    other.leave().await;
    slow.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_confirms_what_was_never_theirs() {
    let Some(kafka) = Kafka::shared("confirming").await else { return };
    let group = Group::new(kafka, 2).await;
    let replica: Replica = group.replica(0);
    group.shared_by(&[0]).await;
    assert_eq!(replica.membership.confirm(7).await, Err(NotOurs::NotAssigned(7)));
    assert_eq!(replica.membership.confirm(1).await, Ok(()));
    replica.leave().await;
}

async fn next(changes: &mut UnboundedReceiver<Change>) -> Change {
    tokio::time::timeout(DEADLINE, changes.recv()).await.expect("the group says something").expect("a member")
}
