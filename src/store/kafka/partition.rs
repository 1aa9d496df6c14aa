//! A partition that is ours: its streams' batches, gathered into one transaction after the other.
//!
//! # Invariants
//! One transaction at a time; each batch is in one transaction whole. Whatever is in doubt gives the partition up. A
//! batch whose topic can't be had waits for it aside, and holds up its own stream alone.
//!
//! # Cancellation
//! Dropping a [`Partition`] is the crash of this owner: the transaction under way is committed or not, and the next
//! owner finds out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::{self, Time};
use crate::commit::{self, Batch, Transactional};
use crate::ledger::{Checkpoint, Coverage, Hour, StreamKey};
use crate::retry::Schedule;
use crate::sink::kafka::{Attempt, Outcome, Transactions};
use crate::sink::{self, Refused, Wait};
use crate::store::kafka::Ledgers;
use crate::store::kafka::Options;
use crate::store::kafka::book::Book;
use crate::store::kafka::format::Entry;
use crate::store::kafka::group::{Group, Place, Submission, Way, in_transactions, write_entries};
use crate::store::{self, Store};

/// How often checkpoints that deliver nothing are written, those of all streams together.
const IDLE: Duration = Duration::from_secs(300);
/// Where a transaction of theirs is full, in entries: few KB each, but for whole hours of up to 256 KiB.
const IDLE_ENTRIES: usize = 64;
/// Rising pauses between tries of what is aside: each costs a transaction.
const PAUSE: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(10);
/// So many batches wait at most; each stream has one at a time.
const WAITING: usize = 1_024;

/// A partition of the ledger topic, taken over.
pub struct Partition {
    books: Arc<Books>,
    producer: Arc<Transactions>,
    orders: mpsc::Sender<Order>,
    /// Ends with the partition.
    _work: JoinSet<()>,
}

/// What the task that commits is asked for.
enum Order {
    Commit(Submission),
    /// To write what was kept back.
    Flush(oneshot::Sender<()>),
}

/// What is known of the streams' ledgers in the topic.
#[derive(Default)]
struct Books(Mutex<BTreeMap<StreamKey, Shelf>>);

/// One stream's.
struct Shelf {
    book: Book,
    /// As it was folded, until the stream asks for it.
    folded: Option<Checkpoint>,
    /// Whether the stream has asked: from then on its own ledger is ahead of what was folded.
    loaded: bool,
    /// What delivers nothing: written with the stream's next batch, or in a while.
    idle: Option<Checkpoint>,
    /// What the topic claims, or will with the transaction under way.
    claim: Option<Claim>,
    /// Of a batch that was refused in part: what is left of it brings the same checkpoint again.
    refused: Option<Vec<Entry>>,
}

/// What a checkpoint says has been read.
struct Claim {
    start: Time,
    edge: Option<Time>,
    coverage: Coverage,
}

impl Claim {
    fn of(checkpoint: &Checkpoint) -> Claim {
        let Checkpoint { start, edge, coverage, .. } = checkpoint;
        Claim { start: *start, edge: *edge, coverage: coverage.clone() }
    }

    /// Whether losing `later` costs a little reading and nothing else: its start is the same, which is resolved once, and
    /// it takes nothing back, which would be claimed as read.
    fn is_safe_without(&self, later: &Checkpoint) -> bool {
        let kept = self.coverage.ranges().iter().all(|range| later.coverage.covers(range));
        kept && self.start == later.start && self.edge <= later.edge
    }
}

impl Shelf {
    fn of(stream: &StreamKey) -> Shelf {
        let book = Book::new(stream.clone());
        Shelf { book, folded: None, loaded: false, idle: None, claim: None, refused: None }
    }

    /// What the checkpoint changes, with what has waited for it.
    fn entries(&mut self, checkpoint: &Checkpoint) -> Vec<Entry> {
        if let Some(entries) = self.refused.take() {
            return entries;
        }
        self.claim = Some(Claim::of(checkpoint));
        let mut entries = self.idle_entries();
        entries.extend(self.book.entries(checkpoint, clock::wall()));
        entries
    }

