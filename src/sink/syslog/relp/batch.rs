//! A batch on its way by RELP: which of its messages are settled, whatever sessions come and go meanwhile.
//!
//! # Invariants
//! Pure. Messages go out in their order; a new session is given exactly those that no answer has settled. A record is
//! done when each of its messages is.

use std::collections::VecDeque;
use std::ops::Range;

use super::session::Told;
use crate::record::Record;
use crate::record::syslog::{Format, Message, Scratch};

/// Records and what is known of their messages.
pub struct Batch<'a> {
    records: &'a [Record],
    format: &'a Format,
    /// The longest message, in bytes.
    room: usize,
    /// By their tokens, which count from zero in the order of the records.
    messages: Vec<Progress>,
    /// Records that become no message, with their length; each is noted once.
    too_large: Vec<(usize, usize)>,
    /// Records that were formatted at least once.
    formatted: usize,
    settled: usize,
    acknowledged: usize,
    reading: Reading,
    scratch: Scratch,
}

/// What is known of one message.
#[derive(Debug)]
struct Progress {
    record: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not sent, or not answered.
    Open,
    Acknowledged,
    /// In the receiver's words.
    Refused(String),
}

/// How far the messages were given out since the last [`Batch::rewind`].
#[derive(Debug, Default)]
struct Reading {
    record: usize,
    token: usize,
    /// Open messages of one record, in `text`.
    waiting: VecDeque<(usize, Range<usize>)>,
    text: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub fn new(records: &'a [Record], format: &'a Format, room: usize) -> Batch<'a> {
        Batch {
            records,
            format,
            room,
            messages: Vec::with_capacity(records.len()),
            too_large: Vec::new(),
            formatted: 0,
            settled: 0,
            acknowledged: 0,
            reading: Reading::default(),
            scratch: Scratch::default(),
        }
    }

    /// The next open message and its token; none when each was given out.
    pub fn next_message(&mut self) -> Option<(usize, &[u8])> {
        while self.reading.waiting.is_empty() {
            self.read_record()?;
        }
        let (token, place) = self.reading.waiting.pop_front()?;
        Some((token, &self.reading.text[place]))
    }

    fn read_record(&mut self) -> Option<()> {
        let Reading { record, token, waiting, text } = &mut self.reading;
        let index = *record;
        let source = self.records.get(index)?;
        *record += 1;
        text.clear();
        let messages = &mut self.messages;
        let take = |message: Message<'_>| {
            if *token == messages.len() {
                messages.push(Progress { record: index, state: State::Open });
            }
            if matches!(messages[*token].state, State::Open) {
                let start = text.len();
                message.write(text);
                waiting.push_back((*token, start..text.len()));
            }
            *token += 1;
        };
        let written = self.format.messages(source, self.room, &mut self.scratch, take);
        if index >= self.formatted {
            self.formatted = index + 1;
            self.too_large.extend(written.err().map(|fault| (index, fault.size)));
        }
        Some(())
    }

    /// Begins again with the first message that is open: the session is another one.
    pub fn rewind(&mut self) {
        self.reading = Reading { text: std::mem::take(&mut self.reading.text), ..Reading::default() };
    }

    /// Takes what the receiver said of a message.
    pub fn settle(&mut self, told: Told) {
        let (token, state) = match told {
            Told::Acknowledged(token) => (token, State::Acknowledged),
            Told::Refused(token, words) => (token, State::Refused(words)),
        };
        let Some(message) = self.messages.get_mut(token) else { return };
        if matches!(message.state, State::Open) {
            self.settled += 1;
            self.acknowledged += usize::from(matches!(state, State::Acknowledged));
            message.state = state;
        }
    }

    /// How many messages the receiver has acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Whether every message was given out and is settled.
    pub fn is_settled(&self) -> bool {
        self.formatted == self.records.len() && self.settled == self.messages.len()
    }

    /// Makes those open again that were refused; gives how many that are.
    pub fn reopen(&mut self) -> usize {
        let refused = self.messages.iter_mut().filter(|message| matches!(message.state, State::Refused(_)));
        let count = refused.map(|message| message.state = State::Open).count();
        self.settled -= count;
        self.rewind();
        count
    }

    /// The first record with an open message.
    pub fn first_open(&self) -> Option<&'a Record> {
        let open = self.messages.iter().find(|message| matches!(message.state, State::Open))?;
        self.records.get(open.record)
    }

    /// Records that become no message, with the length that it would have.
    pub fn too_large(&self) -> &[(usize, usize)] {
        &self.too_large
    }

    /// Records with a message that the receiver refuses, each once, with its words.
    pub fn refused(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut last = None;
        self.messages.iter().filter_map(move |message| match &message.state {
            State::Refused(words) if last.replace(message.record) != Some(message.record) => {
                Some((message.record, words.as_str()))
            }
            _ => None,
        })
    }
}
