//! The ledgers in a compacted Kafka topic, written in one transaction with the events they speak of.
//!
//! A stream belongs to one partition of the topic; whoever owns the partition runs its streams. An owner's life:
//!
//! ```text
//!  group says ours ─▶ open the producer ─▶ owner entry ─▶ read until it is seen ─▶ batches, one transaction a time
//!                     (fences the last       (committed)    (read_committed: all      (records, dead letters and
//!                      owner, aborts what                    that the last owner       the ledgers' changes)
//!                      it left open)                         ever committed)
//! ```
//!
//! # Invariants
//! Nothing is asked of the API for a stream before its owner has read its own entry: what was committed before it is in
//! the ledger, and nothing can be committed behind it by another. An owner whose commit has no known outcome is given
//! up: only the topic knows. Never deletes a topic, never changes one that is there. A topic that was lost is made
//! again by [`rebuild`], and only while nobody owns any of it.

pub mod book;
pub mod fold;
pub mod format;
pub mod group;
mod partition;
mod reading;
pub mod rebuild;
mod topic;
mod trace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::ledger::{Checkpoint, StreamKey};
use crate::sink::kafka::{Settings, TRANSACTION_TIMEOUT, Topics, Transactions};
use crate::store::Error;
pub use format::Layout;
use format::Owner;
pub use group::{BYTES as TRANSACTION_BYTES, RECORDS as TRANSACTION_RECORDS};
pub use partition::Partition;
use reading::{Read, Until};
pub use topic::Found;

/// How long one try to open the producer may take: less than a confirmed ownership can be trusted.
const OPEN: Duration = Duration::from_secs(5);

/// The ledger topic, and the way to it and to the topics of its events.
#[derive(Debug, Clone)]
pub struct Options {
    /// Brokers, TLS and SASL; the events' topic and the records' keys.
    pub settings: Settings,
    pub topic: String,
    pub partitions: u32,
    /// Where dead letters go in the same transaction; none where they go elsewhere or nowhere.
    pub dead_letters: Option<String>,
}

/// The ledger topic.
#[derive(Debug)]
pub struct Ledgers {
    options: Options,
    layout: Layout,
    topics: Arc<Topics>,
    /// Those being opened, or in use.
    producers: Mutex<Vec<Weak<Transactions>>>,
}

