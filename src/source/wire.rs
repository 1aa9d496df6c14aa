//! The connection: where to, under which rules, and what its failures are called.

use std::time::Duration;

use reqwest::{Response, Url};
use tokio::time::timeout;

use super::error::quote;
use super::{Base, Error, Phase};
use crate::clock;

/// While we wait for a body, this much of it must come in [`SPELL`]: a body of a byte a second is no answer.
const LEAST_BYTES: u64 = 64 << 10;
const SPELL: Duration = Duration::from_secs(60);

/// How long we have waited for a body, and what came of it. Only our waiting counts: a slow consumer is no slow server.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// For the next piece.
    idle: Duration,
    /// For all pieces of this spell, and their bytes.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Waits for the next piece, for as long as `idle` is not used up; none at the body's end.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing; the time waited so far stays counted.
    pub(super) async fn chunk(
        &mut self,
        response: &mut Response,
        idle: Duration,
        elements: u64,
    ) -> Result<Option<bytes::Bytes>, Error> {
        let waiting = Waiting { began: clock::uptime(), idle: &mut self.idle };
        let left = idle.saturating_sub(*waiting.idle);
        let chunk = timeout(left, response.chunk()).await;
        drop(waiting);
        let chunk = chunk.map_err(|_| Error::Timeout { phase: Phase::Body, after: idle })?;
        let chunk = chunk.map_err(|error| body_error(&error, elements))?;
        self.waited += std::mem::take(&mut self.idle);
        self.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if chunk.is_some() && self.waited >= SPELL {
            if self.bytes < LEAST_BYTES {
                return Err(Error::Timeout { phase: Phase::Rate, after: self.waited });
            }
            *self = Pace::default();
        }
        Ok(chunk)
    }
}

/// Counts the time until it is dropped.
struct Waiting<'a> {
    began: Duration,
    idle: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.idle += clock::uptime().saturating_sub(self.began);
    }
}

/// The body as far as it came, at most `limit` bytes of it, and whether that was all.
pub(super) async fn read(response: &mut Response, limit: u64, idle: Duration) -> (Vec<u8>, Result<(), Error>) {
    let (mut body, mut pace) = (Vec::new(), Pace::default());
    loop {
        match pace.chunk(response, idle, 0).await {
            Ok(Some(chunk)) => {
                let room = limit as usize - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, Err(Error::TooLong { what: "the answer", limit }));
                }
            }
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(error)),
        }
    }
}

/// A body that broke off: cut, or not what its encoding says.
fn body_error(error: &reqwest::Error, elements: u64) -> Error {
    Error::PageTruncated { elements, why: quote(&cause(error)) }
}

/// The innermost error: the outer ones only say that a request failed.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

pub(super) fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error hides what it wraps: its source is the wrapped error's own.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| is_tls(wrapped)) || error.source().is_some_and(is_tls)
}

pub(super) fn url(base: &Base) -> Result<Url, Error> {
    let (text, insecure) = match base {
        Base::Region(region) => (region.url(), false),
        Base::Endpoint { url, insecure } => (url.as_str(), *insecure),
    };
    let fault = |why: &str| Error::Endpoint {
        url: quote(text.split(['?', '#', '@']).next().unwrap_or_default()),
        why: why.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| fault(&format!("{error}; write it as https://host")))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(fault("holds more than scheme, host, port and path"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if insecure || is_loopback(&url) => Ok(url),
        "http" => Err(fault("the key would travel in clear text; use https, or insecure: true where that is meant")),
        _ => Err(fault("must begin with https://")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    quote(&url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")))
}

pub(super) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

pub(super) fn http(base: &Url, organizations: &Url, connect: Duration) -> Result<reqwest::Client, Error> {
    // An error means that the process has a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("jumpstream/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(connect)
        // A page that waits for a slow sink must hold up no other: HTTP/2's streams share one window.
        .http1_only()
        .gzip(true);
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    if base.scheme() == "http" && organizations.scheme() == "http" {
        // No root is needed, and a machine may have none, which would be refused.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| Error::Tls { host: host(base), why: quote(&cause(&error)) })
}
