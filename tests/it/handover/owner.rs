//! A replica: whether it believes that the partition is its own, and how it takes it over, works and lets it go.
//!
//! Out → claim (the group's coordinator accepts an offset commit) → init → the owner entry's transaction → read until
//! that entry is seen → fold → work: polls become batches, batches one transaction at a time.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::ledger::{FingerprintKey, Ledger, StreamKey};
use jumpstream::record::Delivery;
use jumpstream::store::kafka::book::Book;
use jumpstream::store::kafka::fold::{self, Fold};
use jumpstream::store::kafka::format::{Entry, Key, Layout, Owner as OwnerEntry};

use super::broker::{Broker, Content, DATA, LEDGER, Reply, Request};
use super::world::{Fault, Held};
use crate::ledger::settle;

/// What the world lets an owner see and do in one step.
pub struct Turn<'w> {
    pub rng: &'w mut Rng,
    pub broker: &'w Broker,
    pub held: &'w [Vec<Held>],
    pub now: Time,
    pub fault: Fault,
    /// Nothing is lost or given up any more.
    pub calm: bool,
    /// Requests to be sent, by their ids.
    pub sent: Vec<(u64, Request)>,
    /// Requests that are answered or given up: of an end no copy may arrive any more.
    pub closed: Vec<u64>,
    /// Why the ledger could not be read.
    pub broken: Option<String>,
}

#[derive(Debug)]
pub struct Owner {
    pub member: u64,
    /// The generation in which the partition is believed to be ours.
    pub known: Option<u32>,
    phase: Phase,
    producer: Producer,
    next_id: u64,
    asked: BTreeMap<u64, Request>,
    pub takeovers: u64,
    pub unknown: u64,
    /// Transactions in a row that held no event.
    pub idle: u32,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    next: [u32; 2],
}

#[derive(Debug)]
enum Phase {
    Out,
    Claiming,
    Beginning,
    Announcing { token: [u8; 16], transaction: Transaction },
    Reading { token: [u8; 16], fold: Fold, at: i64, until: Option<i64>, fruitless: u32 },
    Working { works: Vec<Work>, queue: VecDeque<Batch>, transaction: Option<Transaction> },
}

/// What is to be committed together.
#[derive(Debug)]
struct Transaction {
    messages: Vec<(usize, Vec<Content>)>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Producing,
    Committing,
    Aborting,
    Bumping,
}

/// Reads that bring nothing before an owner begins anew.
const PATIENCE: u32 = 20;

/// One stream.
#[derive(Debug)]
struct Work {
    number: usize,
    ledger: Ledger,
    book: Book,
}

#[derive(Debug)]
struct Batch {
    stream: usize,
    events: Vec<usize>,
    entries: Vec<Entry>,
}

pub fn stream(number: usize) -> StreamKey {
    StreamKey { organization: format!("o{number}"), service: "all".into() }
}

impl Owner {
    pub fn new(member: u64) -> Owner {
        Owner {
            member,
            known: None,
            phase: Phase::Out,
            producer: Producer::default(),
            next_id: member << 32,
            asked: BTreeMap::new(),
            takeovers: 0,
            unknown: 0,
            idle: 0,
        }
    }

    /// One step: takes in what was answered, and goes on where nothing is awaited.
    pub fn step(&mut self, answers: Vec<(u64, Reply)>, turn: &mut Turn<'_>) {
        let mut replies = Vec::new();
        for (id, reply) in answers {
            if !self.asked.contains_key(&id) {
                continue;
            }
            if reply == Reply::Later {
                turn.sent.push((id, self.asked[&id].clone()));
            } else {
                self.asked.remove(&id);
                turn.closed.push(id);
                replies.push(reply);
            }
        }
        if replies.contains(&Reply::Fenced) {
            return self.let_go(turn);
        }
        if self.asked.is_empty() {
            self.go_on(&replies, turn);
        } else {
            self.wait(turn);
        }
    }