    /// Gives it back where it must not be lost.
    fn keep_idle(&mut self, checkpoint: Checkpoint) -> Result<(), Box<Checkpoint>> {
        if !self.claim.as_ref().is_some_and(|claim| claim.is_safe_without(&checkpoint)) {
            return Err(Box::new(checkpoint));
        }
        match &mut self.idle {
            Some(idle) => idle.absorb_idle(checkpoint),
            None => self.idle = Some(checkpoint),
        }
        Ok(())
    }

    fn idle_entries(&mut self) -> Vec<Entry> {
        let Some(idle) = self.idle.take() else { return Vec::new() };
        self.claim = Some(Claim::of(&idle));
        self.book.entries(&idle, clock::wall())
    }
}

impl Books {
    fn shelf<T>(&self, stream: &StreamKey, look: impl FnOnce(&mut Shelf) -> T) -> T {
        look(self.shelves().entry(stream.clone()).or_insert_with(|| Shelf::of(stream)))
    }

    fn shelves(&self) -> MutexGuard<'_, BTreeMap<StreamKey, Shelf>> {
        // Nothing in here panics half way, so a poisoned shelf is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partition {
    pub(super) fn new(
        number: u32,
        ledgers: &Ledgers,
        producer: Arc<Transactions>,
        folded: BTreeMap<StreamKey, (Checkpoint, Book)>,
    ) -> Partition {
        let shelves = folded.into_iter().map(|(stream, (folded, book))| {
            let claim = Some(Claim::of(&folded));
            (stream, Shelf { book, folded: Some(folded), loaded: false, idle: None, claim, refused: None })
        });
        let books = Arc::new(Books(Mutex::new(shelves.collect())));
        let (orders, waiting) = mpsc::channel(WAITING);
        let work = Work { number, options: ledgers.options.clone(), books: books.clone(), producer: producer.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(work.run(waiting));
        Partition { books, producer, orders, _work: tasks }
    }

    /// Writes what was kept back, so that the next owner begins where we end.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.orders.send(Order::Flush(answer)).await.is_ok() {
            // Lost with the partition, which costs a little reading.
            let _ = answered.await;
        }
    }

    /// Ready when the partition has to be given up: nothing can be committed any more.
    pub async fn given_up(&self) {
        self.orders.closed().await;
    }

    /// A checkpoint without records.
    async fn write(&self, stream: &StreamKey, checkpoint: Checkpoint) -> Result<(), store::Error> {
        let batch = Batch { records: Vec::new(), dead: Vec::new(), checkpoint };
        match self.submit(stream, Arc::new(batch)).await {
            Ok(_) => Ok(()),
            Err(commit::Error::Store(error)) => Err(error),
            Err(error) => Err(store::Error::GivenUp(error.to_string())),
        }
    }

    async fn submit(&self, stream: &StreamKey, batch: Arc<Batch>) -> Result<Vec<Refused>, commit::Error> {
        let gone = || commit::Error::from(store::Error::GivenUp("the partition was given up".to_owned()));
        let entries = self.books.shelf(stream, |shelf| shelf.entries(&batch.checkpoint));
        let (answer, answered) = oneshot::channel();
        let submission = Submission { stream: stream.clone(), batch, entries, answer };
        self.orders.send(Order::Commit(submission)).await.map_err(|_| gone())?;
        crate::fail_point!("submitted");
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

#[async_trait]
impl Transactional for Partition {
    fn name(&self) -> &'static str {
        "kafka"
    }

    async fn commit(&self, stream: &StreamKey, batch: &Arc<Batch>) -> Result<Vec<Refused>, commit::Error> {
        self.submit(stream, batch.clone()).await
    }
}

#[async_trait]
impl Store for Partition {
    async fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, store::Error> {
        let load = |shelf: &mut Shelf| (std::mem::replace(&mut shelf.loaded, true), shelf.folded.take());
        match self.books.shelf(stream, load) {
            (false, folded) => Ok(folded),
            // None would mean a stream never seen.
            (true, _) => Err(store::Error::GivenUp(format!("the ledger of {stream} was asked for twice"))),
        }
    }

    async fn save(&self, stream: &StreamKey, checkpoint: &Checkpoint) -> Result<(), store::Error> {
        self.write(stream, checkpoint.clone()).await
    }

