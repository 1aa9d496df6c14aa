//! Messages over the limit, as rsyslog receives them: refused, shrunk or split, and never cut in silence.

use jumpstream::record::{Reason, Record};
use serde_json::Value;

use super::receiver::{Door, PLAIN, Received, Receiver, Server};
use super::{awkward, deliver, open};
use crate::process::tally::sha256;
use crate::sink::record;

/// The default of UDP, for all.
const LIMIT: usize = 1_472;
/// What stands around a message in its frame is a part of it: at most so much, by RELP.
const FRAME: usize = 32;

/// An event of exactly `length` bytes of JSON.
fn event(number: usize, length: usize) -> Record {
    let begin = format!(
        r#"{{"id":"{number}","event_type":"user_login_attempt","service":"directory","timestamp":"2026-09-20T10:00:00Z","organization":"5f00000000000000000000aa","success":true,"text":""#
    );
    let end = r#""}"#;
    let rest = length - begin.len() - end.len();
    // Of two bytes each, so that a cut anywhere but at a character's edge would show.
    let text = "é".repeat(rest / 2) + &"x".repeat(rest % 2);
    record(format!("{begin}{text}{end}"))
}

struct Stage {
    receiver: Receiver,
    seen: usize,
}

impl Stage {
    async fn new(test: &str) -> Option<Stage> {
        Some(Stage { receiver: Receiver::start(Server::Rsyslog, test, PLAIN).await?, seen: 0 })
    }

    /// What comes of one more delivery: so many messages.
    async fn next(&mut self, count: usize) -> Vec<Received> {
        self.receiver.await_count(self.seen + count).await;
        let (mut received, foreign) = self.receiver.received();
        assert_eq!((received.len(), foreign), (self.seen + count, 0));
        let next = received.split_off(self.seen);
        self.seen += count;
        next
    }

    /// The parts of one event.
    async fn parts(&mut self) -> Vec<Value> {
        self.receiver.await_count(self.seen + 1).await;
        let of = part(&self.receiver.received().0[self.seen])["of"].as_u64().unwrap() as usize;
        self.next(of).await.iter().map(part).collect()
    }
}

const DOORS: [Door; 4] = [Door::Udp, Door::Tcp, Door::Tls, Door::Relp];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_exactly_the_limit_passes_and_one_byte_more_is_a_dead_letter() {
    let Some(mut stage) = Stage::new("the limit of a message").await else { return };
    for door in DOORS {
        let sink = open(&stage.receiver.sink(door, &format!(", max_message_bytes: {LIMIT}")));
        assert_eq!(deliver(&*sink, &[event(0, 600)]).await, []);
        let first = stage.next(1).await.remove(0);
        let before_text = first.length.unwrap() - 600;
        let most = LIMIT - before_text;
        let mut largest = most;
        let refused = deliver(&*sink, &[event(1, most + 1), event(2, 600)]).await;
        assert_eq!(refused.len(), 1, "{door:?}: {refused:?}");
        assert_eq!((refused[0].index, refused[0].reason), (0, Reason::TooLargeForSink), "{refused:?}");
        println!("{door:?}: {}", refused[0].explanation);
        assert_eq!(stage.next(1).await[0].text.len(), 600);
        while !deliver(&*sink, &[event(3, largest)]).await.is_empty() {
            largest -= 1;
            assert!(most - largest <= FRAME, "{door:?}: {largest} bytes of text are refused, {most} would fit");
        }
        let got = stage.next(1).await.remove(0);
        assert_eq!(got.text, awkward::line(&event(3, largest)), "{door:?}");
        println!("{door:?}: {} bytes of {LIMIT} passed", got.length.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shrunk_message_fits_is_json_and_says_what_it_lacks() {
    let Some(mut stage) = Stage::new("shrunk messages").await else { return };
    for door in DOORS {
        let more = format!(", max_message_bytes: {LIMIT}, oversize: shrink");
        let sink = open(&stage.receiver.sink(door, &more));
        for length in [1_500, 5_000, 200_000] {
            let whole = event(length, length);
            assert_eq!(deliver(&*sink, std::slice::from_ref(&whole)).await, [], "{door:?}");
            let got = stage.next(1).await.remove(0);
            assert!(got.length.unwrap() <= LIMIT, "{door:?}: {got:?}");
            let event: Value = serde_json::from_str(&got.text).expect("it is JSON");
            assert_eq!(event["id"], length.to_string(), "{got:?}");
            assert_eq!(event["event_type"], "user_login_attempt", "{got:?}");
            let digest = sha256(&whole.value);
            assert!(got.text.contains(&digest), "{door:?}: no digest {digest} of the whole: {got:?}");
            assert!(got.text.replace("\"text\":\"", "").contains("text"), "what was left out is not named: {got:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_split_message_fit_are_json_and_make_the_whole() {
    let Some(mut stage) = Stage::new("split messages").await else { return };
    for door in DOORS {
        let more = format!(", max_message_bytes: {LIMIT}, oversize: split");
        let sink = open(&stage.receiver.sink(door, &more));
        for length in [1_500, 5_000, 20_000] {
            let whole = event(length, length);
            assert_eq!(deliver(&*sink, std::slice::from_ref(&whole)).await, [], "{door:?}");
            let mut parts = stage.parts().await;
            let (of, id) = (parts.len(), length.to_string());
            parts.sort_by_key(|part| part["part"].as_u64());
            let numbers: Vec<u64> = parts.iter().map(|part| part["part"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=of as u64).collect::<Vec<_>>(), "{door:?}");
            assert!(parts.iter().all(|part| part["id"] == id && part["of"] == of), "{parts:?}");
            let data: String = parts.iter().map(|part| part["data"].as_str().unwrap()).collect();
            assert_eq!(data, awkward::line(&whole), "{door:?}");
        }
    }
}

/// A part of a message, which is JSON and fits.
fn part(got: &Received) -> Value {
    assert!(got.length.unwrap() <= LIMIT, "{got:?}");
    serde_json::from_str(&got.text).unwrap_or_else(|error| panic!("no JSON ({error}): {got:?}"))
}
