//! The broker goes and comes back: its members are members again, and no partition has two owners.

use jumpstream::clock;

use super::replica::{Group, print};
use crate::kafka::Kafka;

/// Kafka's default, and not the other tests' haste: how long a group that was empty waits for further members.
const AS_SHIPPED: &str = "group.initial.rebalance.delay.ms=3000";

#[tokio::test(flavor = "multi_thread")]
async fn members_come_back_after_the_broker_and_own_nothing_twice() {
    let Some(kafka) = Kafka::own("a broker that goes", AS_SHIPPED).await else { return };
    let group = Group::new(&kafka, 8).await;
    let begin = clock::uptime();
    let first = group.replica(0);
    group.owned_by(0, 8).await;
    println!("the first member of an empty group, as Kafka is shipped: owns after {:.1?}", clock::uptime() - begin);
    let begin = clock::uptime();
    let others = [1, 2].map(|number| group.replica(number));
    group.shared_by(&[0, 1, 2]).await;
    println!("two more: settled after {:.1?}", clock::uptime() - begin);
    print("two more", &group.history.times_without_owner(begin));

    let begin = clock::uptime();
    kafka.kill().await;
    kafka.start_again().await;
    println!("the broker was away for {:.1?}", clock::uptime() - begin);
    let back = clock::uptime();
    // Whether their sessions outlived the outage or not.
    group.shared_by(&[0, 1, 2]).await;
    for replica in [&first].into_iter().chain(&others) {
        let mine = group.history.owners().into_iter().filter(|(_, of)| of.len() == 1).map(|(partition, _)| partition);
        let mut confirmed = 0;
        for partition in mine {
            confirmed += usize::from(replica.membership.confirm(partition).await.is_ok());
        }
        assert!((2..=3).contains(&confirmed), "{confirmed} of 8 are confirmed");
    }
    println!("settled {:.1?} after it was back", clock::uptime() - back);
    print("the broker restarts", &group.history.times_without_owner(begin));
    group.history.assert_never_twice();
    for replica in [first].into_iter().chain(others) {
        replica.leave().await;
    }
}