    /// Something is not answered yet: asks again, or loses patience.
    fn wait(&mut self, turn: &mut Turn<'_>) {
        match turn.rng.u8(..40) {
            0..4 => turn.sent.extend(self.asked.iter().map(|(id, request)| (*id, request.clone()))),
            4 if !turn.calm => self.lose_patience(turn),
            // The next batch is gathered while one is in flight.
            5..10 => self.work(turn),
            _ => {}
        }
    }

    fn lose_patience(&mut self, turn: &mut Turn<'_>) {
        let step = self.transaction().map(|transaction| transaction.step);
        match step {
            // Sending is aborted and begun again, with the very same entries.
            Some(Step::Producing) => {
                self.forget_asked(turn);
                self.ask(Request::End { epoch: self.producer.epoch, commit: false }, turn);
                self.step_to(Step::Aborting);
            }
            // Whether it is committed only the ledger knows.
            Some(Step::Committing) => {
                self.unknown += 1;
                self.forget_asked(turn);
                if turn.fault == Fault::TrustUnknown && matches!(self.phase, Phase::Working { .. }) {
                    self.go_on_in_memory(turn);
                } else {
                    self.take_over(turn);
                }
            }
            _ => self.let_go(turn),
        }
    }

    /// A fault: what was never answered counts as committed, and only the producer is new.
    fn go_on_in_memory(&mut self, turn: &mut Turn<'_>) {
        if let Some(transaction) = self.transaction() {
            transaction.messages.clear();
        }
        self.ask(Request::Bump { epoch: self.producer.epoch }, turn);
        self.step_to(Step::Bumping);
    }

    /// Gives the partition up; the group will say whether it is ours again.
    fn let_go(&mut self, turn: &mut Turn<'_>) {
        self.forget_asked(turn);
        self.known = None;
        self.phase = Phase::Out;
        self.idle = 0;
    }

    fn take_over(&mut self, turn: &mut Turn<'_>) {
        let known = self.known;
        self.let_go(turn);
        self.known = known;
    }

    fn forget_asked(&mut self, turn: &mut Turn<'_>) {
        // Copies may still arrive, but for the ends of transactions that this producer may follow by another.
        let ids = mem::take(&mut self.asked).into_iter();
        turn.closed.extend(ids.filter(|(_, request)| matches!(request, Request::Produce { .. })).map(|(id, _)| id));
    }

