//! Every refusal has its class, its label and its remedy.

use std::time::{Duration, Instant};

use jumpstream::source::{
    Base, Class, Client, Error, IntervalQuery, IntervalUnit, KeySource, Options, Purpose, Region,
};

use super::server::{Part, Server, answer, untrusted};
use super::{Fixture, KEY, query};

async fn error(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
    let server = Server::saying(answer(status, headers, body)).await;
    let fixture = Fixture::new(&server);
    let error = fixture.error().await;
    assert_eq!(fixture.outcomes()[0], ("events", error.label()));
    error
}

const RETRY: Class = Class::Retry { after: None };

#[tokio::test]
async fn each_status_has_its_class_and_label() {
    let ends = r#"{"message":"Start Time not after End Time 2026-03-02T09:13:52Z \u003e 2026-03-02T09:11:52Z"}"#;
    for (status, body, class, label) in [
        (204, "", RETRY, "malformed"),
        (400, r#"{"message":"start_time is in the future"}"#, Class::FutureStart, "future_start"),
        (400, r#"{"message":"start_time must not be in the future"}"#, Class::FutureStart, "future_start"),
        (400, ends, Class::FutureStart, "future_start"),
        (400, r#"{"message":"unknown service"}"#, Class::Refused, "bad_request"),
        (401, r#"{"message":"Unauthorized"}"#, Class::Credential, "unauthorized"),
        (402, "", Class::Refused, "unlicensed"),
        (403, r#"{"message":"operation not permitted, corporate limit"}"#, Class::Credential, "forbidden"),
        (403, r#"{"message":"API rate limit exceeded"}"#, RETRY, "rate_limited"),
        (403, "Request was throttled.", RETRY, "rate_limited"),
        (404, "", Class::Refused, "not_found"),
        (405, "", Class::Refused, "bad_request"),
        (408, "", RETRY, "server"),
        (429, "", RETRY, "rate_limited"),
        (500, "", RETRY, "server"),
        (502, "<html><body>Bad Gateway</body></html>", RETRY, "server"),
        (503, "", RETRY, "server"),
        (504, "", RETRY, "server"),
    ] {
        let error = error(status, &[], body).await;
        assert_eq!((error.class(), error.label()), (class, label), "{status} {body}");
    }
}

#[tokio::test]
async fn a_comparison_of_start_and_end_blames_the_clock_only_without_an_end() {
    let server = Server::saying(answer(400, &[], r#"{"message":"Start Time not after End Time"}"#)).await;
    let mut query = query();
    query.end = Some(query.start + Duration::from_secs(60));
    let error = Fixture::new(&server).client.count(None, &query).await.unwrap_err();
    assert_eq!(error.label(), "bad_request");
}

#[tokio::test]
async fn the_apis_message_is_escaped_and_cut() {
    let message = format!("{}\\n\\u001b[31m{}", "ž".repeat(20), "x".repeat(1000));
    let Error::BadRequest { message, .. } = error(400, &[], &format!(r#"{{"message":"{message}"}}"#)).await else {
        panic!("not a bad request");
    };
    assert!(message.starts_with(&format!("{}\\n\\u{{1b}}[31mxxx", "ž".repeat(20))), "{message}");
    assert_eq!(message.chars().count(), 200);
}

#[tokio::test]
async fn a_page_made_for_browsers_is_not_quoted() {
    let text = error(502, &[], "<html><script>alert(1)</script>").await.to_string();
    assert!(text.contains("an HTML page") && !text.contains("script"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_refused_and_the_key_not_sent_on() {
    let other = Server::saying(answer(200, &[], "[]")).await;
    let location = format!("{}/login?token=x", other.url());
    let server = Server::saying(answer(307, &[("Location", &location)], "")).await;
    let error = Fixture::new(&server).error().await;
    assert_eq!((error.class(), error.label()), (Class::Refused, "redirected"));
    let text = error.to_string();
    assert!(text.contains(&other.url()) && text.contains("set endpoint") && !text.contains("token"), "{text}");
    assert_eq!((server.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date() {
    let date = "Mon, 02 Mar 2026 08:00:00 GMT";
    for (value, seconds) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("86400", Some(3600)),
        ("99999999999999999999999", Some(3600)),
        ("Mon, 02 Mar 2026 08:01:30 GMT", Some(90)),
        ("Monday, 02-Mar-26 08:01:30 GMT", Some(90)),
        ("Mon Mar  2 08:01:30 2026", Some(90)),
        ("Mon, 02 Mar 2026 07:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
    ] {
        let error = error(503, &[("Date", date), ("Retry-After", value)], "").await;
        assert_eq!(error.class(), Class::Retry { after: seconds.map(Duration::from_secs) }, "{value}");
    }
}

#[tokio::test]
async fn a_429_halves_the_rate_once_and_holds_the_whole_account() {
    let server = Server::start(|n, _| {
        let limited = answer(429, &[("Retry-After", "1")], "");
        vec![Part::Say(if n == 0 { limited } else { answer(200, &[], r#"{"count":3}"#) })]
    })
    .await;
    let fixture = Fixture::with(&server, |options| options.requests_per_second = 8.0);
    let client = &fixture.client;
    assert_eq!(client.rate(), 8.0);
    let limited = client.count(None, &query()).await.unwrap_err();
    assert_eq!(limited.class(), Class::Retry { after: Some(Duration::from_secs(1)) });
    assert_eq!(client.rate(), 4.0);
    let began = Instant::now();
    assert_eq!(client.count(None, &query()).await.unwrap(), 3);
    assert!(began.elapsed() > Duration::from_millis(900), "another stream's request must wait too");
    assert_eq!(fixture.outcomes(), [("count", "rate_limited"), ("count", "ok")]);
}

#[tokio::test]
async fn what_is_used_of_the_rate_is_told_by_what_it_is_for() {
    let server = Server::saying(answer(200, &[], r#"{"count":3}"#)).await;
    let fixture = Fixture::with(&server, |options| options.requests_per_second = 100.0);
    let client = &fixture.client;
    let comparing = client.asking_for(Purpose::Verification);
    for asked in [client, client, client, &comparing] {
        asked.count(None, &query()).await.unwrap();
    }
    let pass = async |pause| {
        tokio::time::pause();
        tokio::time::advance(pause).await;
        tokio::time::resume();
        client.usage()
    };
    let usage = pass(Duration::from_secs(100)).await;
    assert!((100..200).contains(&usage.over.as_secs()), "{usage:?}");
    assert_eq!(usage.gaps, 0.0, "{usage:?}");
    assert!((usage.live / usage.verification - 3.0).abs() < 1e-9 && usage.live <= 0.03, "{usage:?}");
    let usage = pass(Duration::from_secs(700)).await;
    assert_eq!((usage.live, usage.verification), (0.0, 0.0), "what is over ten minutes ago is forgotten");
    assert!((540..=600).contains(&usage.over.as_secs()), "{usage:?}");
}

#[tokio::test]
async fn requests_in_flight_halve_the_rate_once_and_quiet_raises_it() {
    let server = Server::start(|n, _| {
        // The first four are answered together, half a second after the last has come.
        let limited = n < 4;
        let pause = Part::Pause(Duration::from_millis(if limited { 500 } else { 0 }));
        vec![pause, Part::Say(answer(if limited { 429 } else { 200 }, &[], r#"{"count":3}"#))]
    })
    .await;
    let fixture = Fixture::with(&server, |options| options.requests_per_second = 8.0);
    let (client, query) = (&fixture.client, query());
    futures::future::join_all((0..4).map(|_| client.count(None, &query))).await;
    assert_eq!((server.seen().len(), client.rate()), (4, 4.0));
    for rate in [5.0, 6.25, 7.8125, 8.0, 8.0] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        client.count(None, &query).await.unwrap();
        assert_eq!(client.rate(), rate);
    }
}

#[tokio::test]
async fn the_rate_limit_holds_and_serves_in_order() {
    let server = Server::saying(answer(200, &[], r#"{"count":3}"#)).await;
    let fixture = Fixture::with(&server, |options| options.requests_per_second = 20.0);
    let (client, query, began) = (&fixture.client, query(), Instant::now());
    // Two seconds' worth at once, then twenty a second.
    futures::future::join_all((0..50).map(|_| client.count(None, &query))).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(450), "50 requests took {took:?}");
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = Server::saying(Vec::new()).await;
    let fixture = Fixture::with(&server, |options| options.base = Base::Endpoint { url: url.clone(), insecure: false });
    let error = fixture.error().await;
    assert_eq!((error.class(), error.label()), (RETRY, "unreachable"));
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_tls_error_with_a_remedy() {
    let url = untrusted().await;
    let server = Server::saying(Vec::new()).await;
    let (mut options, _key) = super::options(&server);
    options.base = Base::Endpoint { url, insecure: false };
    // A machine without any root certificate says so when the client is built.
    let error = match Client::new(options) {
        Ok(client) => client.events(None, &query()).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((error.class(), error.label()), (RETRY, "tls"), "{error}");
    assert!(error.to_string().contains("ca-certificates"), "{error}");
}

#[test]
fn an_endpoint_that_would_show_the_key_is_refused() {
    let new = |url: &str, insecure| {
        let base = Base::Endpoint { url: url.to_owned(), insecure };
        Client::new(Options::new(base, KeySource::Env("UNUSED".to_owned())))
    };
    for url in
        ["http://api.example.org", "ftp://127.0.0.1", "api.example.org", "http://key@127.0.0.1", "http://127.0.0.1/?a"]
    {
        let error = new(url, false).expect_err(url);
        assert_eq!(error.label(), "endpoint");
        assert!(!error.to_string().contains("key@"), "{error}");
    }
    for url in ["http://127.0.0.1:1", "http://localhost:1/base/", "http://[::1]:1", "http://127.8.9.1"] {
        new(url, false).expect(url);
    }
    new("http://api.example.org", true).unwrap();
    assert_eq!(Region::Eu.url(), "https://api.eu.jumpcloud.com");
}

#[tokio::test]
async fn queries_are_sent_as_the_api_documents_them() {
    let server = Server::start(|_, request| {
        let body = if request.line.contains("interval") {
            r#"{"buckets":[{"key":1772438400000,"key_as_string":"x","doc_count":3}]}"#
        } else if request.line.contains("count") {
            r#"{"count":12}"#
        } else {
            "[]"
        };
        vec![Part::Say(answer(200, &[], body))]
    })
    .await;
    let fixture = Fixture::new(&server);
    let mut query = query();
    query.search_after = Some("[1772438400123,\"Qm3x\"]".to_owned());
    query.end = Some(query.start + Duration::from_nanos(60_123_000_000));
    fixture.client.events(Some("5f00"), &query).await.unwrap();
    assert_eq!(fixture.client.count(None, &query).await.unwrap(), 12);
    let (start, end) = (query.start, query.start + Duration::from_secs(3600));
    let interval = IntervalQuery { service: "sso".to_owned(), start, end, unit: IntervalUnit::Minute };
    let buckets = fixture.client.interval(None, &interval).await.unwrap();
    assert_eq!((buckets.len(), buckets[0].start.as_millis(), buckets[0].events), (1, 1_772_438_400_000, 3));

    let [events, count, interval] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    assert_eq!(events.line, "POST /insights/directory/v1/events HTTP/1.1");
    assert_eq!((&*events.headers["x-api-key"], &*events.headers["x-org-id"]), (KEY, "5f00"));
    assert_eq!(events.headers["accept-encoding"], "gzip");
    assert_eq!(
        events.body,
        r#"{"service":["all"],"start_time":"2026-03-02T08:00:00Z","end_time":"2026-03-02T08:01:00.123Z","sort":"ASC","limit":1000,"search_after":[1772438400123,"Qm3x"]}"#
    );
    assert_eq!(count.line, "POST /insights/directory/v1/events/count HTTP/1.1");
    assert!(!count.headers.contains_key("x-org-id"));
    assert_eq!(
        count.body,
        r#"{"service":["all"],"start_time":"2026-03-02T08:00:00Z","end_time":"2026-03-02T08:01:00.123Z"}"#
    );
    assert_eq!(
        interval.body,
        r#"{"service":["sso"],"start_time":"2026-03-02T08:00:00Z","end_time":"2026-03-02T09:00:00Z","interval_unit":"m","interval_value":"1","timezone":"+0000"}"#
    );
}

#[tokio::test]
async fn organizations_are_read_page_by_page() {
    let server = Server::start(|_, request| {
        let skip: usize =
            request.line.split("skip=").nth(1).unwrap().split(['&', ' ']).next().unwrap().parse().unwrap();
        let results: Vec<_> = (skip..(skip + 100).min(250))
            .map(|n| serde_json::json!({"_id": format!("{n:024x}"), "displayName": format!("Name {n}"), "logoUrl": ""}))
            .collect();
        let body = serde_json::json!({"results": results, "totalCount": 250}).to_string();
        vec![Part::Say(answer(200, &[], body))]
    })
    .await;
    let found = Fixture::new(&server).client.organizations().await.unwrap();
    assert_eq!((found.len(), &*found[249].id, &*found[0].name), (250, &*format!("{:024x}", 249), "Name 0"));
    assert_eq!(server.seen().len(), 3);
    assert!(server.seen()[0].line.starts_with("GET /api/organizations?limit=100&skip=0"));
}
