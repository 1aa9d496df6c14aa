//! The connection: where to, under which rules, and what its failures are called.

use std::time::Duration;

use reqwest::{Response, Url};
use tokio::time::timeout;

use super::error::quote;
use super::{Base, Error, Phase};

/// The body as far as it came, at most `limit` bytes of it, and whether that was all.
pub(super) async fn read(response: &mut Response, limit: u64, idle: Duration) -> (Vec<u8>, Result<(), Error>) {
    let mut body = Vec::new();
    loop {
        match timeout(idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let room = limit as usize - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, Err(Error::TooLong { what: "the answer", limit }));
                }
            }
            Ok(Ok(None)) => return (body, Ok(())),
            Ok(Err(error)) => return (body, Err(body_error(&error, 0))),
            Err(_) => return (body, Err(Error::Timeout { phase: Phase::Body, after: idle })),
        }
    }
}

/// A body that broke off: cut, or not what its encoding says.
pub(super) fn body_error(error: &reqwest::Error, elements: u64) -> Error {
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
