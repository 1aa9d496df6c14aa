//! Homes that replicas share: the partitions of the ledger topic, which a consumer group gives out.
//!
//! # Invariants
//! A home is begun only after the group's coordinator has confirmed a moment ago that it is ours. Every tenure that was
//! begun is released, and only then given back to the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use tokio::sync::{mpsc, watch};

use crate::app::Error;
use crate::app::tenure::{End, Tenure};
use crate::cluster::{self, Change, Membership};
use crate::commit::{Burial, Route};
use crate::ledger::StreamKey;
use crate::retry::Schedule;
use crate::sink::{DeadLetters, Sink};
use crate::store::kafka::{Ledgers, Partition, Untaken};
use crate::stream::or_end;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{Board, Latch};

/// How long a home's streams may take to commit what is in flight: the next owner waits for them.
const HANDOVER: Duration = Duration::from_secs(1);
/// Rising pauses between tries.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(10);

/// What a replica is made of.
pub(in crate::app) struct Grouped {
    pub ledgers: Ledgers,
    pub partitions: u32,
    /// Those that come before the transaction.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// None: in the transaction, if anywhere.
    pub dead_letters: Option<Arc<dyn DeadLetters>>,
    pub dead_letters_within: bool,
    pub client: ClientSource,
    pub tokens: Option<cluster::TokenSource>,
    pub topic: String,
    pub group: String,
    pub board: Board,
    pub metrics: Metrics,
    pub state: State,
}

/// Makes the group's client anew: the files behind it may have changed.
pub(in crate::app) type ClientSource = Arc<dyn Fn() -> Result<ClientConfig, String> + Send + Sync>;

/// What changes while it runs.
#[derive(Default)]
pub(in crate::app) struct State {
    membership: OnceLock<Membership>,
    holds: watch::Sender<Holds>,
    busy: Mutex<BTreeMap<u32, Busy>>,
    /// What keeps us from having any home.
    waiting: Mutex<Option<String>>,
}

/// What the group has given us.
#[derive(Debug, Clone, Default)]
struct Holds {
    /// Whether the group has us, as far as we have heard.
    admitted: bool,
    /// Counts what was assigned: a partition that was lost and comes back is another tenure.
    terms: u64,
    homes: BTreeMap<u32, Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    term: u64,
    revoked: bool,
}

/// A home between its beginning and its release.
#[derive(Default)]
struct Busy {
    term: u64,
    /// None while it is being taken over.
    partition: Option<Arc<Partition>>,
    /// Why it could not be taken over so far.
    waiting: Option<String>,
}

impl Grouped {
    fn membership(&self) -> Option<&Membership> {
        self.state.membership.get()
    }

    /// Waits until the home is ours; the term that begins.
    async fn until_ours(&self, home: u32) -> u64 {
        let mut holds = self.state.holds.subscribe();
        let ours = holds.wait_for(|holds| holds.homes.get(&home).is_some_and(|hold| !hold.revoked)).await;
        let term = ours.ok().and_then(|holds| holds.homes.get(&home).map(|hold| hold.term));
        self.busy().entry(home).or_default().term = term.unwrap_or_default();
        term.unwrap_or_default()
    }

    /// Waits for the end of the term.
    async fn until_over(&self, home: u32, term: u64) -> End {
        let mut holds = self.state.holds.subscribe();
        let over = |holds: &Holds| holds.homes.get(&home).is_none_or(|hold| hold.term != term || hold.revoked);
        match holds.wait_for(over).await {
            Ok(holds) if holds.homes.get(&home).is_some_and(|hold| hold.term == term) => End::Handover,
            _ => End::Lost,
        }
    }

    async fn take_over(&self, home: u32) -> Result<Arc<Partition>, Untaken> {
        let membership = self.membership().ok_or_else(|| Untaken::NotNow("no member of the group yet".to_owned()))?;
        membership.confirm(home).await.map_err(|not_ours| Untaken::NotNow(not_ours.to_string()))?;
        Ok(Arc::new(self.ledgers.take_over(home).await?))
    }

    fn route(&self, partition: Arc<Partition>) -> Arc<Route> {
        let apart = self.dead_letters.clone().map(Burial::Before);
        Arc::new(Route {
            sinks: self.sinks.clone(),
            dead_letters: apart.or(self.dead_letters_within.then_some(Burial::Within)),
            store: partition.clone(),
            transaction: Some(partition),
        })
    }

