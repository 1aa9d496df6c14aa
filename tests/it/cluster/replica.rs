//! Replicas that do nothing but own: each confirms what it is given, drains for a moment, lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jumpstream::clock;
use jumpstream::cluster::{Change, Membership, NotOurs, Options};
use rdkafka::ClientConfig;
use tokio::sync::mpsc;

use crate::kafka::{Kafka, unique};
use crate::process::eventually;

/// How long an owner takes to let go.
pub const DRAINS: Duration = Duration::from_millis(100);

/// A topic and the group that shares its partitions.
#[derive(Debug, Clone)]
pub struct Group {
    pub bootstrap: String,
    pub topic: String,
    pub name: String,
    pub partitions: u32,
    pub history: Arc<History>,
}

/// Who owned what and when, over all replicas of a test.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Moment>>);

/// From here on a replica owns a partition, or no longer.
#[derive(Debug, Clone)]
pub struct Moment {
    pub at: Duration,
    pub replica: usize,
    pub partition: u32,
    pub owns: bool,
}

impl History {
    pub fn record(&self, replica: usize, partition: u32, owns: bool) {
        let moment = Moment { at: clock::uptime(), replica, partition, owns };
        self.0.lock().unwrap().push(moment);
    }

    pub fn moments(&self) -> Vec<Moment> {
        self.0.lock().unwrap().clone()
    }

    /// The owners of each partition now.
    pub fn owners(&self) -> BTreeMap<u32, BTreeSet<usize>> {
        let mut owners: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for Moment { replica, partition, owns, .. } in self.moments() {
            let of = owners.entry(partition).or_default();
            let _ = if owns { of.insert(replica) } else { of.remove(&replica) };
        }
        owners
    }

    /// A killed replica says nothing more.
    pub fn died(&self, replica: usize) {
        for (partition, owners) in self.owners() {
            if owners.contains(&replica) {
                self.record(replica, partition, false);
            }
        }
    }

    /// How long each partition had no owner between two of them, since `begin`, ascending.
    pub fn times_without_owner(&self, begin: Duration) -> Vec<Duration> {
        let mut free: BTreeMap<u32, Duration> = BTreeMap::new();
        let mut times = Vec::new();
        for Moment { at, partition, owns, .. } in self.moments().into_iter().filter(|moment| moment.at >= begin) {
            if !owns {
                free.insert(partition, at);
            } else if let Some(since) = free.remove(&partition) {
                times.push(at - since);
            }
        }
        times.sort();
        times
    }

    /// # Panics
    /// Where two replicas owned a partition at the same time.
    #[track_caller]
    pub fn assert_never_twice(&self) {
        let mut owners: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        let moments = self.moments();
        for Moment { replica, partition, owns, .. } in &moments {
            let of = owners.entry(*partition).or_default();
            let _ = if *owns { of.insert(*replica) } else { of.remove(replica) };
            assert!(of.len() < 2, "partition {partition} has the owners {of:?}: {moments:#?}");
        }
    }
}

impl Group {
    pub async fn new(kafka: &Kafka, partitions: u32) -> Group {
        let topic = unique("ledger");
        kafka.create_topic(&topic, partitions as i32, &[]).await;
        Group { bootstrap: kafka.bootstrap(), topic, name: unique("group"), partitions, history: Arc::default() }
    }

