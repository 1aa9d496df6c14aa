//! One answer of `/events`: its headers, and its events as they arrive.

mod parser;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

pub use parser::{Limits, Parser};

use super::client::Outcome;
use super::wire::body_error;
use super::{Error, Phase};
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
}

/// An event over `max_event_bytes`, which was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oversized {
    /// Its first 64 KiB, or all of it where it is shorter.
    pub head: Bytes,
    /// Its length in bytes.
    pub size: u64,
}

/// An answer that is being read. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct Page {
    pub head: Head,
    response: reqwest::Response,
    parser: Parser,
    idle: Duration,
    outcome: Outcome,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    Whole,
    Failed(Error),
}

impl Page {
    pub(super) fn new(head: Head, response: reqwest::Response, limits: Limits, idle: Duration, out: Outcome) -> Page {
        Page { head, response, parser: Parser::new(limits), idle, outcome: out, state: State::Reading }
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
                return Ok(Some(element));
            }
            // Counted from here, while we wait: a slow consumer is no slow server.
            let chunk = timeout(self.idle, self.response.chunk()).await;
            match chunk.map_err(|_| Error::Timeout { phase: Phase::Body, after: self.idle })? {
                Ok(Some(chunk)) => self.parser.push(chunk),
                Ok(None) => return self.finish().map(|()| None),
                Err(error) => return Err(body_error(&error, self.parser.elements())),
            }
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
