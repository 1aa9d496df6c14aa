//! A lost ledger topic, made again from the records of the events' topics.
//!
//! ```text
//!  nobody is there ─▶ fence ─▶ read the events' topics ─▶ one transaction: everything, and the first entries
//!  (topic empty,      (each partition's   (to their end as it is now)
//!   group empty)       last owner)
//! ```
//!
//! All is written in one transaction, so half of it is nothing: a topic that `run` refuses as empty, where this can be
//! done again. Its transactional id is the one that begins a topic, so that of two who make or begin a ledger only the
//! last one can commit, and whoever has that id looks once more whether the topic is empty still.
//!
//! # Invariants
//! Never writes to a topic that holds anything. What an owner of the lost ledger left behind can't become visible
//! after it was read: its id is fenced before. Claims nothing as read.

pub mod gather;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::consumer::Consumer as _;

use crate::clock::{self, Time};
use crate::ledger::rebuild::Found;
use crate::ledger::{FingerprintKey, Rebuild, StreamKey};
use crate::sink::kafka::Outcome;
use crate::store::kafka::format::{Entry, Key, encode_commit, encode_hour};
use crate::store::kafka::topic::{self, blocking};
use crate::store::kafka::{Ledgers, Untaken, group, random, reading};
pub use gather::Account;
use gather::Gather;
pub use read::{Progress, Tally, Topics};

/// How long it may take until a transactional id is ours.
const FENCE: Duration = Duration::from_secs(30);
/// So many ids are taken over at a time.
const AT_ONCE: usize = 8;
/// How long the transaction may be open: some GB at 10 MB/s. Brokers allow 15 min by default.
const WRITE: Duration = Duration::from_secs(300);
/// How long members of the group may take to be gone: one that was killed stays for its session, 6 s.
const LEAVING: Duration = Duration::from_secs(8);
const ASK: Duration = Duration::from_secs(10);

/// What is wanted, as configured.
#[derive(Clone)]
pub struct Request {
    pub accounts: Vec<Account>,
    /// Where coverage begins for a stream first seen at the time given.
    pub start: Arc<dyn Fn(Time) -> Time + Send + Sync>,
    /// The replicas' group, in which nobody may be.
    pub group: String,
    /// Topics to read beside those that events may go to.
    pub topics: Vec<String>,
    /// Nothing is changed: no owner fenced, no topic made, nothing written.
    pub dry: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Rebuilt {
    pub topics: Topics,
    pub streams: BTreeMap<StreamKey, Made>,
    /// What was written to the ledger topic, or would be.
    pub entries: usize,
    pub bytes: usize,
}

/// One stream's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub found: Found,
    /// From when on everything is read again.
    pub start: Time,
}

impl Ledgers {
    /// Makes the ledgers again from what the events' topics hold.
    ///
    /// # Errors
    /// [`Untaken::Fatal`] where the topic holds anything, or has another layout than configured.
    ///
    /// # Cancellation
    /// Dropped, it has written all or nothing.
    pub async fn rebuild(&self, request: &Request, progress: &Arc<Progress>) -> Result<Rebuilt, Untaken> {
        let there = topic::vacant(self).await?;
        self.nobody_in(&request.group).await?;
        if !request.dry {
            self.fence().await?;
            if !there {
                topic::create(self).await?;
            }
        }
        let (gather, topics) = self.gather(request, progress).await?;
        crate::fail_point!("gathered");
        if topics.values().all(Tally::is_foreign) {
            return Err(self.nothing_found(&topics));
        }
        let (streams, entries) = make(gather, |stream| self.layout.partition(stream), &*request.start);
        let rebuilt = Rebuilt {
            topics,
            streams,
            entries: entries.len(),
            bytes: entries.iter().map(|(_, entry)| entry.size()).sum(),
        };
        if !request.dry {
            self.write_all(&entries, &request.group).await?;
            crate::fail_point!("rebuilt");
        }
        Ok(rebuilt)
    }

