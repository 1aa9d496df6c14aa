//! A page is whole or it is an error.

use std::io::Write as _;

use jumpstream::clock::{self, Time};
use jumpstream::source::{Class, Element, Error, IntervalQuery, IntervalUnit};

use super::server::{Part, Server, answer};
use super::{Fixture, query, read, small_limits};

const EVENTS: &str = r#"[{"id":"a"},{"id":"b"}]"#;

#[tokio::test]
async fn a_page_brings_its_head_and_its_events() {
    let cursor = "[1772438400123,\"Qm3xV5wBt0aYk2LrH8ne\"]";
    let headers = [
        ("X-Result-Count", "2"),
        ("X-Limit", "500"),
        ("X-Search_After", cursor),
        ("Date", "Mon, 02 Mar 2026 08:00:00 GMT"),
    ];
    let server = Server::saying(answer(200, &headers, EVENTS)).await;
    let fixture = Fixture::new(&server);
    assert_eq!(fixture.client.now(), None);
    let mut page = fixture.client.events(None, &query()).await.unwrap();
    let date = Time::parse("2026-03-02T08:00:00Z").unwrap();
    let head = page.head.clone();
    assert_eq!((head.limit, head.count, head.cursor.as_deref()), (Some(500), Some(2), Some(cursor)));
    let sent_at = head.sent_at.unwrap();
    assert!(sent_at <= date && date.since(sent_at).as_secs() < 5, "{sent_at}");
    assert!(fixture.client.now().unwrap() >= date);
    assert_eq!(fixture.client.clock_samples().taken, 1);

    let elements = read(&mut page).await.unwrap();
    assert_eq!(elements.len(), 2);
    assert!(matches!(&elements[1], Element::Event(event) if event.id() == Some("b")));
    assert!(page.next().await.unwrap().is_none(), "the end is given again");
    drop(page);
    assert_eq!(fixture.outcomes(), [("events", "ok")]);
}