    async fn save_idle(&self, stream: &StreamKey, checkpoint: Checkpoint) -> Result<(), store::Error> {
        let kept = self.books.shelf(stream, |shelf| shelf.keep_idle(checkpoint));
        match kept {
            Ok(()) => Ok(()),
            Err(checkpoint) => self.write(stream, *checkpoint).await,
        }
    }

    fn due(&self, stream: &StreamKey) -> Vec<Hour> {
        self.books.shelf(stream, |shelf| shelf.book.due(clock::wall()))
    }

    fn trouble(&self) -> Option<String> {
        self.producer.trouble()
    }
}

/// The task that commits.
struct Work {
    number: u32,
    options: Options,
    books: Arc<Books>,
    producer: Arc<Transactions>,
}

/// Batches whose topics can't be had.
struct Aside<'a> {
    submissions: Vec<Submission>,
    wait: Wait<'a>,
    pauses: Schedule,
    /// When they are tried again.
    due: Instant,
}

impl Aside<'_> {
    fn put(&mut self, submissions: impl Iterator<Item = Submission>) {
        self.submissions.extend(submissions);
        self.due = Instant::now() + self.pauses.pause();
    }

    /// Ready when they are to be tried again.
    async fn due(&self) {
        match self.submissions.is_empty() {
            true => std::future::pending().await,
            false => tokio::time::sleep_until(self.due).await,
        }
    }

    /// As many as one transaction holds.
    fn take(&mut self) -> Group {
        let mut group = Group::default();
        let mut left = std::mem::take(&mut self.submissions).into_iter();
        while !group.is_full()
            && let Some(next) = left.next()
        {
            group.add(next);
        }
        self.submissions.extend(left);
        group
    }

    fn committed(&mut self) {
        if self.submissions.is_empty() {
            self.wait.over();
            self.pauses.reset();
        }
    }
}

impl Work {
    async fn run(self, mut waiting: mpsc::Receiver<Order>) {
        let mut idle = tokio::time::interval_at(Instant::now() + IDLE, IDLE);
        let mut aside = Aside {
            submissions: Vec::new(),
            wait: self.producer.wait(),
            pauses: Schedule::new(PAUSE.start, PAUSE.end),
            due: Instant::now(),
        };
        let lost = loop {
            let order = tokio::select! {
                order = waiting.recv() => order,
                _ = idle.tick() => match self.write_idle().await {
                    Ok(()) => continue,
                    Err(lost) => break lost,
                },
                () = aside.due() => match self.commit(aside.take(), &mut aside).await {
                    Ok(()) => continue,
                    Err(lost) => break lost,
                },
            };
            let done = match order {
                None => return,
                Some(Order::Flush(answer)) => self.write_idle().await.map(|()| {
                    // Whoever asked may be gone.
                    let _ = answer.send(());
                }),
                Some(Order::Commit(first)) => self.commit_with(first, &mut waiting, &mut aside).await,
            };
            if let Err(lost) = done {
                break lost;
            }
        };
        // Whoever hears first that nothing can be committed any more does not hear why.
        tracing::warn!(partition = self.number, "{lost}");
        waiting.close();
        while let Some(order) = waiting.recv().await {
            if let Order::Commit(submission) = order {
                let _ = submission.answer.send(Err(store::Error::GivenUp(lost.clone()).into()));
            }
        }
    }

    /// Commits it with all that waits as well.
    async fn commit_with(
        &self,
        first: Submission,
        waiting: &mut mpsc::Receiver<Order>,
        aside: &mut Aside<'_>,
    ) -> Result<(), String> {
        let mut group = Group::default();
        group.add(first);
        let mut flushes = Vec::new();
        while !group.is_full()
            && let Ok(next) = waiting.try_recv()
        {
            match next {
                Order::Commit(submission) => group.add(submission),
                Order::Flush(answer) => flushes.push(answer),
            }
        }
        self.commit(group, aside).await?;
        for answer in flushes {
            self.write_idle().await?;
            let _ = answer.send(());
        }
        Ok(())
    }