    fn go_on(&mut self, replies: &[Reply], turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Out => {
                if let Some(generation) = self.known {
                    self.ask(Request::Claim { member: self.member, generation }, turn);
                    self.phase = Phase::Claiming;
                } else if turn.broker.assigned == self.member {
                    self.known = Some(turn.broker.generation);
                }
            }
            Phase::Claiming if replies == [Reply::Claimed(true)] => {
                self.ask(Request::Init, turn);
                self.phase = Phase::Beginning;
            }
            Phase::Claiming => self.let_go(turn),
            Phase::Beginning => self.begin(replies, turn),
            Phase::Announcing { .. } => self.drive(replies, turn),
            Phase::Reading { .. } => self.read(turn),
            Phase::Working { transaction: Some(_), .. } if !replies.is_empty() || turn.rng.bool() => {
                self.drive(replies, turn);
            }
            Phase::Working { .. } => self.work(turn),
        }
    }

    fn begin(&mut self, replies: &[Reply], turn: &mut Turn<'_>) {
        let [Reply::Epoch(epoch)] = replies else { return self.let_go(turn) };
        self.takeovers += 1;
        self.producer = Producer { epoch: *epoch, next: [0; 2] };
        let token: [u8; 16] = std::array::from_fn(|_| turn.rng.u8(..));
        if turn.fault == Fault::NoOwnerEntry {
            let until = Some(turn.broker.end_shown(true, turn.rng));
            self.phase = Phase::Reading { token, fold: Fold::new(0, Layout::of(1)), at: 0, until, fruitless: 0 };
            return;
        }
        let entry = OwnerEntry { token, name: format!("member {}", self.member) }.entry();
        let messages = vec![(LEDGER, vec![Content::Entry(entry)])];
        self.phase = Phase::Announcing { token, transaction: Transaction { messages, step: Step::Begin } };
    }

    fn read(&mut self, turn: &mut Turn<'_>) {
        let Phase::Reading { token, fold, at, until, fruitless } = &mut self.phase else { return };
        let (records, next) = turn.broker.read(*at, turn.fault != Fault::ReadUncommitted, turn.rng);
        *fruitless = if next > *at { 0 } else { *fruitless + 1 };
        *at = next;
        for (offset, entry) in records {
            if let Err(error) = fold.take(offset, &entry.key, entry.value.as_deref()) {
                return self.give_up_reading(&error, turn);
            }
            if fold.owner().is_some_and(|owner| owner.token == *token) {
                *until = Some(offset);
                break;
            }
        }
        if until.is_some_and(|until| until <= *at) {
            let fold = mem::replace(fold, Fold::new(0, Layout::of(1)));
            let mut folded = match fold.finish() {
                Ok(folded) => folded,
                Err(error) => return self.give_up_reading(&error, turn),
            };
            let streams = turn.held.len();
            let work = |number| match folded.streams.remove(&stream(number)) {
                Some((ledger, book)) => Work { number, ledger: Ledger::open(ledger), book },
                None => Work { number, ledger: first_ledger(turn), book: Book::new(stream(number)) },
            };
            let works = (0..streams).map(work).collect();
            self.phase = Phase::Working { works, queue: VecDeque::new(), transaction: None };
        } else if *fruitless > PATIENCE {
            // Who slept here for long finds the entry of a later owner, and never its own: that was compacted away.
            self.let_go(turn);
        }
    }

    /// From under a reader that was fenced meanwhile, compaction takes what its successor has superseded: it writes once
    /// more, and hears that.
    fn give_up_reading(&mut self, error: &fold::Error, turn: &mut Turn<'_>) {
        if turn.broker.fences(self.producer.epoch) {
            self.let_go(turn);
        } else {
            turn.broken = Some(error.to_string());
        }
    }

    /// Polls a stream, or sends off what was gathered.
    fn work(&mut self, turn: &mut Turn<'_>) {
        if turn.rng.u8(..30) == 0 && turn.broker.assigned != self.member {
            // The group has said that it is another's.
            return self.let_go(turn);
        }
        let Phase::Working { works, queue, transaction } = &mut self.phase else { return };
        let place = turn.rng.usize(..works.len());
        // A batch in flight, and one more.
        if queue.iter().filter(|batch| batch.stream == place).count() < 2 && turn.rng.bool() {
            let batch = works[place].poll(turn);
            queue.push_back(batch);
        } else if transaction.is_none() && !queue.is_empty() {
            let batches: Vec<Batch> = queue.drain(..turn.rng.usize(1..=queue.len())).collect();
            *transaction = Some(Transaction { messages: messages(batches, turn), step: Step::Begin });
        }
    }

    fn transaction(&mut self) -> Option<&mut Transaction> {
        match &mut self.phase {
            Phase::Announcing { transaction, .. } => Some(transaction),
            Phase::Working { transaction, .. } => transaction.as_mut(),
            _ => None,
        }
    }

    fn step_to(&mut self, step: Step) {
        if let Some(transaction) = self.transaction() {
            transaction.step = step;
        }
    }

    /// The transaction's next step, all before it being answered.
    fn drive(&mut self, replies: &[Reply], turn: &mut Turn<'_>) {
        let epoch = self.producer.epoch;
        let Some(Transaction { messages, step }) = self.transaction() else { return };
        match *step {
            Step::Begin => {
                *step = Step::Producing;
                let messages = messages.clone();
                if messages.is_empty() {
                    return self.committed();
                }
                for (log, contents) in messages {
                    let number = self.producer.next[log];
                    self.producer.next[log] += 1;
                    self.ask(Request::Produce { epoch, number, log, contents }, turn);
                }
            }
            Step::Producing => {
                *step = Step::Committing;
                self.ask(Request::End { epoch, commit: true }, turn);
            }
            Step::Committing => self.committed(),
            Step::Aborting => {
                *step = Step::Bumping;
                if turn.fault == Fault::ForgetAborted && messages.iter().any(|(log, _)| *log == DATA) {
                    messages.clear();
                }
                self.ask(Request::Bump { epoch }, turn);
            }
            Step::Bumping => {
                *step = Step::Begin;
                let [Reply::Epoch(epoch)] = replies else { return self.let_go(turn) };
                self.producer = Producer { epoch: *epoch, next: [0; 2] };
            }
        }
    }

    fn committed(&mut self) {
        match &mut self.phase {
            Phase::Announcing { token, .. } => {
                let (token, fold) = (*token, Fold::new(0, Layout::of(1)));
                self.phase = Phase::Reading { token, fold, at: 0, until: None, fruitless: 0 };
            }
            Phase::Working { transaction, .. } => {
                let has_events =
                    transaction.take().is_some_and(|done| done.messages.iter().any(|(log, _)| *log == DATA));
                self.idle = if has_events { 0 } else { self.idle + 1 };
            }
            _ => {}
        }
    }

    fn ask(&mut self, request: Request, turn: &mut Turn<'_>) {
        self.next_id += 1;
        self.asked.insert(self.next_id, request.clone());
        turn.sent.push((self.next_id, request));
    }
}

