//! What can be known of receivers beforehand: each is connected to and left, and a test message is sent where that is
//! asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fault::Fault;
use super::{Link, Settings, SyslogSink};
use crate::clock;
use crate::event::Event;
use crate::record::syslog::{Address, Transport};
use crate::record::{Delivery, Record, raw};
use crate::sink::Sink as _;

/// The type of the event in a test message.
pub const TEST_TYPE: &str = "test_of_jumpstream";

/// What was found of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub address: Address,
    /// What can be said of it; an error is a finding and its remedy.
    pub found: Result<String, (String, String)>,
}

/// Connects to every address, each within the time, and sends nothing but what a handshake needs.
pub async fn inspect(settings: &Settings, within: Duration) -> Vec<Inspection> {
    let look = |address: &Address| {
        let address = address.clone();
        async move {
            let late = || {
                Fault::new(
                    format!("{address} gives no answer within {} s", within.as_secs()),
                    "start it, or correct the address",
                )
            };
            let opened = Link::open(&address, &settings.tls, settings.window, &settings.deadlines);
            let opened = tokio::time::timeout(within, opened).await.unwrap_or_else(|_| Err(late()));
            let found = match opened {
                Ok(link) => {
                    link.close(settings.deadlines.close).await;
                    Ok(match address.transport {
                        Transport::Udp => "has an address; whether somebody listens there can't be asked by UDP",
                        Transport::Tcp => "takes connections",
                        Transport::Tls => "takes connections, and its certificate is right",
                        Transport::Relp => "speaks RELP",
                        Transport::RelpTls => "speaks RELP, and its certificate is right",
                    }
                    .to_owned())
                }
                Err(fault) => Err((fault.finding, fault.remedy.into_owned())),
            };
            Inspection { address, found }
        }
    };
    futures::future::join_all(settings.addresses.iter().map(look)).await
}

/// An event of our own whose message fills a frame of `max_message_bytes`, for [`Settings`] of a sink.
pub fn test_record(settings: &Settings) -> Record {
    let sink = SyslogSink::new(settings.clone());
    let room = sink.frames().room;
    let now = clock::wall();
    let of = |padding: usize| {
        let text = format!(
            r#"{{"id":"test","service":"jumpstream","event_type":"{TEST_TYPE}","timestamp":"{:.6}","padding":"{}","end":true}}"#,
            now,
            "x".repeat(padding)
        );
        let event = Event::parse(Bytes::from(text)).expect("a JSON object");
        raw::format(event, Delivery::Replay, now, &Arc::from("none"))
    };
    let mut length = 0;
    // Nothing is too large for a room without bounds.
    let _ = sink.format.messages(&of(0), usize::MAX, &mut Default::default(), |message| length = message.len());
    of(room.saturating_sub(length))
}

impl SyslogSink {
    /// Delivers one test message; an error is a finding and its remedy.
    pub async fn test(settings: Settings, within: Duration) -> Result<(), (String, String)> {
        let record = test_record(&settings);
        let sink = SyslogSink::new(settings);
        let delivered = {
            let mut delivery = std::pin::pin!(sink.deliver(std::slice::from_ref(&record)));
            let delivered = tokio::time::timeout(within, &mut delivery).await;
            // Asked while the delivery still waits.
            delivered.map_err(|_| sink.trouble())
        };
        sink.close().await;
        let late = || format!("it is not delivered within {} s; look at the receiver's log", within.as_secs());
        let halves = |sentence: String| match sentence.rsplit_once("; ") {
            Some((finding, remedy)) => (finding.to_owned(), remedy.to_owned()),
            None => (sentence, "look at the receiver's log".to_owned()),
        };
        match delivered {
            Ok(Ok(refused)) => refused.into_iter().next().map_or(Ok(()), |refused| {
                Err((refused.explanation, "raise the receiver's limit, or lower max_message_bytes".to_owned()))
            }),
            Ok(Err(error)) => Err(halves(error.to_string())),
            Err(trouble) => Err(halves(trouble.unwrap_or_else(late))),
        }
    }
}