    pub fn options(&self) -> Options {
        let bootstrap = self.bootstrap.clone();
        let client = move || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &bootstrap);
            Ok(config)
        };
        Options { client: Box::new(client), tokens: None, topic: self.topic.clone(), group: self.name.clone() }
    }

    /// A replica in this process, with a client of its own.
    pub fn replica(&self, number: usize) -> Replica {
        let history = self.history.clone();
        Replica::start(self.options(), move |partition, owns| history.record(number, partition, owns))
    }

    /// Returns when `replica` owns so many.
    pub async fn owned_by(&self, replica: usize, count: usize) {
        eventually(&format!("{replica} owns {count} partitions"), async || {
            let owners = self.history.owners();
            (owners.values().filter(|of| of.contains(&replica)).count() == count).then_some(())
        })
        .await;
    }

    /// Returns when every partition has one owner, and these replicas have as many as the group gives each.
    pub async fn shared_by(&self, replicas: &[usize]) {
        let mut shares: Vec<usize> =
            (0..replicas.len()).map(|place| (self.partitions as usize + place) / replicas.len()).collect();
        shares.sort();
        eventually(&format!("{replicas:?} share all partitions"), async || {
            let owners = self.history.owners();
            let owned_by = |replica: &usize| owners.values().filter(|of| of.iter().eq([replica])).count();
            let mut owned: Vec<usize> = replicas.iter().map(owned_by).collect();
            owned.sort();
            (owned == shares).then_some(())
        })
        .await;
    }
}

/// A member and what owns its partitions.
pub struct Replica {
    pub membership: Arc<Membership>,
    owner: tokio::task::JoinHandle<()>,
}

impl Replica {
    /// `record` hears what it owns and no longer owns.
    pub fn start(options: Options, record: impl Fn(u32, bool) + Send + Sync + 'static) -> Replica {
        let (membership, changes) = Membership::join(options).unwrap();
        let membership = Arc::new(membership);
        let owner = tokio::spawn(own(membership.clone(), changes, Arc::new(record)));
        Replica { membership, owner }
    }

    /// Drains, then leaves the group.
    pub async fn leave(self) {
        self.owner.abort();
        let _ = self.owner.await;
        // A confirmation under way holds it for a moment.
        let mut membership = self.membership;
        let membership = loop {
            match Arc::try_unwrap(membership) {
                Ok(membership) => break membership,
                Err(shared) => membership = shared,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        membership.leave().await;
    }
}

type Record = Arc<dyn Fn(u32, bool) + Send + Sync>;

/// What is ours; under a lock, so that nothing is recorded as owned after it was let go.
struct Owned {
    record: Record,
    partitions: Mutex<BTreeMap<u32, bool>>,
}

impl Owned {
    fn give_up(&self, partition: u32) {
        if self.partitions.lock().unwrap().remove(&partition) == Some(true) {
            (self.record)(partition, false);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        for (partition, _) in std::mem::take(&mut *self.partitions.lock().unwrap()).into_iter().filter(|each| each.1) {
            (self.record)(partition, false);
        }
    }
}

async fn own(membership: Arc<Membership>, mut changes: mpsc::UnboundedReceiver<Change>, record: Record) {
    let owned = Arc::new(Owned { record, partitions: Mutex::default() });
    let mut confirmations = tokio::task::JoinSet::new();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Assigned(partitions) => {
                for partition in partitions {
                    assert!(owned.partitions.lock().unwrap().insert(partition, false).is_none(), "assigned twice");
                    confirmations.spawn(confirm(membership.clone(), owned.clone(), partition));
                }
            }
            Change::Revoked(partitions) => {
                tokio::time::sleep(DRAINS).await;
                for partition in partitions {
                    owned.give_up(partition);
                    membership.released(partition);
                }
            }
            Change::Lost(partitions) => partitions.into_iter().for_each(|partition| owned.give_up(partition)),
        }
    }
}

async fn confirm(membership: Arc<Membership>, owned: Arc<Owned>, partition: u32) {
    loop {
        match membership.confirm(partition).await {
            Ok(()) => break,
            Err(NotOurs::NotAssigned(_)) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    if let Some(confirmed) = owned.partitions.lock().unwrap().get_mut(&partition)
        && !std::mem::replace(confirmed, true)
    {
        (owned.record)(partition, true);
    }
}

/// Median and worst, for a figure in the test's output.
pub fn print(what: &str, times: &[Duration]) {
    let (Some(worst), Some(median)) = (times.last(), times.get(times.len() / 2)) else {
        println!("{what}: nothing changed hands");
        return;
    };
    let [median, worst] = [median, worst].map(Duration::as_millis);
    println!("{what}: {} times without an owner, {median} ms (median), {worst} ms (worst)", times.len());
}
