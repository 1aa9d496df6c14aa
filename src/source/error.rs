//! Why a request failed, what that means for the next one, and what the operator can do.

use std::time::Duration;

pub(super) use crate::quote::quote;

/// A request that gave no whole answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("endpoint {url}: {why}")]
    Endpoint { url: String, why: String },
    #[error("reading the api key: {0}")]
    Credential(String),
    #[error("connecting to {host}: {why}; check the name, the network and any proxy")]
    Unreachable { host: String, why: String },
    #[error(
        "tls with {host}: {why}; check that the endpoint's certificate is valid and its authority known here (ca-certificates, or SSL_CERT_FILE), and that the clock is right"
    )]
    Tls { host: String, why: String },
    #[error("{phase} took longer than {after:?}; the request is tried again, a smaller poll.page_size may help")]
    Timeout { phase: Phase, after: Duration },
    #[error("the api limits our rate (status {status}): {message}; lower requests_per_second if this goes on")]
    RateLimited { status: u16, retry_after: Option<Duration>, message: String },
    #[error("the api refuses the key (401): {message}; {remedy}")]
    Unauthorized { message: String, remedy: &'static str },
    #[error(
        "the api forbids this to the key (403): {message}; check the admin's role and API access, the region, and that the organization is one the key sees"
    )]
    Forbidden { message: String },
    #[error("directory insights is not licensed for this time or organization (402): {message}; check the plan")]
    Unlicensed { message: String },
    #[error("the api says that the start lies in its future (400): {message}; check this machine's clock")]
    FutureStart { message: String },
    #[error("the api refuses the request ({status}): {message}; check services, organizations and start")]
    BadRequest { status: u16, message: String },
    #[error(
        "the endpoint redirects to {location} ({status}), which is refused because the key would follow; set endpoint to the API's own address"
    )]
    Redirected { status: u16, location: String },
    #[error("the endpoint knows no such path (404): {message}; check region and endpoint")]
    NotFound { message: String },
    #[error("the api failed ({status}): {message}; the request is tried again")]
    Server { status: u16, retry_after: Option<Duration>, message: String },
    #[error("the answer ended after {elements} whole events, in mid-body ({why}); the request is tried again")]
    PageTruncated { elements: u64, why: String },
    #[error("the answer holds {elements} events and says {said}; the request is tried again")]
    CountMismatch { said: u64, elements: u64 },
    #[error("the answer is not what the api documents: {why}; check that the endpoint is the API and no proxy's page")]
    Malformed { why: String },
    #[error("{what} is longer than {limit} bytes; the request is tried again")]
    TooLong { what: &'static str, limit: u64 },
}

/// What a deadline was set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    /// Up to the headers, connecting included.
    Answer,
    /// The next piece of the body, counted only while we wait for it.
    Body,
    /// As much of the body as a living server sends in that time.
    Rate,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Connect => "connecting",
            Phase::Answer => "the api's answer",
            Phase::Body => "the next piece of the api's answer",
            Phase::Rate => "less than 64 KiB of the api's answer",
        })
    }
}

/// What an error means for the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may pass by itself: ask again, `after` this time where the API named one, else by the retry schedule.
    Retry { after: Option<Duration> },
    /// The key, or its rights: wait for [`super::Client::credential_changed`], and ask again now and then.
    Credential,
    /// This very request is refused: ask another one, or this one again only rarely.
    Refused,
    /// Call [`super::Client::reset_clock`] and cut the edge back.
    FutureStart,
}

impl Error {
    pub fn class(&self) -> Class {
        match self {
            Error::Unreachable { .. }
            | Error::Tls { .. }
            | Error::Timeout { .. }
            | Error::PageTruncated { .. }
            | Error::CountMismatch { .. }
            | Error::Malformed { .. }
            | Error::TooLong { .. } => Class::Retry { after: None },
            Error::RateLimited { retry_after, .. } | Error::Server { retry_after, .. } => {
                Class::Retry { after: *retry_after }
            }
            Error::Credential(_) | Error::Unauthorized { .. } | Error::Forbidden { .. } => Class::Credential,
            Error::Endpoint { .. }
            | Error::Unlicensed { .. }
            | Error::BadRequest { .. }
            | Error::Redirected { .. }
            | Error::NotFound { .. } => Class::Refused,
            Error::FutureStart { .. } => Class::FutureStart,
        }
    }

    /// Whether it is the key that is refused, or can't be read. A 403 may be of one request only.
    pub fn is_of_the_key(&self) -> bool {
        self.class() == Class::Credential && !matches!(self, Error::Forbidden { .. })
    }

    /// Whether it may be this very request that is refused, while others are answered.
    pub fn may_be_of_the_request(&self) -> bool {
        self.class() == Class::Refused || matches!(self, Error::Forbidden { .. })
    }

    /// Whether an answer came and was not what it should be: asked for a shorter range, it may be.
    pub fn is_of_the_answer(&self) -> bool {
        matches!(
            self,
            Error::PageTruncated { .. }
                | Error::CountMismatch { .. }
                | Error::Malformed { .. }
                | Error::TooLong { .. }
                | Error::Timeout { phase: Phase::Body | Phase::Rate, .. }
        )
    }

    /// A metric label, one of as many as there are variants.
    pub fn label(&self) -> &'static str {
        match self {
            Error::Endpoint { .. } => "endpoint",
            Error::Credential(_) => "credential",
            Error::Unreachable { .. } => "unreachable",
            Error::Tls { .. } => "tls",
            Error::Timeout { .. } => "timeout",
            Error::RateLimited { .. } => "rate_limited",
            Error::Unauthorized { .. } => "unauthorized",
            Error::Forbidden { .. } => "forbidden",
            Error::Unlicensed { .. } => "unlicensed",
            Error::FutureStart { .. } => "future_start",
            Error::BadRequest { .. } => "bad_request",
            Error::Redirected { .. } => "redirected",
            Error::NotFound { .. } => "not_found",
            Error::Server { .. } => "server",
            Error::PageTruncated { .. } => "page_truncated",
            Error::CountMismatch { .. } => "count_mismatch",
            Error::Malformed { .. } => "malformed",
            Error::TooLong { .. } => "too_long",
        }
    }
}