    /// A member may commit what we have not read.
    async fn nobody_in(&self, group: &str) -> Result<(), Untaken> {
        let deadline = clock::uptime() + LEAVING;
        loop {
            let members = self.members(group).await?;
            if members == 0 {
                return Ok(());
            }
            if clock::uptime() > deadline {
                return Err(Untaken::NotNow(format!(
                    "group {group} has {members} members, so replicas are running; stop all of them and run this again \
                     (one that was killed is gone after 6 s)"
                )));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn members(&self, group: &str) -> Result<usize, Untaken> {
        let (settings, config, group) = (self.options.settings.clone(), reading::reader(self)?, group.to_owned());
        blocking(move || {
            let unknown = |error| format!("whether replicas are running is not known: group {group}: {error}");
            let consumer = settings.consumer(&config).map_err(unknown)?;
            let found = consumer.fetch_group_list(Some(&group), ASK).map_err(unknown)?;
            Ok(found.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len()).sum())
        })
        .await
    }

    /// What the last owners left open is aborted, and a frozen one that wakes can commit nothing.
    async fn fence(&self) -> Result<(), Untaken> {
        let all: Vec<u32> = (0..self.options.partitions).collect();
        for some in all.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|number| async move {
                let producer = self.producer(&format!("{}-{number}", self.options.topic))?;
                producer.open(FENCE).await.map_err(|lost| Untaken::NotNow(lost.to_string()))
            }))
            .await?;
        }
        Ok(())
    }

    async fn gather(&self, request: &Request, progress: &Arc<Progress>) -> Result<(Gather, Topics), Untaken> {
        let gather = Gather::new(&self.options.topic, request.accounts.clone(), || FingerprintKey(random()));
        let (settings, config) = (self.options.settings.clone(), reading::reader(self)?);
        let (further, progress) = (request.topics.clone(), progress.clone());
        blocking(move || read::read(&read::Readers::open(settings, config)?, gather, &further, &progress)).await
    }

    fn nothing_found(&self, topics: &Topics) -> Untaken {
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        let ledger = &self.options.topic;
        Untaken::NotNow(format!(
            "topic {} holds no record that was written with ledger topic {ledger}, so there is nothing to make again; \
             run begins anew by itself",
            names.join(", ")
        ))
    }

    async fn write_all(&self, entries: &[(u32, Entry)], group: &str) -> Result<(), Untaken> {
        let topic = &self.options.topic;
        let producer = self.producer_lasting(&format!("{topic}-begin"), WRITE)?;
        producer.open(FENCE).await.map_err(|lost| Untaken::NotNow(lost.to_string()))?;
        // Another may have begun it, before the id was ours.
        topic::vacant(self).await?;
        self.nobody_in(group).await?;
        let layout = self.layout.entry();
        let partitions = self.options.partitions as usize;
        let message = |index: usize| match index.checked_sub(partitions) {
            None => group::entry(topic, index as u32, &layout),
            Some(index) => group::entry(topic, entries[index].0, &entries[index].1),
        };
        match producer.commit(partitions + entries.len(), message).await {
            Ok(Outcome::Committed) => Ok(()),
            Ok(Outcome::Refused(refused)) => {
                Err(Untaken::NotNow(refused.into_iter().map(|refused| refused.explanation).collect()))
            }
            Err(lost) => Err(Untaken::NotNow(format!("{lost}; all of it was written or nothing: run it again"))),
        }
    }
}

impl Tally {
    /// Whether nothing of it was written with this ledger.
    fn is_foreign(&self) -> bool {
        let Tally { events, replays, unreadable, unowned, .. } = self;
        events + replays + unreadable + unowned == 0
    }
}

/// The ledgers' entries, each for its partition. The fingerprints' memory becomes the entries' hour by hour.
fn make(
    gather: Gather,
    partition: impl Fn(&StreamKey) -> u32,
    configured: &dyn Fn(Time) -> Time,
) -> (BTreeMap<StreamKey, Made>, Vec<(u32, Entry)>) {
    let gathered = gather.finish();
    // A stream of which nothing is left was seen as early as any other, for all that is known.
    let first = gathered.iter().filter_map(|(_, rebuild)| rebuild.found().since).min().unwrap_or_else(clock::wall);
    let (mut streams, mut entries) = (BTreeMap::new(), Vec::new());
    for (stream, rebuild) in gathered {
        let found = *rebuild.found();
        let since = found.since.unwrap_or(first);
        let start = found.start(since, configured);
        let own = stream_entries(&stream, rebuild, since, start);
        let partition = partition(&stream);
        entries.extend(own.map(|entry| (partition, entry)));
        streams.insert(stream, Made { found, start });
    }
    (streams, entries)
}

/// A stream's first commit, and every hour whole as of it.
pub fn stream_entries(
    stream: &StreamKey,
    mut rebuild: Rebuild,
    since: Time,
    start: Time,
) -> impl Iterator<Item = Entry> {
    const FIRST: u64 = 1;
    let head = encode_commit(&rebuild.head(since, start), |_| false);
    let commit = Entry { key: Key::Commit { stream: stream.clone(), number: FIRST }.encode(), value: Some(head) };
    let hours = std::iter::from_fn(move || rebuild.take_hour()).flat_map(move |whole| {
        let parts = encode_hour(&whole.minutes, Some(&whole.total), FIRST);
        let key = |part| Key::Hour { stream: stream.clone(), hour: whole.hour, part };
        let parts = (0..).zip(parts).map(|(part, mut value)| {
            value.shrink_to_fit();
            Entry { key: key(part).encode(), value: Some(value) }
        });
        parts.collect::<Vec<_>>()
    });
    [commit].into_iter().chain(hours)
}
