//! Replicas that share the partitions of one ledger topic, and who of them owns which.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jumpstream::clock::{self, Time};
use jumpstream::ledger::StreamKey;
use jumpstream::store::kafka::Layout;

use super::Stage;
use crate::process::{Home, Process, eventually};

/// The replicas, those that run and those that don't.
pub(super) struct Fleet {
    pub homes: Vec<Home>,
    pub running: BTreeMap<usize, Process>,
    /// Those that have streams.
    pub partitions: BTreeSet<u32>,
}

/// The ledger partition of an organization's stream.
pub(super) fn partition_of(stage: &Stage, organization: &str) -> u32 {
    let stream = StreamKey { organization: organization.to_owned(), service: "all".to_owned() };
    Layout::of(stage.ledger_partitions).partition(&stream)
}

impl Fleet {
    pub fn of(stage: &Stage, organizations: &[String], homes: Vec<Home>) -> Fleet {
        let partitions = organizations.iter().map(|organization| partition_of(stage, organization)).collect();
        Fleet { homes, running: BTreeMap::new(), partitions }
    }

    pub fn start(&mut self, place: usize) {
        self.running.insert(place, self.homes[place].start(&[]));
    }

    /// Who took each partition over last, and when.
    pub fn owners(&self) -> BTreeMap<u32, (Time, usize)> {
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
    pub async fn until_all_owned(&self) {
        eventually("every partition has an owner", async || {
            let owners = self.owners();
            let owned = |partition| owners.get(partition).is_some_and(|(_, place)| self.running.contains_key(place));
            self.partitions.iter().all(owned).then_some(())
        })
        .await;
    }

    /// Ends a replica; what that gave, and how long each of its partitions had no owner.
    pub async fn without<T>(&mut self, place: usize, end: impl AsyncFn(Process) -> T) -> (T, Vec<Duration>) {
        let owners = self.owners();
        let orphans: Vec<u32> =
            owners.iter().filter(|(_, (_, owner))| *owner == place).map(|(home, _)| *home).collect();
        let process = self.running.remove(&place).unwrap();
        let since = clock::wall();
        let ended = end(process).await;
        self.until_all_owned().await;
        let owners = self.owners();
        (ended, orphans.iter().map(|partition| owners[partition].0.since(since)).collect())
    }

    pub async fn stop(&mut self) {
        for (_, replica) in std::mem::take(&mut self.running) {
            replica.stop().await;
        }
    }
}

pub(super) fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(worst)) => format!("median {median:.1?}, worst {worst:.1?} of {}", times.len()),
        _ => "no partition moved".to_owned(),
    }
}
