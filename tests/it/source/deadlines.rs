//! A slow server runs into a deadline, a slow consumer never.

use std::time::Duration;

use jumpstream::source::{Deadlines, Error, Phase};

use super::server::{Part, Server};
use super::{Fixture, query, read};

const SHORT: Duration = Duration::from_millis(200);
const HEAD: &[u8] = b"HTTP/1.1 200 X\r\ncontent-length: 7\r\n\r\n";

async fn pausing(before: Option<Duration>, within: Duration) -> Server {
    Server::start(move |_, _| {
        let mut parts = Vec::from_iter(before.map(Part::Pause));
        parts.push(Part::Say([HEAD, b"[{},"].concat()));
        parts.push(Part::Pause(within));
        parts.push(Part::Say(b"{}]".to_vec()));
        parts
    })
    .await
}

fn deadlines(answer: Duration, body: Duration) -> Deadlines {
    Deadlines { connect: Duration::from_secs(5), answer, body }
}

#[tokio::test]
async fn headers_that_do_not_come_are_a_timeout() {
    let server = pausing(Some(Duration::from_secs(60)), Duration::ZERO).await;
    let fixture = Fixture::with(&server, |options| options.deadlines = deadlines(SHORT, Duration::from_secs(5)));
    let error = fixture.error().await;
    assert_eq!(error, Error::Timeout { phase: Phase::Answer, after: SHORT });
    assert_eq!(fixture.outcomes(), [("events", "timeout")]);
}

#[tokio::test]
async fn a_body_that_stops_is_a_timeout() {
    let server = pausing(None, Duration::from_secs(60)).await;
    let fixture = Fixture::with(&server, |options| options.deadlines = deadlines(Duration::from_secs(5), SHORT));
    assert_eq!(fixture.error().await, Error::Timeout { phase: Phase::Body, after: SHORT });
}

#[tokio::test]
async fn a_slow_consumer_is_no_slow_server() {
    let server = pausing(None, SHORT / 4).await;
    let fixture = Fixture::with(&server, |options| options.deadlines = deadlines(Duration::from_secs(5), SHORT * 5));
    let mut page = fixture.client.events(None, &query()).await.unwrap();
    assert!(page.next().await.unwrap().is_some());
    // Longer than the deadline; it must not have run meanwhile.
    tokio::time::sleep(SHORT * 7).await;
    assert_eq!(read(&mut page).await.unwrap().len(), 1);
}

/// A space every two seconds, for ever.
async fn dripping() -> Server {
    Server::start(|_, _| {
        let head = Part::Say(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n[".to_vec());
        let drip = || [Part::Pause(Duration::from_secs(2)), Part::Say(b" ".to_vec())];
        std::iter::once(head).chain((0..200).flat_map(|_| drip())).collect()
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_fails_after_a_minute_and_dropped_reads_change_nothing() {
    for dropped in [false, true] {
        let server = dripping().await;
        let fixture = Fixture::new(&server);
        let mut page = fixture.client.events(None, &query()).await.unwrap();
        let error = loop {
            let patience = Duration::from_secs(if dropped { 1 } else { 1_000 });
            if let Ok(next) = tokio::time::timeout(patience, page.next()).await {
                break next.unwrap_err();
            }
        };
        assert!(matches!(error, Error::Timeout { phase: Phase::Rate, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_read_dropped_in_the_middle_loses_nothing() {
    let server = pausing(None, SHORT * 2).await;
    let fixture = Fixture::new(&server);
    let mut page = fixture.client.events(None, &query()).await.unwrap();
    assert!(page.next().await.unwrap().is_some());
    while tokio::time::timeout(SHORT / 10, page.next()).await.map(|element| element.unwrap()).is_err() {}
    assert!(page.next().await.unwrap().is_none(), "the second event was given, then the end");
}