    /// The topic made or looked at.
    async fn prepare(&self, latch: &Latch) -> Result<(), Error> {
        let mut pauses = Schedule::new(PAUSE.start, PAUSE.end);
        loop {
            match self.ledgers.prepare().await {
                Ok(warnings) => {
                    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                    self.wait(None);
                    return Ok(());
                }
                Err(Untaken::Fatal(error)) => return Err(error.into()),
                Err(Untaken::NotNow(why)) => {
                    latch.say(&why);
                    self.wait(Some(why));
                }
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    fn wait(&self, why: Option<String>) {
        let mut waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = why.as_ref().filter(|why| waiting.as_ref() != Some(*why)) {
            tracing::warn!("waiting: {why}");
        }
        *waiting = why;
    }

    fn join(&self) -> Result<mpsc::UnboundedReceiver<Change>, Error> {
        let client = self.client.clone();
        let options = cluster::Options {
            client: Box::new(move || client()),
            tokens: self.tokens.clone(),
            topic: self.topic.clone(),
            group: self.group.clone(),
        };
        let (membership, changes) = Membership::join(options)?;
        let _ = self.state.membership.set(membership);
        Ok(changes)
    }

    fn heard(&self, change: Change) {
        tracing::debug!(?change, "the group");
        let unused = match &change {
            Change::Revoked(homes) => {
                let busy = self.busy();
                homes.iter().copied().filter(|home| !busy.contains_key(home)).collect()
            }
            _ => Vec::new(),
        };
        self.state.holds.send_modify(|holds| match change {
            Change::Assigned(homes) => {
                holds.admitted = true;
                for home in homes {
                    holds.terms += 1;
                    holds.homes.insert(home, Hold { term: holds.terms, revoked: false });
                }
            }
            Change::Revoked(homes) => {
                for home in homes {
                    holds.homes.entry(home).and_modify(|hold| hold.revoked = true);
                }
            }
            Change::Lost(homes) => {
                // Until the next rebalance has us, what we own is not known, not none.
                holds.admitted = false;
                for home in homes {
                    holds.homes.remove(&home);
                }
            }
        });
        // No stream of ours is there: nothing has to drain.
        unused.into_iter().for_each(|home| self.give_back(home));
        self.metrics.set_partitions_owned(self.state.holds.borrow().homes.len());
    }

    fn give_back(&self, home: u32) {
        self.state.holds.send_if_modified(|holds| {
            let revoked = holds.homes.get(&home).is_some_and(|hold| hold.revoked);
            if revoked {
                holds.homes.remove(&home);
            }
            revoked
        });
        if let Some(membership) = self.membership() {
            membership.released(home);
        }
        self.metrics.set_partitions_owned(self.state.holds.borrow().homes.len());
    }

    fn busy(&self) -> MutexGuard<'_, BTreeMap<u32, Busy>> {
        self.state.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tenure for Grouped {
    fn homes(&self) -> u32 {
        self.partitions
    }

    fn home_of(&self, stream: &StreamKey) -> u32 {
        self.ledgers.layout().partition(stream)
    }

    async fn keep(&self, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let latch = self.board.hold("kafka: the ledger topic has not been looked at yet");
        match or_end(&mut shutdown, self.prepare(&latch)).await {
            Some(prepared) => prepared?,
            None => return Ok(()),
        }
        latch.say("kafka: the group has not admitted this replica yet");
        let mut latch = Some(latch);
        let mut changes = self.join()?;
        while let Some(Some(change)) = or_end(&mut shutdown, changes.recv()).await {
            self.heard(change);
            if self.state.holds.borrow().admitted {
                latch = None;
            }
        }
        drop(latch);
        match *shutdown.borrow() {
            true => Ok(()),
            false => Err(Error::Membership),
        }
    }

    async fn begin(&self, home: u32) -> Result<Arc<Route>, Error> {
        let mut pauses = Schedule::new(PAUSE.start, PAUSE.end);
        loop {
            let term = self.until_ours(home).await;
            let taken = tokio::select! {
                taken = self.take_over(home) => Some(taken),
                _ = self.until_over(home, term) => None,
            };
            match taken {
                Some(Ok(partition)) => {
                    self.busy().insert(home, Busy { term, partition: Some(partition.clone()), waiting: None });
                    tracing::info!(partition = home, "taken over");
                    return Ok(self.route(partition));
                }
                Some(Err(Untaken::Fatal(error))) if error.wants_a_decision() => return Err(error.into()),
                Some(Err(untaken)) => {
                    let why = untaken.to_string();
                    tracing::debug!(partition = home, "not taken over: {why}");
                    self.busy().entry(home).or_default().waiting = Some(why);
                    tokio::select! {
                        () = tokio::time::sleep(pauses.pause()) => {}
                        _ = self.until_over(home, term) => self.release(home),
                    }
                }
                None => {
                    pauses.reset();
                    self.release(home);
                }
            }
        }
    }

    async fn over(&self, home: u32) -> End {
        let Some((term, Some(partition))) = self.busy().get(&home).map(|busy| (busy.term, busy.partition.clone()))
        else {
            return End::Lost;
        };
        tokio::select! {
            end = self.until_over(home, term) => end,
            () = partition.given_up() => End::Broken,
        }
    }

    async fn finish(&self, home: u32) {
        let partition = self.busy().get(&home).and_then(|busy| busy.partition.clone());
        if let Some(partition) = partition {
            partition.flush().await;
        }
    }

    fn release(&self, home: u32) {
        self.busy().remove(&home);
        self.give_back(home);
    }

    fn drain(&self) -> Duration {
        HANDOVER
    }

    async fn leave(&self) {
        if let Some(membership) = self.membership() {
            membership.leave().await;
        }
    }

    fn ours(&self) -> Option<BTreeSet<u32>> {
        let holds = self.state.holds.borrow();
        holds.admitted.then(|| holds.homes.keys().copied().collect())
    }

    fn trouble(&self) -> Option<String> {
        let waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let membership = || self.membership().and_then(Membership::trouble);
        let homes = || {
            let busy = self.busy();
            let untaken = busy.iter().filter_map(|(home, busy)| Some((home, busy.waiting.as_ref()?)));
            untaken.map(|(home, why)| format!("partition {home} is not taken over: {why}")).next()
        };
        waiting.or_else(membership).or_else(|| self.ledgers.trouble()).or_else(homes)
    }
}
