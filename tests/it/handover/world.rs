//! One seed's schedule: which owner moves, which message arrives, what breaks, and at the end the oracle.

use std::ops::AddAssign;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::store::kafka::fold::{Fold, Folded};
use jumpstream::store::kafka::format::Layout;

use super::broker::{Broker, DATA, LEDGER, Reply, Request};
use super::owner::{Owner, Turn, stream};

/// How the protocol is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The new owner reads up to what it is told is the end.
    NoOwnerEntry,
    /// The broker believes every epoch.
    NoFencing,
    ReadUncommitted,
    /// A commit entry is tombstoned by the next.
    EarlyTombstone,
    /// A commit that was never answered counts as done.
    TrustUnknown,
    /// What was aborted is not sent again.
    ForgetAborted,
}

impl Fault {
    pub const BROKEN: [Fault; 6] = [
        Fault::NoOwnerEntry,
        Fault::NoFencing,
        Fault::ReadUncommitted,
        Fault::EarlyTombstone,
        Fault::TrustUnknown,
        Fault::ForgetAborted,
    ];
}

/// What the oracle found.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    #[error("lost: {0}")]
    Lost(String),
    #[error("delivered again: {0}")]
    Twice(String),
    #[error("the ledger does not say what was delivered: {0}")]
    Ledger(String),
    #[error("nobody gets on with the work: {0}")]
    Stuck(String),
}

/// An event as the API has it.
pub struct Held {
    pub event: Event,
    pub visible_at: Time,
}

/// What all runs did, so that a simulation in which nothing happened fails.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    runs: u64,
    events: u64,
    takeovers: u64,
    crashes: u64,
    fenced: u64,
    aborted: u64,
    unknown: u64,
    compacted: u64,
    forgotten: u64,
    whole: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.runs += other.runs;
        self.events += other.events;
        self.takeovers += other.takeovers;
        self.crashes += other.crashes;
        self.fenced += other.fenced;
        self.aborted += other.aborted;
        self.unknown += other.unknown;
        self.compacted += other.compacted;
        self.forgotten += other.forgotten;
        self.whole += other.whole;
    }
}

impl Tally {
    pub fn assert_it_bit(&self) {
        let Tally { takeovers, crashes, fenced, aborted, unknown, compacted, forgotten, whole, .. } = *self;
        let all = [takeovers, crashes, fenced, aborted, unknown, compacted, forgotten, whole];
        assert!(all.iter().all(|count| *count > 0), "something never happened: {self:?}");
    }
}

/// A message on its way.
struct Message<T> {
    member: u64,
    id: u64,
    content: T,
}

pub struct World {
    rng: Rng,
    fault: Fault,
    broker: Broker,
    owners: Vec<Owner>,
    /// Until which step each owner sleeps.
    asleep: Vec<u64>,
    requests: Vec<Message<Request>>,
    replies: Vec<Message<Reply>>,
    held: Vec<Vec<Held>>,
    now: Time,
    members: u64,
    step: u64,
    calm: bool,
    tally: Tally,
}

impl World {
    pub fn new(seed: u64, fault: Fault) -> World {
        let mut rng = Rng::with_seed(seed);
        let mut broker = Broker::new(Layout::of(1).entry());
        broker.believes_everyone = fault == Fault::NoFencing;
        let owners: Vec<Owner> = (0..rng.u64(2..5)).map(Owner::new).collect();
        World {
            fault,
            broker,
            asleep: vec![0; owners.len()],
            members: owners.len() as u64,
            owners,
            requests: Vec::new(),
            replies: Vec::new(),
            held: (0..rng.usize(1..3)).map(|_| Vec::new()).collect(),
            now: Time::parse("2026-03-02T08:00:00Z").expect("an instant"),
            step: 0,
            calm: false,
            tally: Tally { runs: 1, ..Tally::default() },
            rng,
        }
    }

