//! A replica that is cut off from the brokers, for longer than its session or than every timeout, while another goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use jumpstream::clock::{self, Time};

use super::fleet::Fleet;
use super::{Member, Stage, assert_once, calm, say};
use crate::kafka::unique;
use crate::process::{emulate, eventually};
use crate::random;
use crate::sink::proxy::{Mode, Proxy};

/// How often it is cut off, in `make test` and in `make prove`.
const SAMPLE: usize = 1;
const ALL: usize = 9;
/// Longer than a session (6 s), a transaction (15 s), a record's time (10 s) and a request's.
const AWAY: Duration = Duration::from_secs(20);
const LEDGER_PARTITIONS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_cut_off_for_longer_than_every_timeout_commits_nothing_old_and_shares_again() {
    for seed in random::seeds(1, 1) {
        let Some(stage) = Stage::set("a replica cut off", LEDGER_PARTITIONS).await else { return };
        let emulator = emulate(calm(6, seed)).await;
        let ids = emulator.organizations();
        let (account, group) = (format!(", organizations: [{}]", ids.join(", ")), unique("group"));
        let proxy = Proxy::before(&stage.brokers).await;
        let address = proxy.address();
        let homes = [None, Some(address.as_str())].map(|brokers| {
            stage.home_of(&emulator, Member { group: &group, account: &account, brokers, ..Member::default() })
        });
        let mut fleet = Fleet::of(&stage, &ids, homes.into());
        fleet.start(0);
        fleet.until_all_owned().await;
        // It takes its share over, and is cut off when it has sent records that it has not committed.
        let far = fleet.homes[1].start_failing("sent", 6);
        fleet.running.insert(1, far);
        fleet.running.get_mut(&1).unwrap().said("fail point sent").await;
        let mut spells = Vec::new();
        for round in 0..if random::is_prove() { ALL } else { SAMPLE } {
            let mode = if round % 2 == 0 { Mode::Silent } else { Mode::Gone };
            // Now and then it is back as soon as it has been replaced.
            let away = if round % 3 == 1 { Duration::ZERO } else { AWAY };
            assert!(places(&fleet).contains(&1), "it has nothing to lose");
            proxy.set(mode);
            let since = clock::uptime();
            fleet.homes[1].write("go", "");
            eventually("the other one has taken over", async || (places(&fleet) == [0].into()).then_some(())).await;
            if !away.is_zero() {
                fleet.running.get_mut(&1).unwrap().degraded("").await;
            }
            tokio::time::sleep(away.saturating_sub(clock::uptime() - since)).await;
            stage.flows().await;

            let (opened, begin) = (clock::wall(), clock::uptime());
            spells.push(begin - since);
            proxy.set(Mode::Open);
            eventually("it shares again", async || took_over_since(&fleet, opened).then_some(())).await;
            println!("{mode:?} for {:.1?}; shares again {:.1?} after", begin - since, clock::uptime() - begin);
            fleet.until_all_owned().await;
            fleet.running.get_mut(&1).unwrap().ready().await;
            stage.flows().await;
        }
        let log = fleet.running[&1].log();
        assert!(log.contains("lost to the group") || log.contains("given up"), "it noticed nothing:\n{log}");
        let other = fleet.running[&0].log();
        assert!(!other.contains("given up"), "the one that was cut off fenced its successor:\n{other}");

        let until = emulator.now();
        fleet.stop().await;
        fleet.homes[0].catch_up().await;
        let (tally, uncommitted) = stage.tally(&emulator, until).await;
        say(&format!("seed {seed}, cut off {} times", spells.len()), &tally, uncommitted);
        assert_once(&tally);
        assert!(uncommitted > 0, "nothing was in flight when it was cut off: the test did not bite");
    }
}

/// The replicas that own a partition.
fn places(fleet: &Fleet) -> BTreeSet<usize> {
    fleet.owners().into_values().map(|(_, place)| place).collect()
}

fn took_over_since(fleet: &Fleet, opened: Time) -> bool {
    fleet.owners().into_values().any(|(at, place)| place == 1 && at >= opened)
}
