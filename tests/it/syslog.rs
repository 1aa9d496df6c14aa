//! Syslog: what messages say, what becomes of those that don't fit, and that no transport loses or hangs.

mod authority;
mod check;
mod fit;
mod kill;
mod line;
mod message;
mod peer;
mod receiver;
mod relp;
mod session;
mod stream;
mod tls;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::record::syslog::{self, Address, Format, Oversize, Protocol, Scratch};
use jumpstream::record::{Delivery, Record, raw};
use jumpstream::sink::syslog::{Deadlines, Settings, SyslogSink, Tls};
use jumpstream::sink::{Refused, Sink as _};

use crate::sink::DEADLINE;

/// What messages say of their sender in these tests.
fn format_settings() -> syslog::Settings {
    syslog::Settings {
        protocol: Protocol::Rfc5424,
        oversize: Oversize::DeadLetter,
        facility: 16,
        hostname: "host.example.com".into(),
        app_name: "jumpstream".into(),
        enterprise_number: 32473,
    }
}

/// To these addresses, with deadlines that a loaded machine keeps and a test can wait for.
fn settings(addresses: &[&str]) -> Settings {
    let addresses: Vec<Address> = addresses.iter().map(|address| Address::parse(address).unwrap()).collect();
    Settings {
        max_message_bytes: addresses[0].transport.default_max_message_bytes(),
        addresses,
        format: format_settings(),
        newline: false,
        window: 128,
        tls: Tls::default(),
        deadlines: Deadlines {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(3),
            stall: Duration::from_millis(500),
            give_up: Duration::from_secs(5),
            again: Duration::from_millis(100),
            ..Deadlines::default()
        },
    }
}

/// A record of this JSON.
fn record(json: impl Into<Bytes>) -> Record {
    let event = Event::parse(json.into()).expect("a JSON object");
    raw::format(event, Delivery::Live, Time::from_secs(1_790_000_000), &Arc::from("5f00000000000000000000aa"))
}

/// Records whose ids are their numbers, each with so much beside it.
fn records(numbers: std::ops::Range<usize>, padding: usize) -> Vec<Record> {
    let padding = "p".repeat(padding);
    numbers
        .map(|number| {
            record(format!(
                r#"{{"id":"{number}","service":"sso","event_type":"sso_auth","timestamp":"2026-09-20T10:00:00Z","x":"{padding}"}}"#
            ))
        })
        .collect()
}

/// Records of everything that makes trouble on its way, up to so many bytes of JSON, some with line ends between tokens.
fn awkward_records(random: &mut fastrand::Rng, count: usize, most: usize) -> Vec<Record> {
    let pieces = [
        "]",
        "\"",
        "\\",
        "\\]",
        "|",
        "=",
        "\n",
        "\r\n",
        "\0",
        "\u{7f}",
        "\u{85}",
        "é",
        "\u{1f600}",
        "<134>1 ",
        "12 ",
        "[x@1 y=\"",
        " ",
    ];
    (0..count)
        .map(|number| {
            let length = if random.u8(0..10) == 0 { most } else { random.usize(0..most / 4) };
            let mut text = String::new();
            while text.len() < length {
                text.push_str(random.choice(pieces).unwrap());
            }
            let id = format!("{number}{}", random.choice(pieces).unwrap());
            let event = serde_json::json!({"id": id, "event_type": random.choice(pieces).unwrap(), "x": text});
            let mut json =
                if random.bool() { event.to_string() } else { serde_json::to_string_pretty(&event).unwrap() };
            // Escaped, it is longer than it was.
            while json.len() > most {
                let end = text
                    .char_indices()
                    .map(|(at, _)| at)
                    .take_while(|at| *at <= text.len() * 9 / 10)
                    .last()
                    .unwrap_or(0);
                text.truncate(end);
                json = serde_json::json!({"id": id, "x": text}).to_string();
            }
            record(json)
        })
        .collect()
}

/// What receivers should have of these: each text on one line.
fn lines(records: &[Record]) -> Vec<Vec<u8>> {
    let line = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    records.iter().map(|record| record.value.iter().map(line).collect()).collect()
}

/// The messages of a record, each of at most so many bytes.
fn messages(settings: syslog::Settings, record: &Record, most: usize) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let written = Format::new(settings).messages(record, most, &mut Scratch::default(), |message| {
        let mut text = Vec::new();
        message.write(&mut text);
        assert_eq!(text.len(), message.len());
        messages.push(text);
    });
    written.ok().map(|()| messages)
}

/// What stands behind the head of a message by RFC 5424.
fn text(message: &[u8]) -> &[u8] {
    // A parameter can't hold this: its quotes are escaped.
    let start = message.windows(4).position(|four| four == b"\"] {").expect("a head and a JSON object");
    &message[start + 3..]
}

/// The id of the event in a message.
fn id(message: &[u8]) -> String {
    let event: serde_json::Value = serde_json::from_slice(text(message)).expect("JSON");
    event["id"].as_str().expect("an id").to_owned()
}

/// Delivers within the deadline.
async fn deliver(sink: &SyslogSink, records: &[Record]) -> Vec<Refused> {
    let delivered = tokio::time::timeout(DEADLINE, sink.deliver(records)).await;
    delivered.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {:?}", sink.trouble())).unwrap()
}

/// Every id in order of its first coming.
#[track_caller]
fn assert_all_there(received: &[Vec<u8>], numbers: std::ops::Range<usize>) {
    let mut seen = std::collections::HashSet::new();
    let first: Vec<String> = received.iter().map(|message| id(message)).filter(|id| seen.insert(id.clone())).collect();
    let expected: Vec<String> = numbers.map(|number| number.to_string()).collect();
    assert_eq!(first.len(), expected.len(), "{} of {} are there", first.len(), expected.len());
    assert_eq!(first, expected);
}