    /// Commits the group; those of its batches that hold a refused message are answered, those whose topics can't be had
    /// are put aside, and the rest is tried again.
    async fn commit(&self, mut group: Group, aside: &mut Aside<'_>) -> Result<(), String> {
        self.refuse_the_surely_refused(&mut group);
        while !group.submissions.is_empty() {
            let (way, instants, places) =
                (self.way(), group.instants(), group.places(self.options.dead_letters.is_some()));
            let message = |index: usize| way.message(&group, &instants, places[index]);
            let sent = self.producer.commit_or_set_aside(places.len(), message, &mut aside.wait).await;
            match sent {
                Ok(Attempt::Ended(Outcome::Committed)) => {
                    aside.committed();
                    crate::fail_point!("committed");
                    for submission in group.submissions {
                        let _ = submission.answer.send(Ok(Vec::new()));
                    }
                    crate::fail_point!("answered");
                    return Ok(());
                }
                Ok(Attempt::Ended(Outcome::Refused(refused))) => self.take_out(&mut group, &places, refused),
                Ok(Attempt::Aside(indexes)) => {
                    let lacking: BTreeSet<usize> = indexes.iter().map(|index| places[*index].submission()).collect();
                    aside.put(group.remove(&lacking));
                }
                Err(lost) => {
                    let lost = lost.to_string();
                    for submission in group.submissions {
                        let _ = submission.answer.send(Err(store::Error::GivenUp(lost.clone()).into()));
                    }
                    return Err(lost);
                }
            }
        }
        Ok(())
    }

    /// So that no transaction is lost for a record that its topic is known to refuse.
    fn refuse_the_surely_refused(&self, group: &mut Group) {
        let (way, instants, topics) = (self.way(), group.instants(), self.producer.topics());
        let limit = topics.smallest_limit().unwrap_or(u64::MAX);
        let places = group.places(self.options.dead_letters.is_some());
        let mut refused = Vec::new();
        for (index, place) in places.iter().enumerate() {
            let Place::Record(number, record) = place else { continue };
            // What compresses to nothing is small as well; half leaves room for headers.
            if group.submissions[*number].batch.records[*record].value.len() as u64 > limit / 2 {
                refused.extend(topics.refuse(index, &way.message(group, &instants, *place)));
            }
        }
        self.take_out(group, &places, refused);
    }

    /// Answers the batches that hold refused messages, and keeps the others.
    fn take_out(&self, group: &mut Group, places: &[Place], refused: Vec<Refused>) {
        let mut verdicts: BTreeMap<usize, Result<Vec<Refused>, commit::Error>> = BTreeMap::new();
        for refused in refused {
            match places[refused.index] {
                Place::Record(number, index) => {
                    if let Ok(records) = verdicts.entry(number).or_insert_with(|| Ok(Vec::new())) {
                        records.push(Refused { index, ..refused });
                    }
                }
                Place::Dead(number, index) => {
                    let target = format!("topic {}", self.options.dead_letters.as_deref().unwrap_or_default());
                    let size = group.submissions[number].batch.dead[index].value.len() as u64;
                    let error = sink::Error::DeadLetterRefused { target, size, explanation: refused.explanation };
                    verdicts.insert(number, Err(error.into()));
                }
                Place::Entry(number, _) => {
                    let why = format!("the ledger topic refuses an entry: {}", refused.explanation);
                    verdicts.insert(number, Err(store::Error::GivenUp(why).into()));
                }
            }
        }
        let submissions = std::mem::take(group).submissions;
        for (number, submission) in submissions.into_iter().enumerate() {
            match verdicts.remove(&number) {
                None => group.add(submission),
                Some(verdict) => {
                    self.books.shelf(&submission.stream, |shelf| shelf.refused = Some(submission.entries));
                    let _ = submission.answer.send(verdict);
                }
            }
        }
    }

    /// The checkpoints of streams that have delivered nothing for a while, many in one transaction.
    async fn write_idle(&self) -> Result<(), String> {
        let idle: Vec<Vec<Entry>> = self.books.shelves().values_mut().map(Shelf::idle_entries).collect();
        for some in in_transactions(idle, IDLE_ENTRIES) {
            write_entries(&self.producer, &self.options.topic, self.number, &some).await?;
        }
        Ok(())
    }

    fn way(&self) -> Way<'_> {
        Way {
            settings: &self.options.settings,
            dead_letters: self.options.dead_letters.as_deref(),
            ledger: &self.options.topic,
            partition: self.number,
        }
    }
}
