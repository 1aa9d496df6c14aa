//! Model sinks, a model store and a model transaction, all in one memory that survives every crash of who uses them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::commit::{self, Batch, Transactional};
use jumpstream::event::Event;
use jumpstream::ledger::{Checkpoint, Coverage, FingerprintKey, Hindrances, Standing, StreamKey};
use jumpstream::record::{DeadLetter, Delivery, Reason, Record};
use jumpstream::sink::{self, DeadLetters, Refused, Sink};
use jumpstream::store::{self, Store};
use tokio::sync::Notify;

/// An effect that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Delivered(usize),
    Buried,
    Saved,
    Transacted,
}

/// The log of what the transaction made visible.
pub const TRANSACTED: usize = 99;

#[derive(Default)]
pub struct World {
    inner: Mutex<Inner>,
    crash: Notify,
}

#[derive(Default)]
struct Inner {
    acts: Vec<Act>,
    /// What each sink holds, in order.
    logs: BTreeMap<usize, Vec<Bytes>>,
    /// How much of the first sink's log was there at the last checkpoint.
    settled: usize,
    buried: Vec<DeadLetter>,
    stored: Option<Checkpoint>,
    refused: Vec<(usize, u64)>,
    /// The step that fails, counted from 0.
    failing: Option<usize>,
    trouble: Option<Trouble>,
    /// Steps until [`World::crash`].
    until_crash: u32,
}

struct Trouble {
    rng: Rng,
    /// One step in this many fails.
    failing: u64,
}

/// What an effect meets: pauses, how much of it is done before the last one, and whether it fails then.
struct Fate {
    pauses: u32,
    reached: usize,
    fails: bool,
}

impl World {
    pub fn new() -> Arc<World> {
        Arc::default()
    }

    /// The sink `place` will never take the event `number`.
    pub fn refuse(&self, place: usize, number: u64) {
        self.inner().refused.push((place, number));
    }

    pub fn fail_at(&self, step: usize) {
        self.inner().failing = Some(step);
    }

    /// From now on effects pause at random and one in `failing` fails half way.
    pub fn trouble(&self, rng: Rng, failing: u64) {
        self.inner().trouble = Some(Trouble { rng, failing });
    }

    pub fn calm(&self) {
        self.inner().trouble = None;
    }

    /// Ready once so many steps of effects are done: then is the time to crash.
    pub async fn crash(&self, steps: u32) {
        self.inner().until_crash = steps;
        self.crash.notified().await;
    }

    /// Gives others their turn, so many times.
    async fn pause(&self, steps: u32) {
        for _ in 0..steps {
            let left = {
                let mut inner = self.inner();
                inner.until_crash = inner.until_crash.saturating_sub(1);
                inner.until_crash
            };
            if left == 0 {
                self.crash.notify_waiters();
            }
            tokio::task::yield_now().await;
        }
    }

    pub fn acts(&self) -> Vec<Act> {
        self.inner().acts.clone()
    }

    pub fn values(&self, place: usize) -> Vec<Bytes> {
        self.inner().logs.get(&place).cloned().unwrap_or_default()
    }

    /// What the first sink got since the last checkpoint.
    pub fn unsettled(&self) -> Vec<Bytes> {
        self.values(0).split_off(self.inner().settled)
    }

    /// The numbers of the events in a sink's log.
    pub fn log(&self, place: usize) -> Vec<u64> {
        self.values(place).iter().map(number).collect()
    }

    pub fn buried(&self) -> Vec<DeadLetter> {
        self.inner().buried.clone()
    }

    /// The events that the folded checkpoints say are delivered.
    pub fn saved(&self) -> Vec<u64> {
        let stored = self.inner().stored.clone();
        stored.map_or_else(Vec::new, |stored| stored.delivered.into_values().flatten().collect())
    }

    pub fn sink(self: &Arc<World>, place: usize) -> Arc<dyn Sink> {
        Arc::new(ModelSink { world: self.clone(), place })
    }

    pub fn dead_letters(self: &Arc<World>) -> Arc<dyn DeadLetters> {
        Arc::new(ModelStore(self.clone()))
    }

    pub fn store(self: &Arc<World>) -> Arc<dyn Store> {
        Arc::new(ModelStore(self.clone()))
    }