    /// A time of trouble, then calm until all is delivered, then whatever is still on its way.
    pub fn run(mut self) -> Result<Tally, Wrong> {
        for _ in 0..self.rng.u64(300..2_500) {
            self.trouble();
            self.move_on()?;
        }
        self.calm = true;
        self.asleep.fill(0);
        self.now = self.now + Duration::from_secs(3_600);
        self.settle()?;
        for _ in 0..300 {
            self.move_on()?;
        }
        self.judge()
    }

    /// Until the owner has polled often and found nothing: what is missing then is lost.
    fn settle(&mut self) -> Result<(), Wrong> {
        for _ in 0..60_000 {
            self.move_on()?;
            if self.owners.iter().any(|owner| owner.idle > 30) {
                return Ok(());
            }
        }
        Err(Wrong::Stuck(format!("{:?} {:?}", self.broker, self.owners)))
    }

    fn trouble(&mut self) {
        match self.rng.u16(..600) {
            0..6 => self.rebalance(),
            6..10 => {
                let place = self.rng.usize(..self.owners.len());
                self.asleep[place] = self.step + self.rng.u64(..800);
            }
            10..13 => self.crash(),
            13..16 => self.broker.time_out(),
            16..30 => self.broker.compact(&mut self.rng),
            30..50 => self.pass(),
            50..60 if !self.requests.is_empty() => {
                let _lost = self.requests.swap_remove(self.rng.usize(..self.requests.len()));
            }
            60..70 if !self.replies.is_empty() => {
                let _lost = self.replies.swap_remove(self.rng.usize(..self.replies.len()));
            }
            _ => {}
        }
    }

    fn rebalance(&mut self) {
        self.broker.generation += 1;
        self.broker.assigned = self.rng.choice(&self.owners).expect("an owner").member;
    }

    /// A process dies, and another one takes its place as a new member; what it had sent may still arrive.
    fn crash(&mut self) {
        let place = self.rng.usize(..self.owners.len());
        self.count(place);
        self.owners[place] = Owner::new(self.members);
        self.asleep[place] = self.step + self.rng.u64(..100);
        self.members += 1;
        self.tally.crashes += 1;
    }

    fn count(&mut self, place: usize) {
        self.tally.takeovers += self.owners[place].takeovers;
        self.tally.unknown += self.owners[place].unknown;
    }

