//! Batches of several streams as the messages of one transaction.
//!
//! # Invariants
//! Pure but for [`write_entries`]: which message belongs to which batch, nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::commit::{self, Batch};
use crate::ledger::StreamKey;
use crate::record::{DeadLetter, Instants, Record};
use crate::sink::Refused;
use crate::sink::kafka::{Outcome, Outgoing, Settings, Transactions};
use crate::store::kafka::format::Entry;

/// Where a transaction is full, in records and in bytes: more would delay its readers, and cost more to send again.
pub const RECORDS: usize = 10_000;
pub const BYTES: usize = 16 << 20;

/// A batch that waits for its transaction.
pub(super) struct Submission {
    pub stream: StreamKey,
    pub batch: Arc<Batch>,
    /// What the batch changes in the ledger.
    pub entries: Vec<Entry>,
    pub answer: oneshot::Sender<Result<Vec<Refused>, commit::Error>>,
}

impl Submission {
    fn bytes(&self) -> usize {
        let entries: usize = self.entries.iter().map(Entry::size).sum();
        entries + self.batch.records.iter().map(|record| record.value.len()).sum::<usize>()
    }
}

/// The batches of one transaction.
#[derive(Default)]
pub(super) struct Group {
    pub submissions: Vec<Submission>,
    records: usize,
    bytes: usize,
}

/// A message's place: which batch, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Record(usize, usize),
    Dead(usize, usize),
    Entry(usize, usize),
}

impl Place {
    /// Its batch's.
    pub fn submission(self) -> usize {
        match self {
            Place::Record(number, _) | Place::Dead(number, _) | Place::Entry(number, _) => number,
        }
    }
}

impl Group {
    pub fn add(&mut self, submission: Submission) {
        self.records += submission.batch.records.len();
        self.bytes += submission.bytes();
        self.submissions.push(submission);
    }

    pub fn is_full(&self) -> bool {
        self.records >= RECORDS || self.bytes >= BYTES
    }

    /// Takes these batches out.
    pub fn remove(&mut self, submissions: &BTreeSet<usize>) -> impl Iterator<Item = Submission> + use<> {
        let mut removed = Vec::new();
        for (number, submission) in std::mem::take(self).submissions.into_iter().enumerate() {
            match submissions.contains(&number) {
                true => removed.push(submission),
                false => self.add(submission),
            }
        }
        removed.into_iter()
    }

    /// All messages in their order: each batch's records, dead letters (unless they were buried before) and entries.
    pub fn places(&self, dead_letters_within: bool) -> Vec<Place> {
        let mut places = Vec::with_capacity(self.records + 16);
        for (number, Submission { batch, entries, .. }) in self.submissions.iter().enumerate() {
            places.extend((0..batch.records.len()).map(|index| Place::Record(number, index)));
            let dead = if dead_letters_within { batch.dead.len() } else { 0 };
            places.extend((0..dead).map(|index| Place::Dead(number, index)));
            places.extend((0..entries.len()).map(|index| Place::Entry(number, index)));
        }
        places
    }

    /// The texts of the records' instants, made once a transaction.
    pub fn instants(&self) -> Vec<Instants> {
        self.submissions.iter().map(|submission| Instants::of(&submission.batch.records)).collect()
    }
}

/// How messages look, and where they go.
pub(super) struct Way<'a> {
    pub settings: &'a Settings,
    pub dead_letters: Option<&'a str>,
    pub ledger: &'a str,
    pub partition: u32,
}

impl Way<'_> {
    pub fn message<'a>(&'a self, group: &'a Group, instants: &'a [Instants], place: Place) -> Outgoing<'a> {
        match place {
            Place::Record(number, index) => {
                self.record(&group.submissions[number].batch.records[index], &instants[number])
            }
            Place::Dead(number, index) => self.dead_letter(&group.submissions[number].batch.dead[index]),
            Place::Entry(number, index) => {
                entry(self.ledger, self.partition, &group.submissions[number].entries[index])
            }
        }
    }

    pub fn record<'a>(&'a self, record: &'a Record, instants: &'a Instants) -> Outgoing<'a> {
        self.settings.record(record, instants.text(record.ingested_at))
    }

    fn dead_letter<'a>(&'a self, letter: &'a DeadLetter) -> Outgoing<'a> {
        // Without a topic they were buried before, and none is left here.
        self.settings.dead_letter(self.dead_letters.unwrap_or_default(), letter)
    }
}

pub(super) fn entry<'a>(topic: &'a str, partition: u32, entry: &'a Entry) -> Outgoing<'a> {
    let outgoing = Outgoing::to(topic, Some(&entry.key), entry.value.as_deref());
    Outgoing { partition: Some(partition as i32), ..outgoing }
}

/// Writes entries in a transaction of their own; an error is a sentence.
pub(super) async fn write_entries(
    producer: &Transactions,
    topic: &str,
    partition: u32,
    entries: &[Entry],
) -> Result<(), String> {
    match producer.commit(entries.len(), |index| entry(topic, partition, &entries[index])).await {
        Ok(Outcome::Committed) => Ok(()),
        Ok(Outcome::Refused(refused)) => Err(refused.into_iter().map(|refused| refused.explanation).collect()),
        Err(lost) => Err(lost.to_string()),
    }
}

/// What several streams have to write, transaction by transaction, each of `few` entries or a stream more: a stream's are in
/// one, since the parts of a large hour say nothing without each other.
pub fn in_transactions(streams: Vec<Vec<Entry>>, few: usize) -> Vec<Vec<Entry>> {
    let mut transactions: Vec<Vec<Entry>> = Vec::new();
    for entries in streams.into_iter().filter(|entries| !entries.is_empty()) {
        match transactions.last_mut() {
            Some(last) if last.len() < few => last.extend(entries),
            _ => transactions.push(entries),
        }
    }
    transactions
}
