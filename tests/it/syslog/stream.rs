//! By TCP: what a receiver reads, whatever breaks; what is not known to have arrived comes again.

use std::sync::Arc;
use std::time::Duration;

use jumpstream::record::Reason;
use jumpstream::sink::Sink as _;
use jumpstream::sink::syslog::SyslogSink;

use super::receiver::{Ends, Fate, Receiver};
use super::{assert_all_there, awkward_records, deliver, lines, record, records, settings, text};
use crate::random::seeds;
use crate::sink::eventually;

fn to(receiver: &Receiver) -> String {
    format!("tcp://127.0.0.1:{}", receiver.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_a_frame_or_a_line_and_in_order() {
    for ends in [Ends::Counted, Ends::Lines] {
        let receiver = Receiver::start(ends).await;
        let mut settings = settings(&[&to(&receiver)]);
        settings.newline = ends == Ends::Lines;
        let sink = SyslogSink::new(settings);
        assert_eq!(deliver(&sink, &records(0..3_000, 500)).await, []);
        assert_eq!(deliver(&sink, &records(3_000..3_001, 60_000)).await, []);
        sink.close().await;
        let received = eventually("all is read", || Some(receiver.messages()).filter(|all| all.len() >= 3_001)).await;
        assert_eq!(received.len(), 3_001);
        assert_all_there(&received, 0..3_001);
        assert_eq!(receiver.connections(), 1, "one connection for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_awkward_byte_arrives_as_it_was_sent() {
    for seed in seeds(2, 50) {
        for ends in [Ends::Counted, Ends::Lines] {
            let receiver = Receiver::start(ends).await;
            let mut settings = settings(&[&to(&receiver)]);
            settings.newline = ends == Ends::Lines;
            let records = awkward_records(&mut fastrand::Rng::with_seed(seed), 300, 65_000);
            assert_eq!(deliver(&SyslogSink::new(settings), &records).await, [], "seed {seed}");
            let there = |all: &Vec<Vec<u8>>| all.len() >= records.len();
            let received = eventually("all is read", || Some(receiver.messages()).filter(there)).await;
            let texts: Vec<Vec<u8>> = received.iter().map(|message| text(message).to_vec()).collect();
            assert!(texts == lines(&records), "seed {seed}: a text differs");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_the_others_go_on() {
    let receiver = Receiver::start(Ends::Counted).await;
    let mut batch = records(0..2, 10);
    batch.insert(1, record(format!(r#"{{"id":"large","x":"{}"}}"#, "y".repeat(64 << 10))));
    let refused = deliver(&SyslogSink::new(settings(&[&to(&receiver)])), &batch).await;
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 1, Reason::TooLargeForSink));
    assert_all_there(
        &eventually("both are read", || Some(receiver.messages()).filter(|all| all.len() == 2)).await,
        0..2,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_handed_over_only_when_the_receivers_kernel_has_it() {
    // More than what two sockets hold between them, and what our own holds alone.
    for count in [2_000, 10] {
        let receiver = Receiver::start(Ends::Counted).await;
        receiver.fates(&[Fate::Asleep]);
        let mut settings = settings(&[&to(&receiver)]);
        settings.deadlines.give_up = Duration::from_secs(1);
        let sink = Arc::new(SyslogSink::new(settings));
        let delivering = sink.clone();
        let delivery = tokio::spawn(async move { deliver(&delivering, &records(0..count, 20_000)).await });
        let said = "takes nothing; look at the receiver: it has stopped reading";
        eventually("it is said", || sink.trouble().filter(|trouble| trouble.contains(said))).await;
        // Longer than after which a receiver whose machine doesn't answer would be given up.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!delivery.is_finished());
        receiver.wake();
        assert_eq!(delivery.await.unwrap(), []);
        assert_eq!(sink.trouble(), None);
        let received = eventually("all is read", || Some(receiver.messages()).filter(|all| all.len() >= count)).await;
        assert_eq!((received.len(), receiver.connections()), (count, 1), "nothing came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_mid_batch_cost_nothing() {
    for seed in seeds(6, 500) {
        let mut random = fastrand::Rng::with_seed(seed);
        let receiver = Receiver::start(Ends::Counted).await;
        // Each connection is sent all of the batch, of which its end is more than a receiver's kernel holds.
        let fates: Vec<Fate> = (0..random.usize(1..6))
            .map(|_| {
                let bytes = if random.bool() { random.usize(1..2_000) } else { random.usize(1..1_200_000) };
                if random.bool() { Fate::ResetAfter(bytes) } else { Fate::CloseAfter(bytes) }
            })
            .collect();
        receiver.fates(&fates);
        let sink = SyslogSink::new(settings(&[&to(&receiver)]));
        assert_eq!(deliver(&sink, &records(0..2_000, 500)).await, [], "seed {seed}");
        sink.close().await;
        let last = |all: &Vec<Vec<u8>>| all.last().is_some_and(|message| super::id(message) == "1999");
        let received =
            eventually(&format!("all is read, seed {seed}"), || Some(receiver.messages()).filter(last)).await;
        assert_all_there(&received, 0..2_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_restarts_between_batches_costs_nothing() {
    let mut receiver = Receiver::start(Ends::Counted).await;
    let port = receiver.port;
    let sink = SyslogSink::new(settings(&[&to(&receiver)]));
    let mut received = Vec::new();
    for round in 0..5 {
        assert_eq!(deliver(&sink, &records(round * 10..round * 10 + 10, 100)).await, []);
        let there = |all: &Vec<Vec<u8>>| all.len() >= 10;
        eventually("the round is read", || Some(receiver.messages()).filter(there)).await;
        received.extend(receiver.stop().await);
        receiver = Receiver::with(port, Ends::Counted, None).await;
    }
    assert_all_there(&received, 0..50);
    assert_eq!(received.len(), 50, "nothing was in flight, so nothing comes twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_there_is_waited_for_and_said() {
    let receiver = Receiver::start(Ends::Counted).await;
    let port = receiver.port;
    receiver.stop().await;
    let sink = Arc::new(SyslogSink::new(settings(&[&format!("tcp://127.0.0.1:{port}")])));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { deliver(&delivering, &records(0..10, 10)).await });
    let trouble = eventually("it is said", || sink.trouble()).await;
    assert!(trouble.contains("can't be reached") && trouble.contains("; start the receiver"), "{trouble}");
    let receiver = Receiver::with(port, Ends::Counted, None).await;
    assert_eq!(delivery.await.unwrap(), []);
    assert_eq!(sink.trouble(), None);
    assert_all_there(
        &eventually("it is read", || Some(receiver.messages()).filter(|all| all.len() == 10)).await,
        0..10,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_receiver_stands_in_and_the_first_comes_back() {
    let first = Receiver::start(Ends::Counted).await;
    let second = Receiver::start(Ends::Counted).await;
    let port = first.port;
    let sink = SyslogSink::new(settings(&[&to(&first), &to(&second)]));
    deliver(&sink, &records(0..10, 10)).await;
    let at_first = eventually("read by the first", || Some(first.messages()).filter(|all| all.len() == 10)).await;
    assert_all_there(&at_first, 0..10);
    first.stop().await;
    deliver(&sink, &records(10..20, 10)).await;
    assert_all_there(
        &eventually("read by the second", || Some(second.messages()).filter(|all| all.len() == 10)).await,
        10..20,
    );
    let first = Receiver::with(port, Ends::Counted, None).await;
    let mut number = 20;
    eventually_delivered(&sink, &mut number, || !first.messages().is_empty()).await;
    let (back, stood_in) = (first.messages(), second.messages());
    assert!(stood_in.len() + back.len() >= number - 10);
    assert!(sink.trouble().is_none());
}

/// Delivers one event after the other until the condition holds.
async fn eventually_delivered(sink: &SyslogSink, number: &mut usize, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + crate::sink::DEADLINE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time");
        deliver(sink, &records(*number..*number + 1, 10)).await;
        *number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_deliver_at_once_share_a_connection_and_repeat_nothing() {
    let receiver = Receiver::start(Ends::Counted).await;
    let sink = Arc::new(SyslogSink::new(settings(&[&to(&receiver)])));
    let streams: Vec<_> = (0..8)
        .map(|stream| {
            let sink = sink.clone();
            tokio::spawn(async move {
                for batch in 0..5 {
                    let start = stream * 1_000 + batch * 20;
                    assert_eq!(deliver(&sink, &records(start..start + 20, 1_000)).await, []);
                }
            })
        })
        .collect();
    for stream in streams {
        stream.await.unwrap();
    }
    sink.close().await;
    let received = eventually("all is read", || Some(receiver.messages()).filter(|all| all.len() >= 800)).await;
    let mut found: Vec<usize> = received.iter().map(|message| super::id(message).parse().unwrap()).collect();
    found.sort_unstable();
    let wanted: Vec<usize> = (0..8).flat_map(|stream| stream * 1_000..stream * 1_000 + 100).collect();
    assert_eq!((found, receiver.connections()), (wanted, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_dropped_leaves_the_sink_usable() {
    let receiver = Receiver::start(Ends::Counted).await;
    receiver.fates(&[Fate::Asleep]);
    let sink = SyslogSink::new(settings(&[&to(&receiver)]));
    let batch = records(0..2_000, 20_000);
    let dropped = tokio::time::timeout(Duration::from_millis(300), sink.deliver(&batch)).await;
    assert!(dropped.is_err(), "it would have waited");
    deliver(&sink, &records(0..10, 10)).await;
    let received = eventually("it is read", || Some(receiver.messages()).filter(|all| all.len() >= 10)).await;
    assert_all_there(&received, 0..10);
}
