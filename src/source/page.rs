//! One answer of `/events`: its headers, and its events as they arrive.

mod parser;

use std::time::Duration;

use bytes::Bytes;

pub use parser::{Limits, Parser};

use super::Error;
use super::client::Outcome;
use super::wire::Pace;
use crate::clock::Time;
use crate::event::Event;

/// What an answer's headers say (insights-api §1.7). All may be missing: some proxies drop them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// `X-Limit`: the page size the API used, which need not be the one asked for.
    pub limit: Option<u32>,
    /// `X-Result-Count`: how many elements the body holds.
    pub count: Option<u32>,
    /// `X-Search_after`: JSON text of an array, to be sent back as it is.
    pub cursor: Option<String>,
    /// The server's time when the request was sent; none while the API has never sent a usable `Date`.
    pub sent_at: Option<Time>,
}

/// What an array of events holds.
#[derive(Debug, Clone)]
pub enum Element {
    Event(Event),
    Oversized(Oversized),
    Malformed(Malformed),
}

/// An event over `max_event_bytes`, which was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oversized {
    /// Its first 64 KiB, or all of it where it is shorter.
    pub head: Bytes,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of all of it: what many have in common may be the head.
    pub digest: [u8; 32],
}

/// An element that is no JSON object, though it is plain where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// All of it.
    pub bytes: Bytes,
    /// What was expected instead.
    pub why: String,
    /// SHA-256 of all of it.
    pub digest: [u8; 32],
}

/// An answer that is being read. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct Page {
    pub head: Head,
    response: reqwest::Response,
    parser: Parser,
    idle: Duration,
    pace: Pace,
    /// More elements than these are no answer to what was asked.
    most: u64,
    outcome: Outcome,
    state: State,
}

/// The API's largest page (insights-api §1.4).
const LARGEST: u32 = 10_000;

#[derive(Debug)]
enum State {
    Reading,
    Whole,
    Failed(Error),
}

impl Page {
    /// `asked`: the limit that was asked for.
    pub(super) fn new(
        head: Head,
        response: reqwest::Response,
        limits: Limits,
        idle: Duration,
        asked: u32,
        outcome: Outcome,
    ) -> Page {
        let most = u64::from(head.limit.unwrap_or(LARGEST).min(LARGEST).max(asked));
        let (parser, pace) = (Parser::new(limits), Pace::default());
        Page { head, response, parser, idle, pace, most, outcome, state: State::Reading }
    }

    /// Whether a header came along that only the API sends, so that the body is not some proxy's.
    pub fn is_the_apis(&self) -> bool {
        self.head.limit.is_some() || self.head.count.is_some()
    }

    /// The next element, in the order of the answer.
    ///
    /// None only when the answer was whole: the array closed, nothing but white space behind it, and as many
    /// elements as `X-Result-Count` says, where it says so. An error is final: asked again, it is given again.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing; the next call goes on where it stopped.
    pub async fn next(&mut self) -> Result<Option<Element>, Error> {
        match &self.state {
            State::Reading => {}
            State::Whole => return Ok(None),
            State::Failed(error) => return Err(error.clone()),
        }
        let next = self.read().await;
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.state = State::Whole;
                self.outcome.set("ok");
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                self.outcome.set(error.label());
            }
        }
        next
    }

    async fn read(&mut self) -> Result<Option<Element>, Error> {
        loop {
            if let Some(element) = self.parser.pull()? {
                return self.check_count().map(|()| Some(element));
            }
            match self.pace.chunk(&mut self.response, self.idle, self.parser.elements()).await? {
                Some(chunk) => self.parser.push(chunk),
                None => return self.finish().map(|()| None),
            }
        }
    }

    /// An array that never ends is told by its length, not by our patience.
    fn check_count(&self) -> Result<(), Error> {
        let elements = self.parser.elements();
        match self.head.count.map(u64::from) {
            Some(said) if elements > said => Err(Error::CountMismatch { said, elements }),
            _ if elements > self.most => {
                Err(Error::Malformed { why: format!("it holds more than {} events", self.most) })
            }
            _ => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), Error> {
        let elements = self.parser.finish()?;
        match self.head.count.map(u64::from) {
            Some(said) if said != elements => Err(Error::CountMismatch { said, elements }),
            _ => Ok(()),
        }
    }
}