#[tokio::test]
async fn missing_headers_are_no_error() {
    let server = Server::saying(answer(200, &[], "[]")).await;
    let fixture = Fixture::new(&server);
    let mut page = fixture.client.events(None, &query()).await.unwrap();
    assert_eq!(page.head, Default::default());
    assert!(page.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_cursor_that_is_no_array_is_treated_as_absent() {
    for cursor in ["abc", "\"abc\"", "{}", "[1,", "", "[1],[2]"] {
        let server = Server::saying(answer(200, &[("X-Search_after", cursor)], "[]")).await;
        let page = Fixture::new(&server).client.events(None, &query()).await.unwrap();
        assert_eq!(page.head.cursor, None, "{cursor}");
    }
}

#[tokio::test]
async fn a_count_that_disagrees_is_a_failed_request() {
    // An array without an end fails as soon as it is longer than it may be.
    let endless = format!("[{}", r#"{"id":"a"},"#.repeat(100_000));
    for (said, elements) in [("1", EVENTS), ("3", EVENTS), ("5", "[]"), ("2", &endless)] {
        let server = Server::saying(answer(200, &[("X-Result-Count", said)], elements)).await;
        let fixture = Fixture::new(&server);
        let error = fixture.error().await;
        assert_eq!((error.class(), error.label()), (Class::Retry { after: None }, "count_mismatch"));
        assert_eq!(fixture.outcomes(), [("events", "count_mismatch")]);
    }
}

#[tokio::test]
async fn a_cut_body_is_a_failed_request() {
    let whole = answer(200, &[], EVENTS);
    let chunked =
        |end: &str| format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n17\r\n{EVENTS}\r\n{end}").into_bytes();
    // Cut within the events, before the end that the length says, and before the last chunk.
    let padded = answer(200, &[], format!("{EVENTS}   "));
    for cut in [&whole[..whole.len() - 1], &whole[..whole.len() - 12], &padded[..padded.len() - 2], &chunked("")] {
        let server = Server::saying(cut.to_vec()).await;
        let error = Fixture::new(&server).error().await;
        assert!(matches!(error, Error::PageTruncated { .. }), "{error}");
    }
    let server = Server::saying(chunked("0\r\n\r\n")).await;
    let mut page = Fixture::new(&server).client.events(None, &query()).await.unwrap();
    assert_eq!(read(&mut page).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_error_is_final() {
    let server = Server::saying(answer(200, &[], "[{},{}")).await;
    let mut page = Fixture::new(&server).client.events(None, &query()).await.unwrap();
    let error = read(&mut page).await.unwrap_err();
    assert_eq!(page.next().await.unwrap_err(), error, "never the end of the page");
}

#[tokio::test]
async fn an_empty_200_and_a_text_are_failed_requests() {
    for (body, label) in
        [("", "page_truncated"), ("   ", "page_truncated"), ("<html>", "malformed"), ("null", "malformed")]
    {
        let server = Server::saying(answer(200, &[], body)).await;
        assert_eq!(Fixture::new(&server).error().await.label(), label, "{body}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_page_is_read() {
    let server = Server::saying(answer(200, &[("Content-Encoding", "gzip")], gzip(EVENTS.as_bytes()))).await;
    let mut page = Fixture::new(&server).client.events(None, &query()).await.unwrap();
    assert_eq!(read(&mut page).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_cut_compressed_page_is_a_failed_request() {
    let body = gzip(format!("[{}]", vec!["{\"id\":\"abcdefgh\"}"; 1000].join(",")).as_bytes());
    let server = Server::saying(answer(200, &[("Content-Encoding", "gzip")], &body[..body.len() - 20])).await;
    assert_eq!(Fixture::new(&server).error().await.label(), "page_truncated");
}

#[tokio::test]
async fn a_compressed_giant_is_passed_over_and_a_compressed_endless_one_fails() {
    let page_of = |length: usize| gzip(format!("[{{\"a\":\"{}\"}},{{\"id\":\"b\"}}]", "x".repeat(length)).as_bytes());
    for (length, outcome) in [(250_000, None), (20_000_000, Some("too_long"))] {
        let body = page_of(length);
        let server = Server::saying(answer(200, &[("Content-Encoding", "gzip")], body)).await;
        let fixture = Fixture::with(&server, |options| options.limits = small_limits());
        let mut page = fixture.client.events(None, &query()).await.unwrap();
        match (read(&mut page).await, outcome) {
            (Ok(elements), None) => {
                let [Element::Oversized(giant), Element::Event(event)] = &elements[..] else { panic!("{elements:?}") };
                assert_eq!((giant.size, event.id()), (length as u64 + 8, Some("b")));
            }
            (Err(error), Some(label)) => assert_eq!(error.label(), label),
            (result, _) => panic!("{length}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn a_page_dropped_before_its_end_is_counted_as_dropped() {
    let server = Server::saying(answer(200, &[], EVENTS)).await;
    let fixture = Fixture::new(&server);
    let mut page = fixture.client.events(None, &query()).await.unwrap();
    page.next().await.unwrap();
    drop(page);
    assert_eq!(fixture.outcomes(), [("events", "dropped")]);
}

#[tokio::test]
async fn the_apis_clock_is_taken_from_every_answer_and_can_be_reset() {
    let ahead = std::time::Duration::from_secs(clock::wall().as_secs() as u64 + 30 * 86_400);
    let ahead = httpdate::fmt_http_date(std::time::UNIX_EPOCH + ahead);
    let server = Server::start(move |n, _| {
        let date = if n == 0 { "Mon, 02 Mar 2026 08:00:00 GMT" } else { &ahead };
        vec![Part::Say(answer(500, &[("Date", date)], ""))]
    })
    .await;
    let fixture = Fixture::new(&server);
    let client = &fixture.client;
    client.count(None, &query()).await.unwrap_err();
    let first = client.now().unwrap();
    assert_eq!(first.floor(std::time::Duration::from_secs(3600)), Time::parse("2026-03-02T08:00:00Z").unwrap());
    client.count(None, &query()).await.unwrap_err();
    let samples = client.clock_samples();
    assert_eq!((samples.taken, samples.ignored), (1, 1));

    client.reset_clock();
    assert_eq!(client.now(), None);
    client.count(None, &query()).await.unwrap_err();
    assert!(client.now().unwrap() <= clock::wall(), "after a reset our own clock is the limit");
}

#[tokio::test]
async fn a_page_of_more_events_than_were_asked_for_fails() {
    for (limit, events, fails) in [(None, 10_001, true), (Some("20000"), 10_001, true), (None, 10_000, false)] {
        let body = format!("[{}]", vec!["{}"; events].join(","));
        let headers: Vec<_> = limit.map(|limit| ("X-Limit", limit)).into_iter().collect();
        let server = Server::saying(answer(200, &headers, body)).await;
        let mut page = Fixture::new(&server).client.events(None, &query()).await.unwrap();
        assert_eq!(read(&mut page).await.is_err(), fails, "{limit:?}, {events}");
    }
}

#[tokio::test]
async fn a_pages_own_date_does_not_say_when_it_was_asked_for() {
    let server = Server::start(|n, _| {
        let date = if n < 3 { "Mon, 02 Mar 2026 08:00:00 GMT" } else { "Wed, 11 Mar 2026 08:00:00 GMT" };
        vec![Part::Say(answer(200, &[("Date", date)], "[]"))]
    })
    .await;
    let fixture = Fixture::new(&server);
    let noon = Time::parse("2026-03-02T09:00:00Z").unwrap();
    loop {
        let page = fixture.client.events(None, &query()).await.unwrap();
        assert!(page.head.sent_at.unwrap() < noon, "{:?}", page.head);
        if fixture.client.clock_samples().replaced > 0 {
            break;
        }
    }
    assert!(fixture.client.now().unwrap() > noon, "our own clock sides with neither");
}

#[tokio::test]
async fn counts_that_nobody_has_are_refused() {
    let most = 1u64 << 53;
    for (events, fails) in [(most, false), (most + 1, true), (u64::MAX, true)] {
        let server = Server::start(move |_, seen| {
            let body = match seen.line.contains("interval") {
                true => format!("{{\"buckets\":[{{\"key\":1772438400000,\"doc_count\":{events}}}]}}"),
                false => format!("{{\"count\":{events}}}"),
            };
            vec![Part::Say(answer(200, &[], body))]
        })
        .await;
        let fixture = Fixture::new(&server);
        let client = &fixture.client;
        let start = Time::parse("2026-03-02T08:00:00Z").unwrap();
        let end = start + std::time::Duration::from_secs(3600);
        let interval = IntervalQuery { service: "all".into(), start, end, unit: IntervalUnit::Hour };
        assert_eq!(client.count(None, &query()).await.is_err(), fails, "{events}");
        assert_eq!(client.interval(None, &interval).await.is_err(), fails, "{events}");
    }
}

#[tokio::test]
async fn an_organization_is_24_hexadecimal_digits_or_none() {
    for (id, fails) in [("5f00000000000000000000aa", false), ("a\\n} 1\\nfake", true), ("", true)] {
        let body = format!("{{\"results\":[{{\"_id\":\"{id}\"}}],\"totalCount\":1}}");
        let server = Server::saying(answer(200, &[], body)).await;
        let organizations = Fixture::new(&server).client.organizations().await;
        assert_eq!(organizations.is_err(), fails, "{organizations:?}");
        assert!(organizations.map_or_else(|error| error.to_string(), |_| String::new()).lines().count() <= 1);
    }
}

#[tokio::test]
async fn a_small_answer_must_be_small_and_right() {
    for (body, label) in [
        (format!("{{\"count\":1,\"x\":\"{}\"}}", "x".repeat(1 << 20)), "too_long"),
        ("{\"count\":-1}".to_owned(), "malformed"),
        ("{\"total\":1}".to_owned(), "malformed"),
        ("[]".to_owned(), "malformed"),
        (String::new(), "malformed"),
    ] {
        let server = Server::saying(answer(200, &[], body)).await;
        let fixture = Fixture::new(&server);
        assert_eq!(fixture.client.count(None, &query()).await.unwrap_err().label(), label);
        assert_eq!(fixture.outcomes(), [("count", label)]);
    }
}
