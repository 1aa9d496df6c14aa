//! Replicas that share many organizations: killed, restarted one by one, fewer and more, while events come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jumpstream::clock::{self, Time};
use jumpstream::emulator::Options;
use jumpstream::ledger::StreamKey;
use jumpstream::store::kafka::Layout;

use super::{Stage, assert_once};
use crate::kafka::unique;
use crate::kill::awkward;
use crate::process::{Home, Process, emulate, eventually};
use crate::random;

const LEDGER_PARTITIONS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_over_from_each_other_and_nothing_is_lost_or_twice() {
    let Some(stage) = Stage::set("replicas", LEDGER_PARTITIONS).await else { return };
    let organizations = if random::is_prove() { 300 } else { 24 };
    for seed in random::seeds(1, 1) {
        let emulator = emulate(Options { organizations, rate: 100.0, fault_share: 0.02, ..awkward(seed) }).await;
        let ids = emulator.organizations();
        let account = format!(", organizations: [{}]", ids.join(", "));
        let group = unique("group");
        let mut fleet = Fleet::of(4, &ids, || stage.home(&emulator, &group, &account));
        (0..3).for_each(|place| fleet.start(place));
        fleet.until_all_owned().await;
        stage.flows().await;

        let killed = fleet.without(0, Process::kill_and_forget).await;
        fleet.start(0);
        fleet.until_all_owned().await;
        let mut restarted = Vec::new();
        for place in 0..3 {
            restarted.extend(fleet.without(place, Process::stop_and_forget).await);
            fleet.start(place);
            fleet.until_all_owned().await;
        }
        stage.flows().await;
        for place in [1, 2] {
            restarted.extend(fleet.without(place, Process::stop_and_forget).await);
        }
        (1..4).for_each(|place| fleet.start(place));
        fleet.until_all_owned().await;
        stage.flows().await;

        let until = emulator.now();
        fleet.stop().await;
        fleet.homes[0].catch_up().await;
        let (tally, aborted) = stage.tally(&emulator, until).await;
        println!(
            "{organizations} organizations, seed {seed}: {} events, lost {}, twice {}, {aborted} never committed",
            tally.true_events, tally.lost, tally.repeated
        );
        println!("without an owner after a kill: {}; after a clean end: {}", spread(killed), spread(restarted));
        assert_once(&tally);
    }
}

/// The replicas, those that run and those that don't.
struct Fleet {
    homes: Vec<Home>,
    running: BTreeMap<usize, Process>,
    /// Those that have streams.
    partitions: BTreeSet<u32>,
}

impl Fleet {
    fn of(replicas: usize, organizations: &[String], home: impl Fn() -> Home) -> Fleet {
        let layout = Layout::of(LEDGER_PARTITIONS);
        let stream =
            |organization: &String| StreamKey { organization: organization.clone(), service: "all".to_owned() };
        let partitions = organizations.iter().map(|organization| layout.partition(&stream(organization))).collect();
        Fleet { homes: (0..replicas).map(|_| home()).collect(), running: BTreeMap::new(), partitions }
    }

    fn start(&mut self, place: usize) {
        self.running.insert(place, self.homes[place].start(&[]));
    }

    /// Who took each partition over last, and when.
    fn owners(&self) -> BTreeMap<u32, (Time, usize)> {
        let mut owners: BTreeMap<u32, (Time, usize)> = BTreeMap::new();
        for (place, home) in self.homes.iter().enumerate() {
            for line in home.logs().lines().filter(|line| line.contains("taken over partition=")) {
                let at = Time::parse(line.split_whitespace().next().unwrap()).unwrap();
                let partition = line.rsplit_once("partition=").unwrap().1.trim().parse().unwrap();
                let last = owners.entry(partition).or_insert((at, place));
                *last = (at, place).max(*last);
            }
        }
        owners
    }

    /// Waits until each partition was last taken over by a replica that runs.
    async fn until_all_owned(&mut self) {
        eventually("every partition has an owner", async || {
            let owners = self.owners();
            let owned = |partition| owners.get(partition).is_some_and(|(_, place)| self.running.contains_key(place));
            self.partitions.iter().all(owned).then_some(())
        })
        .await;
    }

    /// Ends a replica; how long each of its partitions had no owner.
    async fn without<F: Future<Output = ()>>(&mut self, place: usize, end: impl Fn(Process) -> F) -> Vec<Duration> {
        let owners = self.owners();
        let orphans: Vec<u32> =
            owners.iter().filter(|(_, (_, owner))| *owner == place).map(|(home, _)| *home).collect();
        let process = self.running.remove(&place).unwrap();
        let since = clock::wall();
        end(process).await;
        self.until_all_owned().await;
        let owners = self.owners();
        orphans.iter().map(|partition| owners[partition].0.since(since)).collect()
    }

    async fn stop(&mut self) {
        for (_, replica) in std::mem::take(&mut self.running) {
            replica.stop().await;
        }
    }
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(worst)) => format!("median {median:.1?}, worst {worst:.1?} of {}", times.len()),
        _ => "no partition moved".to_owned(),
    }
}