/// Why a partition was not taken over; asking again is the caller's to decide.
#[derive(Debug, thiserror::Error)]
pub enum Untaken {
    /// No waiting heals it.
    #[error(transparent)]
    Fatal(#[from] Error),
    /// It may heal, or somebody else owns the partition: a sentence.
    #[error("{0}")]
    NotNow(String),
}

impl Ledgers {
    pub fn new(options: Options) -> Ledgers {
        let layout = Layout::of(options.partitions);
        Ledgers { topics: Topics::new(options.settings.clone()), layout, options, producers: Mutex::default() }
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Looks at the topic and changes nothing, for `check`.
    pub async fn look(&self) -> Result<Found, Untaken> {
        topic::look(self).await
    }

    /// Makes the topic where it is absent, looks at its settings where it is there, and writes its first entries where
    /// it is empty; to be done once before any take-over. Gives what is worth a warning.
    ///
    /// # Errors
    /// [`Untaken::Fatal`] where the topic is another's, or empty beside records that were written with it.
    pub async fn prepare(&self) -> Result<Vec<String>, Untaken> {
        topic::prepare(self).await
    }

    /// Takes the partition over from whoever has it. The group must have confirmed a moment ago that it is ours.
    ///
    /// # Cancellation
    /// Dropped, it may have fenced the last owner all the same.
    pub async fn take_over(&self, number: u32) -> Result<Partition, Untaken> {
        let producer = self.producer(&format!("{}-{number}", self.options.topic))?;
        producer.open(OPEN).await.map_err(|lost| Untaken::NotNow(lost.to_string()))?;
        crate::fail_point!("opened");
        let owner = Owner { token: random(), name: owner_name() };
        self.write(&producer, number, &[owner.entry()]).await?;
        crate::fail_point!("owned");
        let folded = match reading::read(self, number, Until::Owner(owner.token)).await {
            Ok(Read::Whole(folded)) => folded,
            Ok(Read::Stuck { offset }) => {
                let stuck = self.stuck(number, offset);
                tracing::warn!("{stuck}");
                return Err(Untaken::NotNow(stuck));
            }
            Err(untaken) => {
                // From under one who reads slowly, and was fenced meanwhile, compaction takes what its successor has
                // superseded. Only who can still write has read what there is.
                self.write(&producer, number, &[owner.entry()]).await?;
                return Err(untaken);
            }
        };
        crate::fail_point!("read");
        if let Some(offset) = folded.foreign {
            tracing::warn!(
                "partition {number} of ledger topic {} holds what isn't jumpstream's, from offset {offset} on; it is left \
                 out: find who writes there, and take Write on the topic from them",
                self.options.topic
            );
        }
        if folded.format.is_none() {
            return Err(Error::Emptied { topic: self.options.topic.clone(), events: self.events() }.into());
        }
        if folded.wants_format() {
            self.write(&producer, number, &[self.layout.entry()]).await?;
        }
        Ok(Partition::new(number, self, producer, folded.streams))
    }

    /// The ledgers as they are committed by now, read beside whoever owns them: takes nothing over, joins no group and
    /// writes nothing.
    pub async fn peek(&self) -> Result<BTreeMap<StreamKey, Checkpoint>, Untaken> {
        let mut ledgers = BTreeMap::new();
        for number in 0..self.options.partitions {
            match reading::read(self, number, Until::Now).await? {
                Read::Whole(folded) => {
                    ledgers.extend(folded.streams.into_iter().map(|(stream, (ledger, _))| (stream, ledger)));
                }
                Read::Stuck { offset } => return Err(Untaken::NotNow(self.stuck(number, offset))),
            }
        }
        Ok(ledgers)
    }

    /// What a take-over or a commit is waiting for at this moment; none when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.producers().iter().filter_map(Weak::upgrade).find_map(|producer| producer.trouble())
    }

    fn producer(&self, id: &str) -> Result<Arc<Transactions>, Error> {
        self.producer_lasting(id, TRANSACTION_TIMEOUT)
    }

    /// Of transactions that may be open for so long.
    fn producer_lasting(&self, id: &str, timeout: Duration) -> Result<Arc<Transactions>, Error> {
        let events = self.options.settings.topic.known().map(str::to_owned);
        let usual = [events, Some(self.options.topic.clone()), self.options.dead_letters.clone()];
        let producer = Transactions::new(self.topics.clone(), id, usual.into_iter().flatten().collect())
            .map_err(|fault| Error::Client { topic: self.options.topic.clone(), fault: fault.to_string() })?;
        let producer = Arc::new(producer.lasting(timeout));
        let mut producers = self.producers();
        producers.retain(|producer| producer.strong_count() > 0);
        producers.push(Arc::downgrade(&producer));
        Ok(producer)
    }

    fn producers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Transactions>>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes entries of ours in a transaction of their own.
    async fn write(&self, producer: &Transactions, number: u32, entries: &[format::Entry]) -> Result<(), Untaken> {
        let topic = &self.options.topic;
        group::write_entries(producer, topic, number, entries).await.map_err(Untaken::NotNow)
    }

    /// Where the events go, in words.
    fn events(&self) -> String {
        self.options.settings.topic.to_string()
    }

    fn stuck(&self, number: u32, offset: i64) -> String {
        let topic = &self.options.topic;
        let tool = format!("kafka-transactions.sh --bootstrap-server {}", self.options.settings.brokers.join(","));
        format!(
            "an open transaction that isn't ours hides partition {number} of ledger topic {topic} from offset {offset} on; \
             find whose it is: {tool} describe-producers --topic {topic} --partition {number}; end that producer, or the \
             transaction: {tool} abort --topic {topic} --partition {number} --start-offset {offset}"
        )
    }
}

fn random() -> [u8; 16] {
    let mut token = [0; 16];
    getrandom::fill(&mut token).expect("the operating system has random numbers");
    token
}

/// This process, for people who read the topic.
fn owner_name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host} pid {} jumpstream {}", std::process::id(), env!("CARGO_PKG_VERSION"))
}
