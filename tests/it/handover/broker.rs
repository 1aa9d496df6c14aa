//! What Kafka promises of two topic partitions, one transactional id and one group.
//!
//! Requests arrive late, twice, in any order or never. A transaction's end is decided first and becomes visible in each
//! partition some time later. One thing is taken as given: once the end of a transaction was answered, no copy of that
//! request arrives any more (a connection keeps its order).

use std::collections::BTreeMap;

use fastrand::Rng;
use jumpstream::store::kafka::format::Entry;

pub const DATA: usize = 0;
pub const LEDGER: usize = 1;

/// What is produced.
#[derive(Debug, Clone)]
pub enum Content {
    Event { stream: usize, number: usize },
    Entry(Entry),
}

#[derive(Debug, Clone)]
pub enum Request {
    /// An offset commit for the partition, which only its owner of this generation may make.
    Claim {
        member: u64,
        generation: u32,
    },
    /// `init_transactions`.
    Init,
    /// A new epoch for a producer that still holds the old one: what its aborted messages left behind can't arrive.
    Bump {
        epoch: u32,
    },
    Produce {
        epoch: u32,
        number: u32,
        log: usize,
        contents: Vec<Content>,
    },
    End {
        epoch: u32,
        commit: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Claimed(bool),
    Epoch(u32),
    Done,
    /// Another epoch is in force, or no such transaction.
    Fenced,
    /// Ask again: the transaction before is still being ended, or a message before this one is missing.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Clone)]
struct Record {
    offset: i64,
    content: Content,
    state: State,
}

#[derive(Debug, Default)]
struct Log {
    records: Vec<Record>,
    end: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// The last one under this epoch was committed, was aborted, or there was none.
    Ended(Option<bool>),
    Ongoing,
    /// Decided; the partitions where it can't be seen yet.
    Ending {
        commit: bool,
        hidden: [bool; 2],
    },
}

#[derive(Debug)]
pub struct Broker {
    logs: [Log; 2],
    epoch: u32,
    next: [u32; 2],
    transaction: Transaction,
    pub generation: u32,
    /// Whom the group gave the partition to.
    pub assigned: u64,
    /// A fault: whoever produces is believed.
    pub believes_everyone: bool,
    /// How often each event was committed.
    pub committed: BTreeMap<(usize, usize), u32>,
    pub fenced: u64,
    pub aborted: u64,
    pub compacted: u64,
}

impl Broker {
    /// With a ledger partition whose first record is there.
    pub fn new(first: Entry) -> Broker {
        let mut broker = Broker {
            logs: [Log::default(), Log::default()],
            epoch: 0,
            next: [0; 2],
            transaction: Transaction::Ended(None),
            generation: 1,
            assigned: 0,
            believes_everyone: false,
            committed: BTreeMap::new(),
            fenced: 0,
            aborted: 0,
            compacted: 0,
        };
        broker.logs[LEDGER].append(vec![Content::Entry(first)]);
        broker.logs[LEDGER].end_open(State::Committed);
        broker
    }

    pub fn answer(&mut self, request: Request) -> Reply {
        let reply = match request {
            Request::Claim { member, generation } => {
                return Reply::Claimed(generation == self.generation && member == self.assigned);
            }
            Request::Init => self.next_epoch(),
            Request::Bump { epoch } | Request::Produce { epoch, .. } | Request::End { epoch, .. }
                if self.fences(epoch) =>
            {
                Reply::Fenced
            }
            Request::Bump { .. } if self.transaction == Transaction::Ongoing => {
                self.decide(false);
                Reply::Later
            }
            Request::Bump { .. } => self.next_epoch(),
            Request::Produce { number, log, contents, .. } => self.produce(number, log, contents),
            Request::End { commit, .. } => self.end(commit),
        };
        self.fenced += u64::from(reply == Reply::Fenced);
        reply
    }

    /// Whether a producer of that epoch is refused.
    pub fn fences(&self, epoch: u32) -> bool {
        epoch != self.epoch && !self.believes_everyone
    }

    /// Whatever is open is aborted first.
    fn next_epoch(&mut self) -> Reply {
        match self.transaction {
            Transaction::Ongoing => {
                self.time_out();
                Reply::Later
            }
            Transaction::Ending { .. } => Reply::Later,
            Transaction::Ended(_) => {
                self.fence();
                self.transaction = Transaction::Ended(None);
                Reply::Epoch(self.epoch)
            }
        }
    }

    fn fence(&mut self) {
        self.epoch += 1;
        self.next = [0; 2];
    }

    /// The coordinator aborts what is open and lets its producer know by a new epoch.
    pub fn time_out(&mut self) {
        if self.transaction == Transaction::Ongoing {
            self.fence();
            self.decide(false);
        }
    }

    fn produce(&mut self, number: u32, log: usize, contents: Vec<Content>) -> Reply {
        if !self.believes_everyone {
            if number < self.next[log] {
                return Reply::Done;
            }
            if number > self.next[log] {
                return Reply::Later;
            }
        }
        if matches!(self.transaction, Transaction::Ending { .. }) {
            return Reply::Later;
        }
        self.transaction = Transaction::Ongoing;
        self.next[log] = number + 1;
        self.logs[log].append(contents);
        Reply::Done
    }

    fn end(&mut self, commit: bool) -> Reply {
        match self.transaction {
            Transaction::Ongoing => self.decide(commit),
            Transaction::Ending { commit: decided, .. } if decided == commit => {}
            Transaction::Ended(Some(ended)) if ended == commit => {}
            // Nothing had arrived of it.
            Transaction::Ended(None) if !commit => {}
            _ => return Reply::Fenced,
        }
        Reply::Done
    }

    fn decide(&mut self, commit: bool) {
        self.aborted += u64::from(!commit);
        self.transaction = Transaction::Ending { commit, hidden: [true; 2] };
    }

    /// A decided transaction becomes visible in one more partition; whether it is now in all.
    pub fn mark(&mut self, log: usize) -> bool {
        let Transaction::Ending { commit, hidden } = &mut self.transaction else { return false };
        hidden[log] = false;
        let ended = self.logs[log].end_open(if *commit { State::Committed } else { State::Aborted });
        for content in ended.iter().filter(|_| *commit) {
            if let Content::Event { stream, number } = content {
                *self.committed.entry((*stream, *number)).or_default() += 1;
            }
        }
        let ends = *hidden == [false; 2];
        if ends {
            self.transaction = Transaction::Ended(Some(*commit));
        }
        ends
    }

    /// The next records of the ledger as a reader gets them who may be shown an old end, and where it goes on.
    pub fn read(&self, from: i64, committed: bool, rng: &mut Rng) -> (Vec<(i64, Entry)>, i64) {
        let log = &self.logs[LEDGER];
        let end = self.end_shown(committed, rng);
        let most = rng.usize(1..40);
        let shown = log.records.iter().filter(|record| (from..end).contains(&record.offset)).take(most);
        let shown: Vec<&Record> = shown.collect();
        let next = if shown.len() < most { end } else { shown[most - 1].offset + 1 };
        let seen = shown.into_iter().filter(|record| !committed || record.state == State::Committed);
        let entry = |record: &Record| match &record.content {
            Content::Entry(entry) => (record.offset, entry.clone()),
            Content::Event { .. } => panic!("an event in the ledger"),
        };
        (seen.map(entry).collect(), next.max(from))
    }

    /// The end of the ledger's partition, as a broker says that may have lost its place without knowing.
    pub fn end_shown(&self, committed: bool, rng: &mut Rng) -> i64 {
        let log = &self.logs[LEDGER];
        let end = if committed { log.stable_end() } else { log.end };
        if rng.u8(..4) == 0 { rng.i64(0..=end) } else { end }
    }

    /// Removes any part of what is superseded, aborted, or a tombstone of nothing.
    pub fn compact(&mut self, rng: &mut Rng) {
        let log = &mut self.logs[LEDGER];
        let before = log.records.len();
        let stable = log.stable_end();
        let mut last = BTreeMap::new();
        for record in log.records.iter().filter(|record| record.state == State::Committed) {
            last.insert(record.key().to_owned(), record.offset);
        }
        log.records.retain(|record| {
            let needed = match record.state {
                State::Open => true,
                State::Aborted => false,
                State::Committed => last[record.key()] == record.offset,
            };
            needed || record.offset >= stable || rng.u8(..3) == 0
        });
        let mut seen = BTreeMap::new();
        log.records.retain(|record| {
            let first = record.state != State::Committed || seen.insert(record.key().to_owned(), ()).is_none();
            let gone = record.state == State::Committed && record.is_tombstone() && first;
            !gone || record.offset >= stable || rng.u8(..3) == 0
        });
        self.compacted += (before - log.records.len()) as u64;
    }

    /// All committed entries of the ledger.
    pub fn ledger(&self) -> impl Iterator<Item = (i64, &Entry)> {
        let committed = self.logs[LEDGER].records.iter().filter(|record| record.state == State::Committed);
        committed.filter_map(|record| match &record.content {
            Content::Entry(entry) => Some((record.offset, entry)),
            Content::Event { .. } => None,
        })
    }
}

impl Log {
    fn append(&mut self, contents: Vec<Content>) {
        for content in contents {
            self.records.push(Record { offset: self.end, content, state: State::Open });
            self.end += 1;
        }
    }

    /// What was open and no longer is.
    fn end_open(&mut self, state: State) -> Vec<Content> {
        let open = self.records.iter_mut().filter(|record| record.state == State::Open);
        let ended = open.map(|record| {
            record.state = state;
            record.content.clone()
        });
        let ended = ended.collect();
        // The marker takes an offset too.
        self.end += 1;
        ended
    }

    /// Nobody who reads what is committed sees behind the first record that is still open.
    fn stable_end(&self) -> i64 {
        self.records.iter().find(|record| record.state == State::Open).map_or(self.end, |record| record.offset)
    }
}

impl Record {
    fn key(&self) -> &[u8] {
        match &self.content {
            Content::Entry(entry) => &entry.key,
            Content::Event { .. } => &[],
        }
    }

    fn is_tombstone(&self) -> bool {
        matches!(&self.content, Content::Entry(entry) if entry.value.is_none())
    }
}
