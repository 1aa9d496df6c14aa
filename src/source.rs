//! The Directory Insights API: one request, one answer.
//!
//! A [`Client`] stands for one account: its key, its connections, its rate limit and the API's clock. It is a
//! handle, cheap to clone. Every request of the account waits for its turn under the one limit, of which live polls,
//! gaps and verification each have a share; a 429 lowers it, quiet raises it again, and a `Retry-After` holds for the
//! whole account.
//!
//! # Cancellation
//! Every future may be dropped at any time: the request is abandoned, its turn under the rate limit is spent or
//! given to the next, and nothing else changes. [`Page::next`] dropped loses no event.
//!
//! # Invariants
//! Never asks twice, but once more after a 401 where the key has changed meanwhile: when to ask again is its
//! caller's business. Never follows a redirect, so the key goes to no other host; never shows the key. Never holds
//! a whole page, nor an event over `max_event_bytes`. Never reports the end of a page that was not whole.
//! Knows nothing of ledgers, plans or sinks.

mod answer;
mod client;
mod credentials;
mod error;
pub mod page;
pub mod query;
mod rate;
mod turns;
mod usage;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use client::{Client, Organization, Samples};
pub use credentials::KeySource;
pub use error::{Class, Error, Phase};
pub use page::{Element, Head, Limits, Malformed, Oversized, Page};
pub use query::{Bucket, EventQuery, IntervalQuery, IntervalUnit};
pub use turns::Purpose;
pub use usage::Usage;

/// Called once for every request sent, when its outcome is known: the endpoint (`events`, `count`, `interval`,
/// `organizations`) and the outcome (`ok`, [`Error::label`], or `dropped`).
pub type Observer = Arc<dyn Fn(&'static str, &'static str) + Send + Sync>;

/// What a [`Client`] is built from.
#[derive(Clone)]
pub struct Options {
    /// The account's name, for log lines.
    pub account: String,
    pub base: Base,
    /// Where `/api/organizations` is asked instead of at `base` (insights-api §1.13 names the console's host).
    pub organizations: Option<Base>,
    pub key: KeySource,
    pub requests_per_second: f64,
    pub deadlines: Deadlines,
    pub limits: Limits,
    pub on_request: Observer,
}

impl Options {
    /// The defaults of the configuration: 5 requests a second.
    pub fn new(base: Base, key: KeySource) -> Options {
        Options {
            account: "main".to_owned(),
            base,
            organizations: None,
            key,
            requests_per_second: 5.0,
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            on_request: Arc::new(|_, _| {}),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("account", &self.account)
            .field("base", &self.base)
            .field("key", &self.key)
            .field("requests_per_second", &self.requests_per_second)
            .finish_non_exhaustive()
    }
}

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    Region(Region),
    /// `https://…`; `http://…` only to loopback, or where `insecure` says so.
    Endpoint {
        url: String,
        insecure: bool,
    },
}

/// The API's hosts (insights-api §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    Us,
    Eu,
    In,
}

impl Region {
    pub fn url(self) -> &'static str {
        match self {
            Region::Us => "https://api.jumpcloud.com",
            Region::Eu => "https://api.eu.jumpcloud.com",
            Region::In => "https://api.in.jumpcloud.com",
        }
    }
}

/// How long the API may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Name, TCP and TLS.
    pub connect: Duration,
    /// From sending to the headers, connecting included.
    pub answer: Duration,
    /// For each next piece of the body, counted only while we wait for it.
    pub body: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        let seconds = Duration::from_secs;
        Deadlines { connect: seconds(10), answer: seconds(60), body: seconds(30) }
    }
}
