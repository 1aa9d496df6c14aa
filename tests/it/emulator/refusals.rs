//! Requests that are refused: every 400 has its message, keys and paths have their status.

use jumpstream::emulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use super::{api, everything, json_of, options, with};

/// What makes a good query bad, and a word of the answer.
fn faults() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "service": null }), "service"),
        (json!({ "service": [] }), "service is required"),
        (json!({ "service": "all" }), "array"),
        (json!({ "service": ["user_portal"] }), "supported services: all, "),
        (json!({ "start_time": null }), "start_time is required"),
        (json!({ "start_time": "2026-03-02T12:00:30Z" }), "in the future"),
        (json!({ "start_time": "yesterday" }), "RFC3339"),
        (json!({ "start_time": "2026-03-02T08:00:00Z\n" }), "RFC3339"),
        (json!({ "start_time": "2026-03-02T08:00:00+00:00Z" }), "RFC3339"),
        (json!({ "start_time": "2026-03-02 08:00:00Z" }), "RFC3339"),
        (json!({ "start_time": "2026-03-02T08:00:00" }), "RFC3339"),
        (json!({ "start_time": "2026-02-30T08:00:00Z" }), "RFC3339"),
        (json!({ "start_time": 1_772_438_400 }), "RFC3339"),
        (json!({ "end_time": "2026-13-02T08:00:00Z" }), "RFC3339"),
        (json!({ "end_time": "2026-02-01T00:00:00Z" }), "Start Time not after End Time 2026-02-01T00:00:00Z >"),
        (json!({ "end_time": "2025-02-01T00:00:00Z" }), "> 2025-02-01T00:00:00Z"),
        (json!({ "skip": 9_500, "limit": 501 }), "skip"),
        (json!({ "search_after": [1] }), "search_after"),
        (json!({ "search_after": [1_772_438_400_123i64, 7] }), "search_after"),
        (json!({ "search_after": "[1,\"a\"]" }), "search_after"),
        (json!({ "fields": [] }), "fields"),
        (json!({ "fields": ["no_such_field"] }), "fields"),
        (json!({ "q": "a", "exact_match": "b" }), "exact_match"),
        (json!({ "search_term": { "and": [{ "success": false }] } }), "success"),
        (json!({ "search_term": "success" }), "search_term"),
    ]
}

#[tokio::test]
async fn each_bad_query_gets_a_400_that_says_why() {
    let api = api(Options { events: 10, ..options() }).await;
    for (fault, word) in faults() {
        for path in ["/events", "/events/count"] {
            let response = api.post(path, with(everything(), fault.clone())).await;
            assert_eq!(response.status(), 400, "{fault}");
            let answer = json_of(response).await;
            assert!(answer["message"].as_str().unwrap().contains(word), "{fault}: {answer}");
            assert_eq!(answer.as_object().unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn good_times_are_taken_in_every_form() {
    let api = api(Options { events: 10, ..options() }).await;
    for start in ["2026-03-01T00:00:00+00:00", "2026-03-01T00:00:00.5Z", "2026-03-01T00:00:00.123456789-05:00"] {
        assert_eq!(
            api.post("/events", with(everything(), json!({ "start_time": start }))).await.status(),
            200,
            "{start}"
        );
    }
}

#[tokio::test]
async fn messages_are_escaped_as_go_does() {
    let api = api(Options { events: 0, ..options() }).await;
    let query = with(everything(), json!({ "end_time": "2025-02-01T00:00:00Z" }));
    let text = api.post("/events", query).await.text().await.unwrap();
    let expected = r#"{"message":"Start Time not after End Time 2026-02-01T00:00:00Z \u003e 2025-02-01T00:00:00Z"}"#;
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let api = api(Options { events: 0, ..options() }).await;
    for body in ["", "[]", "{", "null"] {
        let request = api.request(Method::POST, "/insights/directory/v1/events").body(body);
        assert_eq!(request.send().await.unwrap().status(), 400, "{body:?}");
    }
}

#[tokio::test]
async fn unknown_fields_pass_unless_strict() {
    for (strict, status) in [(false, 200), (true, 400)] {
        let api = api(Options { events: 0, strict, ..options() }).await;
        let query = with(everything(), json!({ "sortOrder": "ASC" }));
        assert_eq!(api.post("/events", query).await.status(), status);
    }
}

#[tokio::test]
async fn an_interval_has_its_own_refusals() {
    let api = api(Options { events: 0, ..options() }).await;
    let good = with(everything(), json!({ "interval_unit": "h", "interval_value": "1", "timezone": "-0500" }));
    assert_eq!(api.post("/events/interval", good.clone()).await.status(), 200);
    let faults = [
        (json!({ "interval_unit": null }), "interval_unit"),
        (json!({ "interval_unit": "y" }), "interval_unit"),
        (json!({ "interval_value": "0" }), "interval_value"),
        (json!({ "timezone": "Mars/Olympus" }), "timezone"),
        (json!({ "interval_unit": "m" }), "too many buckets"),
    ];
    for (fault, word) in faults {
        let response = api.post("/events/interval", with(good.clone(), fault.clone())).await;
        assert_eq!(response.status(), 400, "{fault}");
        assert!(json_of(response).await["message"].as_str().unwrap().contains(word), "{fault}");
    }
    let response = api.post("/events/distinct", everything()).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_key_is_asked_for_and_dies_when_it_is_rotated() {
    let api = api(Options { events: 10, keys: vec!["jca_one".into(), "jca_two".into()], ..options() }).await;
    let status = async |key: &str| {
        let request = api.client.post(format!("{}/insights/directory/v1/events", api.emulator.url()));
        let response = request.header("x-api-key", key).body(everything().to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        if status == 401 {
            assert_eq!(response.text().await.unwrap(), r#"{"message":"Unauthorized"}"#);
        }
        status
    };
    assert_eq!((status("jca_one").await, status("jca_two").await, status("").await), (200, 200, 401));
    api.control("key", json!({ "key": "jca_three" })).await;
    assert_eq!((status("jca_one").await, status("jca_two").await, status("jca_three").await), (401, 200, 200));
    api.emulator.rotate_key("jca_four");
    assert_eq!((status("jca_three").await, status("jca_four").await), (401, 200));
    let organizations = api.client.get(format!("{}/api/organizations", api.emulator.url())).send().await.unwrap();
    assert_eq!(organizations.status(), 401);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let api = api(Options { events: 10, ..options() }).await;
    let status = async |method: Method, path: &str| {
        let response = api.request(method, path).body(everything().to_string()).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(status(Method::GET, "/insights/directory/v1/events").await, 405);
    assert_eq!(status(Method::POST, "/insights/directory/v2/events").await, 404);
    assert_eq!(status(Method::GET, "/_emulator/nothing").await, 404);
    assert_eq!(status(Method::POST, "/events").await, 200, "the base path may be left out");
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    for bad in [
        Options { organizations: 0, ..options() },
        Options { keys: Vec::new(), ..options() },
        Options { ties: 1.5, ..options() },
        Options { rate: f64::NAN, ..options() },
    ] {
        assert!(jumpstream::emulator::start(bad).await.is_err());
    }
}
