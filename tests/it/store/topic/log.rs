//! A partition of a compacted topic, as a reader meets it.

use std::collections::BTreeMap;

use fastrand::Rng;
use jumpstream::ledger::StreamKey;
use jumpstream::store::kafka::fold::{Error, Fold, Folded};
use jumpstream::store::kafka::format::{Entry, Key, Layout};

#[derive(Debug, Clone, Default)]
pub struct Log {
    records: Vec<(i64, Entry)>,
    end: i64,
}

impl Log {
    /// With its first record.
    pub fn new(layout: Layout) -> Log {
        let mut log = Log::default();
        log.append(vec![layout.entry()]);
        log
    }

    pub fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.records.push((self.end, entry));
            self.end += 1;
        }
    }

    /// The offset of the next record.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Removes any of the records that a later one of the same key supersedes, and any tombstone that nothing of its key
    /// stands before.
    pub fn compact(&mut self, rng: &mut Rng) {
        let percent = rng.u8(..=100);
        let mut last = BTreeMap::new();
        for (offset, entry) in &self.records {
            last.insert(entry.key.clone(), *offset);
        }
        self.records.retain(|(offset, entry)| last[&entry.key] == *offset || rng.u8(..100) >= percent);
        let mut seen = BTreeMap::new();
        self.records.retain(|(_, entry)| {
            let first = seen.insert(entry.key.clone(), ()).is_none();
            !(first && entry.value.is_none() && last[&entry.key] >= 0 && rng.u8(..100) < percent)
        });
    }

    pub fn fold(&self, layout: Layout) -> Result<Folded, Error> {
        let mut fold = Fold::new(0, layout);
        for (offset, entry) in &self.records {
            fold.take(*offset, &entry.key, entry.value.as_deref())?;
        }
        fold.finish()
    }

    /// The numbers of a stream's commit entries that have a value.
    pub fn live(&self, of: &StreamKey) -> Vec<u64> {
        let mut newest = BTreeMap::new();
        for (_, entry) in &self.records {
            newest.insert(Key::decode(&entry.key).unwrap(), entry.value.is_some());
        }
        let number = |(key, has_value): (Key, bool)| match key {
            Key::Commit { stream, number } if has_value && stream == *of => Some(number),
            _ => None,
        };
        newest.into_iter().filter_map(number).collect()
    }
}