    /// Its records go to the log [`TRANSACTED`].
    pub fn transaction(self: &Arc<World>) -> Arc<dyn Transactional> {
        Arc::new(ModelStore(self.clone()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Those that the transaction's far end never takes.
    fn refusals(&self, records: &[Record]) -> Vec<Refused> {
        let inner = self.inner();
        let refused = |record: &Record| inner.refused.contains(&(TRANSACTED, number(&record.value)));
        let places = records.iter().enumerate().filter(|(_, record)| refused(record));
        let explanation = |record: &Record| format!("the model refuses {}", number(&record.value));
        places
            .map(|(index, record)| Refused { index, reason: Reason::Refused, explanation: explanation(record) })
            .collect()
    }

    fn fold(&self, checkpoint: &Checkpoint) {
        let mut inner = self.inner();
        match &mut inner.stored {
            Some(stored) => stored.fold(checkpoint.clone()),
            None => inner.stored = Some(checkpoint.clone()),
        }
    }

    /// Decides on an effect on `size` things; others have their turn first, so that a crash may find it undone.
    async fn fate(&self, size: usize) -> Fate {
        let fate = {
            let mut inner = self.inner();
            let done = inner.acts.len();
            let fails = inner.failing == Some(done);
            match &mut inner.trouble {
                Some(Trouble { rng, failing }) => Fate {
                    pauses: if rng.u8(..4) == 0 { rng.u32(1..40) } else { rng.u32(..3) },
                    reached: rng.usize(..=size),
                    fails: rng.u64(..*failing) == 0,
                },
                None => Fate { pauses: 0, reached: 0, fails },
            }
        };
        self.pause(fate.pauses).await;
        fate
    }
}

struct ModelSink {
    world: Arc<World>,
    place: usize,
}

#[async_trait]
impl Sink for ModelSink {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, sink::Error> {
        let fate = self.world.fate(records.len()).await;
        let mut refused = self.take(&records[..fate.reached], 0);
        // Here a crash finds a part delivered.
        self.world.pause(fate.pauses).await;
        if fate.fails {
            return Err(sink::Error::Kafka("the model fails".to_owned()));
        }
        refused.extend(self.take(&records[fate.reached..], fate.reached));
        self.world.inner().acts.push(Act::Delivered(self.place));
        Ok(refused)
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

impl ModelSink {
    fn take(&self, records: &[Record], from: usize) -> Vec<Refused> {
        let mut inner = self.world.inner();
        let mut refused = Vec::new();
        for (place, record) in records.iter().enumerate() {
            if !inner.refused.is_empty() && inner.refused.contains(&(self.place, number(&record.value))) {
                let explanation = format!("the model refuses {}", number(&record.value));
                refused.push(Refused { index: from + place, reason: Reason::Refused, explanation });
            } else {
                inner.logs.entry(self.place).or_default().push(record.value.clone());
            }
        }
        refused
    }
}

struct ModelStore(Arc<World>);

#[async_trait]
impl Store for ModelStore {
    async fn load(&self, _: &StreamKey) -> Result<Option<Checkpoint>, store::Error> {
        Ok(self.0.inner().stored.clone())
    }

    async fn save(&self, _: &StreamKey, checkpoint: &Checkpoint) -> Result<(), store::Error> {
        let fate = self.0.fate(1).await;
        // Whether it became durable is not always known.
        if !fate.fails || fate.reached == 1 {
            self.0.fold(checkpoint);
        }
        if fate.fails {
            let source = std::io::Error::other("the model fails");
            return Err(store::Error::File { path: "model".to_owned(), source });
        }
        let mut inner = self.0.inner();
        inner.settled = inner.logs.get(&0).map_or(0, Vec::len);
        inner.acts.push(Act::Saved);
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

#[async_trait]
impl DeadLetters for ModelStore {
    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), sink::Error> {
        let fate = self.0.fate(letters.len()).await;
        let mut inner = self.0.inner();
        if fate.fails {
            inner.buried.extend_from_slice(&letters[..fate.reached]);
            return Err(sink::Error::Kafka("the model fails".to_owned()));
        }
        inner.buried.extend_from_slice(letters);
        inner.acts.push(Act::Buried);
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

#[async_trait]
impl Transactional for ModelStore {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn commit(&self, _: &StreamKey, batch: &Arc<Batch>) -> Result<Vec<Refused>, commit::Error> {
        let fate = self.0.fate(1).await;
        let refused = self.0.refusals(&batch.records);
        if !refused.is_empty() {
            return Ok(refused);
        }
        // All or nothing, whatever the caller learns of it.
        if !fate.fails || fate.reached == 1 {
            self.0.fold(&batch.checkpoint);
            let values = batch.records.iter().map(|record| record.value.clone());
            self.0.inner().logs.entry(TRANSACTED).or_default().extend(values);
        }
        if fate.fails {
            return Err(store::Error::GivenUp("the model fails".to_owned()).into());
        }
        self.0.inner().acts.push(Act::Transacted);
        Ok(Vec::new())
    }
}

pub fn key() -> StreamKey {
    StreamKey { organization: "5f00000000000000000000aa".to_owned(), service: "all".to_owned() }
}

/// A record whose event is that number.
pub fn record(number: u64) -> Record {
    let json = format!(r#"{{"id":"{number}","timestamp":"2026-03-02T08:00:00Z"}}"#);
    let event = Event::parse(Bytes::from(json)).unwrap();
    Record {
        value: event.bytes().clone(),
        event,
        delivery: Delivery::Live,
        ingested_at: Time::from_secs(1_772_440_416),
        organization: "5f00000000000000000000aa".into(),
    }
}

fn number(value: &Bytes) -> u64 {
    Event::parse(value.clone()).unwrap().id().unwrap().parse().unwrap()
}

/// Says that `events` are delivered.
pub fn checkpoint(events: &[u64]) -> Checkpoint {
    Checkpoint {
        key: FingerprintKey([7; 16]),
        first_run: Time::default(),
        start: Time::default(),
        edge: None,
        coverage: Coverage::default(),
        standing: Standing::default(),
        oldest_shown: Duration::ZERO,
        hindrances: Hindrances::default(),
        delivered: BTreeMap::from([(1, events.to_vec())]),
        hours: BTreeMap::new(),
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    }
}
