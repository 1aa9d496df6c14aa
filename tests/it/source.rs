//! The API client: what it makes of every answer, whole, cut, slow, hostile or refused.

mod answers;
mod credentials;
mod deadlines;
mod pages;
mod parser;
pub mod server;
mod turns;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::source::{Base, Client, Deadlines, Element, Error, EventQuery, KeySource, Limits, Options, Page};
use server::Server;

/// Must appear in nothing that the client shows.
const KEY: &str = "jca_TheVerySecretKey";

/// A key in a file, and the options that point to it and to `server`.
fn options(server: &Server) -> (Options, tempfile::NamedTempFile) {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), format!("{KEY}\n")).unwrap();
    let base = Base::Endpoint { url: server.url(), insecure: false };
    let mut options = Options::new(base, KeySource::File(key.path().to_owned()));
    options.requests_per_second = 1000.0;
    options.deadlines =
        Deadlines { connect: Duration::from_secs(5), answer: Duration::from_secs(5), body: Duration::from_secs(5) };
    (options, key)
}

struct Fixture {
    client: Client,
    outcomes: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    key: tempfile::NamedTempFile,
}

impl Fixture {
    fn new(server: &Server) -> Fixture {
        Fixture::with(server, |_| {})
    }

    fn with(server: &Server, change: impl FnOnce(&mut Options)) -> Fixture {
        let (mut options, key) = options(server);
        let outcomes: Arc<Mutex<Vec<_>>> = Arc::default();
        let seen = outcomes.clone();
        options.on_request = Arc::new(move |endpoint, outcome| seen.lock().unwrap().push((endpoint, outcome)));
        change(&mut options);
        Fixture { client: Client::new(options).unwrap(), outcomes, key }
    }

    fn outcomes(&self) -> Vec<(&'static str, &'static str)> {
        self.outcomes.lock().unwrap().clone()
    }

    async fn error(&self) -> Error {
        match self.client.events(None, &query()).await {
            Err(error) => error,
            Ok(mut page) => read(&mut page).await.expect_err("the request should have failed"),
        }
    }
}

fn query() -> EventQuery {
    EventQuery {
        service: "all".to_owned(),
        start: Time::parse("2026-03-02T08:00:00Z").unwrap(),
        end: None,
        limit: 1000,
        search_after: None,
    }
}

fn small_limits() -> Limits {
    Limits { max_event_bytes: 100, endless_bytes: 300_000, blank_bytes: 50 }
}

/// All elements: an event's bytes, or an oversized one's size.
async fn read(page: &mut Page) -> Result<Vec<Element>, Error> {
    let mut elements = Vec::new();
    while let Some(element) = page.next().await? {
        elements.push(element);
    }
    Ok(elements)
}

fn bytes(element: &Element) -> &[u8] {
    match element {
        Element::Event(event) => event.bytes(),
        Element::Oversized(oversized) => &oversized.head,
        Element::Malformed(malformed) => &malformed.bytes,
    }
}
