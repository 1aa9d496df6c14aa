//! Troubles as they look on the wire.

use std::collections::BTreeSet;

use jumpstream::emulator::{Kind, Options};
use reqwest::Method;
use serde_json::json;

use super::{api, everything, header, json_of, options};

#[tokio::test]
async fn each_fault_looks_on_the_wire_as_it_should() {
    let api = api(Options { events: 100, retry_after: "7s".parse().unwrap(), ..options() }).await;
    let cases = [
        ("rate_limited_seconds", 429),
        ("rate_limited_date", 429),
        ("rate_limited", 429),
        ("internal_error", 500),
        ("bad_gateway", 502),
        ("unavailable", 503),
        ("gateway_timeout", 504),
        ("redirect", 302),
        ("unauthorized", 401),
        ("payment_required", 402),
        ("forbidden", 403),
    ];
    for (kind, status) in cases {
        api.control("faults", json!({ "kind": kind, "count": 2 })).await;
        for _ in 0..2 {
            let response = api.post("/events", everything()).await;
            assert_eq!(response.status(), status, "{kind}");
            let expected = match kind {
                "rate_limited_seconds" => Some("7"),
                "rate_limited_date" => Some("Mon, 02 Mar 2026 12:00:0"),
                _ => None,
            };
            let wait = header(&response, "retry-after");
            assert!(
                wait.is_some() == expected.is_some() && wait.unwrap_or_default().starts_with(expected.unwrap_or(""))
            );
            match kind {
                "bad_gateway" => assert!(response.text().await.unwrap().starts_with("<html>")),
                "redirect" => assert_eq!(header(&response, "location").unwrap(), "/redirected"),
                _ => assert!(json_of(response).await["message"].is_string(), "{kind}"),
            }
        }
        assert_eq!(api.post("/events", everything()).await.status(), 200, "{kind} is over");
    }
}

#[tokio::test]
async fn a_cut_body_ends_in_the_middle() {
    let api = api(Options { events: 100, ..options() }).await;
    let whole = api.post("/events", everything()).await.bytes().await.unwrap().len();
    api.control("faults", json!({ "kind": "cut_body" })).await;
    let mut response = api.post("/events", everything()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-length").unwrap(), whole.to_string());
    let mut received = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => panic!("the body ended well after {received} bytes"),
            Err(error) => break error,
        }
    };
    assert_eq!(received, whole / 2, "{error}");
}

#[tokio::test]
async fn a_slow_body_comes_whole_after_its_time() {
    let api = api(Options { events: 100, slow_body: "320ms".parse().unwrap(), ..options() }).await;
    let whole = api.post("/events", everything()).await.bytes().await.unwrap();
    api.control("faults", json!({ "kind": "slow_body" })).await;
    let begin = std::time::Instant::now();
    let slow = api.post("/events", everything()).await.bytes().await.unwrap();
    assert!(begin.elapsed().as_millis() >= 300, "{:?}", begin.elapsed());
    assert_eq!(slow, whole);
}

#[tokio::test]
async fn an_empty_body_has_the_headers_of_a_full_one() {
    let api = api(Options { events: 100, ..options() }).await;
    api.control("faults", json!({ "kind": "empty_body" })).await;
    let response = api.post("/events", everything()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "x-result-count").unwrap(), "100");
    assert_eq!(response.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_wrong_count_disagrees_with_the_array() {
    let api = api(Options { events: 100, ..options() }).await;
    api.control("faults", json!({ "kind": "wrong_count" })).await;
    assert_eq!(api.count(everything()).await, 100, "a count isn't a page, the order waits for one");
    let response = api.post("/events", everything()).await;
    assert_eq!(header(&response, "x-result-count").unwrap(), "101");
    assert_eq!(json_of(response).await.as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn a_fault_may_wait_for_its_path() {
    let api = api(Options { events: 1, ..options() }).await;
    api.control("faults", json!({ "kind": "unavailable", "path": "/count" })).await;
    assert_eq!(api.post("/events", everything()).await.status(), 200);
    assert_eq!(api.post("/events/count", everything()).await.status(), 503);
    assert_eq!(api.post("/events/count", everything()).await.status(), 200);
}

#[tokio::test]
async fn random_faults_come_in_their_share_and_kinds() {
    let faulty =
        Options { events: 0, fault_share: 0.5, faults: vec![Kind::Unavailable, Kind::InternalError], ..options() };
    let api = api(faulty).await;
    let mut statuses = Vec::new();
    for _ in 0..200 {
        statuses.push(api.post("/events", everything()).await.status().as_u16());
    }
    let failed = statuses.iter().filter(|status| **status != 200).count();
    assert!((60..140).contains(&failed), "{failed} of 200");
    assert_eq!(statuses.iter().copied().collect::<BTreeSet<_>>(), [200, 500, 503].into());
    api.control("faults", json!({ "clear": true })).await;
    for _ in 0..20 {
        assert_eq!(api.post("/events", everything()).await.status(), 200);
    }
}

#[tokio::test]
async fn over_the_rate_limit_is_429() {
    let api = api(Options { events: 0, rate_limit: 3.0, ..options() }).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let response = api.post("/events", everything()).await;
        let limited = response.status() == 429;
        assert_eq!(header(&response, "retry-after").is_some(), limited);
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429));
    api.control("settings", json!({ "rate_limit": 0.0 })).await;
    assert_eq!(api.post("/events", everything()).await.status(), 200);
}

#[tokio::test]
async fn every_request_takes_the_latency() {
    let api = api(Options { events: 0, latency: "150ms".parse().unwrap(), ..options() }).await;
    let begin = std::time::Instant::now();
    api.post("/events", everything()).await;
    assert!(begin.elapsed().as_millis() >= 150, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_stopped_emulator_refuses_connections() {
    let api = api(Options { events: 100, slow_body: "60s".parse().unwrap(), ..options() }).await;
    api.control("faults", json!({ "kind": "slow_body" })).await;
    let slow = api.post("/events", everything()).await;
    let begin = std::time::Instant::now();
    let again = api.request(Method::POST, "/events").body(everything().to_string());
    api.emulator.stop().await;
    assert!(begin.elapsed().as_secs() < 10, "it doesn't wait for slow bodies");
    assert!(slow.bytes().await.is_err());
    assert!(again.send().await.is_err());
}