    /// Time passes, and events happen in it.
    fn pass(&mut self) {
        let seconds = match self.rng.u16(..200) {
            0 => 9 * 86_400,
            1..3 => self.rng.u64(..4 * 86_400),
            3..40 => self.rng.u64(600..4_000),
            _ => self.rng.u64(..60),
        };
        for stream in 0..self.held.len() {
            for _ in 0..self.rng.u8(..4) {
                let time = self.now + Duration::from_secs(self.rng.u64(..=seconds));
                let visible_at = time + Duration::from_secs(if self.rng.bool() { 0 } else { self.rng.u64(..1_800) });
                let id = self.held[stream].len();
                let json = match self.rng.u8(..30) {
                    0 => format!(r#"{{"id":"{id}"}}"#),
                    _ => format!(r#"{{"id":"{id}","timestamp":"{time}"}}"#),
                };
                self.held[stream].push(Held { event: Event::parse(Bytes::from(json)).expect("JSON"), visible_at });
            }
        }
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// A message arrives, or an owner takes a step.
    fn move_on(&mut self) -> Result<(), Wrong> {
        self.step += 1;
        if self.calm && self.owners.iter().all(|owner| owner.member != self.broker.assigned) {
            self.rebalance();
        }
        match self.rng.u8(..10) {
            0..4 if !self.requests.is_empty() => {
                let Message { member, id, content } = self.requests.swap_remove(self.rng.usize(..self.requests.len()));
                let reply = self.broker.answer(content);
                self.replies.push(Message { member, id, content: reply });
            }
            0..6 => {
                let ends = self.broker.mark(if self.rng.bool() { DATA } else { LEDGER });
                if ends && self.rng.u8(..4) == 0 {
                    self.compare()?;
                }
                if let Some(((stream, number), times)) = self.broker.committed.iter().find(|(_, times)| **times > 1) {
                    return Err(Wrong::Twice(format!("event {number} of stream {stream} came {times} times")));
                }
            }
            _ => {
                let place = self.rng.usize(..self.owners.len());
                if self.asleep[place] <= self.step {
                    self.step_of(place)?;
                }
            }
        }
        Ok(())
    }

    fn step_of(&mut self, place: usize) -> Result<(), Wrong> {
        let owner = &mut self.owners[place];
        let mut answers = Vec::new();
        for place in (0..self.replies.len()).rev() {
            if self.replies[place].member == owner.member && self.rng.u8(..3) > 0 {
                let reply = self.replies.swap_remove(place);
                answers.push((reply.id, reply.content));
            }
        }
        let mut turn = Turn {
            rng: &mut self.rng,
            broker: &self.broker,
            held: &self.held,
            now: self.now,
            fault: self.fault,
            calm: self.calm,
            sent: Vec::new(),
            closed: Vec::new(),
            broken: None,
        };
        owner.step(answers, &mut turn);
        let Turn { sent, closed, broken, .. } = turn;
        let ends = |message: &Message<Request>| matches!(message.content, Request::End { .. });
        self.requests.retain(|message| !(ends(message) && closed.contains(&message.id)));
        let member = owner.member;
        self.requests.extend(sent.into_iter().map(|(id, content)| Message { member, id, content }));
        broken.map_or(Ok(()), |broken| Err(Wrong::Ledger(broken)))
    }

    /// At any moment the committed ledger says of as many events as were committed that they are delivered.
    fn compare(&self) -> Result<Folded, Wrong> {
        let wrong = |error: jumpstream::store::kafka::fold::Error| Wrong::Ledger(error.to_string());
        let mut fold = Fold::new(0, Layout::of(1));
        for (offset, entry) in self.broker.ledger() {
            fold.take(offset, &entry.key, entry.value.as_deref()).map_err(wrong)?;
        }
        let folded = fold.finish().map_err(wrong)?;
        for place in 0..self.held.len() {
            let hours = folded.streams.get(&stream(place)).map(|(ledger, _)| &ledger.hours);
            let total: u64 = hours.map_or(0, |hours| hours.values().map(|hour| hour.events).sum());
            let delivered = self.broker.committed.keys().filter(|(stream, _)| *stream == place).count();
            if total != delivered as u64 {
                return Err(Wrong::Ledger(format!("{total} events in stream {place}, not {delivered}")));
            }
        }
        Ok(folded)
    }

    /// The committed records are the truth, each once, and the ledger says the same.
    fn judge(mut self) -> Result<Tally, Wrong> {
        // A transaction may still become visible, though it holds no event.
        for log in [DATA, LEDGER] {
            self.broker.mark(log);
        }
        let folded = self.compare()?;
        for (place, held) in self.held.iter().enumerate() {
            if let Some(lost) = (0..held.len()).find(|number| self.broker.committed.get(&(place, *number)) != Some(&1))
            {
                return Err(Wrong::Lost(format!("event {lost} of stream {place}")));
            }
            let known: usize = folded.streams[&stream(place)].0.delivered.values().map(Vec::len).sum();
            self.tally.forgotten += held.len().saturating_sub(known) as u64;
            self.tally.events += held.len() as u64;
        }
        (0..self.owners.len()).for_each(|place| self.count(place));
        self.tally.whole =
            self.broker.ledger().filter(|(_, entry)| entry.key[0] == 3 && entry.value.is_some()).count() as u64;
        let Broker { fenced, aborted, compacted, .. } = self.broker;
        Ok(Tally { fenced, aborted, compacted, ..self.tally })
    }
}
