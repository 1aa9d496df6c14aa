//! The sinks: what they write, what they wait for, and that nothing is lost meanwhile.

pub mod broker;
mod destination;
mod file;
mod kafka;
pub mod proxy;
mod rotation;
mod stdout;
pub mod token;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::record::{Delivery, Key, Record, raw};
use jumpstream::sink::kafka::Settings;

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A sink of this topic, without credentials.
fn settings(brokers: &str, topic: &str) -> Settings {
    Settings {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        topic: topic.into(),
        key: Key::Actor,
        tls: None,
        sasl: None,
        properties: BTreeMap::new(),
        ledger: None,
        max_record_bytes: 16 << 20,
    }
}

/// A record of these very bytes.
pub fn record(json: impl Into<Bytes>) -> Record {
    let event = Event::parse(json.into()).expect("a JSON object");
    raw::format(event, Delivery::Live, Time::from_secs(1_790_000_000), &Arc::from("org-1"))
}

/// Records whose ids are their numbers; each `actor` has every seventh.
pub fn records(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers
        .map(|number| {
            record(format!(
                r#"{{"id":"{number}","service":"sso","timestamp":"2026-09-20T10:00:00Z","initiated_by":{{"id":"actor-{}"}}}}"#,
                number % 7
            ))
        })
        .collect()
}

/// Waits until `condition` gives something.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