/// Records and entries of several batches, each topic's cut anywhere.
fn messages(batches: Vec<Batch>, turn: &mut Turn<'_>) -> Vec<(usize, Vec<Content>)> {
    let mut contents = [Vec::new(), Vec::new()];
    for Batch { stream, events, entries } in batches {
        contents[DATA].extend(events.into_iter().map(|number| Content::Event { stream, number }));
        contents[LEDGER].extend(entries.into_iter().map(Content::Entry));
    }
    let mut messages = Vec::new();
    for (log, mut contents) in contents.into_iter().enumerate() {
        while !contents.is_empty() {
            let rest = contents.split_off(turn.rng.usize(1..=contents.len()));
            messages.push((log, mem::replace(&mut contents, rest)));
        }
    }
    messages
}

fn first_ledger(turn: &mut Turn<'_>) -> Ledger {
    Ledger::begin(FingerprintKey(std::array::from_fn(|_| turn.rng.u8(..))), turn.now, Time::from_secs(0))
}

const DAY: Duration = Duration::from_secs(86_400);

impl Work {
    /// Reads what is visible, from somewhat before the edge on, and makes it a batch; sometimes the read is cut short.
    fn poll(&mut self, turn: &mut Turn<'_>) -> Batch {
        let now = turn.now;
        let from = self.ledger.edge().map_or(Time::from_secs(0), |edge| edge - DAY / 12);
        if now.since(from) > DAY * 5 {
            self.ledger.reopen(from);
        }
        let from = if turn.rng.u8(..8) == 0 { from.min(now - DAY * 7) } else { from };
        let cut = if turn.calm || turn.rng.bool() { usize::MAX } else { turn.rng.usize(..6) };
        let mut events = Vec::new();
        for (number, held) in turn.held[self.number].iter().enumerate() {
            let shown = held.visible_at <= now && held.event.time().is_none_or(|time| time >= from);
            if events.len() <= cut && shown && self.ledger.admit(&held.event, Delivery::Live).is_some() {
                events.push(number);
            }
        }
        if events.len() <= cut {
            self.ledger.cover(from..now);
            self.ledger.advance_edge(now);
        }
        settle(&mut self.ledger, now);
        let before = self.book.live().last();
        let checkpoint = self.ledger.checkpoint_with(&self.book.due(now));
        let mut entries = self.book.entries(&checkpoint, now);
        if let Some(number) = before.filter(|_| turn.fault == Fault::EarlyTombstone) {
            entries.push(Entry::tombstone(&Key::Commit { stream: stream(self.number), number }));
        }
        Batch { stream: self.number, events, entries }
    }
}
