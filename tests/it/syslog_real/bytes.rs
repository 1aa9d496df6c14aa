//! Every awkward byte arrives, by every door of rsyslog and syslog-ng, as their own parsers read it.

use std::collections::HashMap;

use fastrand::Rng;
use jumpstream::record::Record;

use super::receiver::{Door, PLAIN, Received, Receiver, Server};
use super::{awkward, deliver, open};
use crate::random;

/// Events by each door, in `make test` and in `make prove`.
const SAMPLE: usize = 1_500;
const ALL: usize = 100_000;
const BATCH: usize = 1_000;
/// A sender by UDP waits for nobody, so what is on its way must fit the receiver's buffer.
const DATAGRAMS: usize = 20;
/// Of a datagram's, less what stands before the text.
const SMALL: usize = 700;
/// Of the 64 KiB of a TCP frame, less what stands before the text.
const LARGE: usize = 60_000;

async fn every_byte_arrives(server: Server, doors: &[Door], check: fn(&Record, &Received)) {
    let name = format!("{server:?} and every byte");
    let Some(receiver) = Receiver::start(server, &name, PLAIN).await else { return };
    let count = if random::is_prove() { ALL } else { SAMPLE };
    for seed in random::seeds(1, 1) {
        let mut so_far = 0;
        for door in doors {
            let sink = open(&receiver.sink(*door, ""));
            let is_udp = matches!(door, Door::Udp | Door::OldUdp);
            let mut rng = Rng::with_seed(seed);
            let (mut sent, batch) = (0, if is_udp { DATAGRAMS } else { BATCH });
            let mut wanted = HashMap::new();
            while sent < count {
                let records: Vec<Record> = (sent..count.min(sent + batch))
                    .map(|number| awkward::event(number, length(&mut rng, is_udp), &mut rng))
                    .collect();
                assert_eq!(deliver(&*sink, &records).await, [], "{door:?}");
                sent += records.len();
                if is_udp {
                    receiver.await_count(so_far + sent).await;
                }
                wanted.extend(records.into_iter().map(|record| (record.event.id().unwrap().to_owned(), record)));
            }
            receiver.await_count(so_far + sent).await;
            let (received, foreign) = receiver.received();
            assert_eq!(foreign, 0, "{door:?}, seed {seed}: lines that are no messages");
            assert_eq!(received.len(), so_far + sent, "{door:?}, seed {seed}");
            for got in &received[so_far..] {
                let record = wanted.remove(&id(got)).unwrap_or_else(|| panic!("{door:?}: twice, or not ours: {got:?}"));
                check(&record, got);
            }
            println!("{server:?} {door:?}: {sent} events, lost {}, changed 0", wanted.len());
            assert!(wanted.is_empty(), "{door:?}, seed {seed}");
            so_far += sent;
        }
    }
}

/// Mostly what events are like, and now and then a large one.
fn length(rng: &mut Rng, is_udp: bool) -> usize {
    match rng.u8(..) {
        _ if is_udp => rng.usize(250..SMALL),
        0 => rng.usize(250..LARGE),
        _ => rng.usize(250..1_500),
    }
}

/// Of the event in the text: RFC 3164 has no other place for it.
fn id(got: &Received) -> String {
    let event: serde_json::Value =
        serde_json::from_str(&got.text).unwrap_or_else(|error| panic!("no whole event ({error}): {got:?}"));
    event["id"].as_str().unwrap().to_owned()
}

/// The format of RFC 3164 has a time without a year or a zone, and no place for the rest.
#[track_caller]
fn text_is_equal(record: &Record, got: &Received) {
    // rsyslog takes the space behind the tag for a part of the text.
    assert_eq!(got.text.trim_start(), awkward::line(record));
    assert_eq!(got.app, "jumpstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_receives_every_byte_by_every_door() {
    let doors = [Door::Udp, Door::Tcp, Door::Tls, Door::MutualTls, Door::Relp, Door::RelpTls, Door::RelpMutualTls];
    every_byte_arrives(Server::Rsyslog, &doors, awkward::assert_equal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_ng_receives_every_byte_by_every_door() {
    let doors = [Door::Udp, Door::Tcp, Door::Tls, Door::MutualTls];
    every_byte_arrives(Server::SyslogNg, &doors, awkward::assert_equal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_format_is_received_byte_for_byte_by_syslog_ng() {
    every_byte_arrives(Server::SyslogNg, &[Door::OldTcp, Door::OldTls, Door::OldUdp], text_is_equal).await;
}
