//! `/_emulator/`: events put in by hand, the clock, the request log and the sums.

use jumpstream::emulator::{Options, Span};
use reqwest::Method;
use serde_json::{Value, json};

use super::{NOW, api, everything, instant, options, sha256, with};

#[tokio::test]
async fn inserted_events_keep_their_bytes() {
    let api = api(Options { events: 0, ..options() }).await;
    let event = r#"{ "timestamp" : "2026-03-02T10:00:00.100Z","id":1.50, "x":"\u00e9\/" }"#;
    api.control("events", format!(r#"{{"event":{event}}}"#)).await;
    assert_eq!(api.post("/events", everything()).await.text().await.unwrap(), format!("[{event}]"));
    let truth = api.emulator.truth(None);
    assert_eq!((truth.len(), &truth[0].sha256, &truth[0].id), (1, &sha256(event), &None));
    assert_eq!(
        (truth[0].timestamp.as_str(), truth[0].visible_at.starts_with("2026-03-02T12:00:0")),
        ("2026-03-02T10:00:00.100Z", true)
    );
}

#[tokio::test]
async fn an_event_inserted_twice_is_true_once() {
    let api = api(Options { events: 0, ..options() }).await;
    let line = json!({ "event": { "id": "a", "timestamp": "2026-03-02T10:00:00Z" } }).to_string();
    api.control("events", [line.as_str(), "", &line].join("\n")).await;
    assert_eq!(api.page(everything()).await.len(), 2);
    assert_eq!(api.emulator.truth(None).len(), 1);
}

#[tokio::test]
async fn inserted_text_may_be_no_json() {
    let api = api(Options { events: 0, ..options() }).await;
    let line = json!({ "raw": "{\"id\":oops", "timestamp": "2026-03-02T10:00:00Z" });
    api.control("events", line).await;
    assert_eq!(api.post("/events", everything()).await.text().await.unwrap(), "[{\"id\":oops]");
}

#[tokio::test]
async fn inserted_events_are_visible_when_they_should_be() {
    let api = api(Options { events: 0, organizations: 2, ..options() }).await;
    let second = &api.emulator.organizations()[1];
    let event = json!({ "id": "late", "timestamp": "2026-03-02T10:00:00Z" });
    let line = json!({ "organization": second, "visible_at": "2026-03-02T13:00:00Z", "event": event });
    api.control("events", line).await;
    assert_eq!(api.read(everything(), Some(second)).await.len(), 0);
    api.control("clock", json!({ "now": "2026-03-02T13:00:00Z" })).await;
    assert_eq!(api.read(everything(), Some(second)).await.len(), 1);
    assert_eq!(api.page(everything()).await.len(), 0, "the first organization has none");
}

#[tokio::test]
async fn a_bad_line_is_named() {
    let api = api(Options { events: 0, ..options() }).await;
    for line in ["{}", "nonsense", r#"{"event":{},"raw":""}"#, r#"{"event":{},"organization":"none"}"#] {
        let request = api.request(Method::POST, "/_emulator/events").body(format!("{{\"event\":{{}}}}\n{line}"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400, "{line}");
        assert!(response.text().await.unwrap().contains("line 2"), "{line}");
    }
}

#[tokio::test]
async fn the_clock_starts_where_it_is_told_and_can_be_set() {
    let api = api(Options { events: 0, ..options() }).await;
    let now: Value = serde_json::from_str(&api.look("clock").await).unwrap();
    assert!(instant(&now["now"]) >= NOW.parse().unwrap());
    let now = api.control("clock", json!({ "advance": "90m" })).await;
    assert!(now["now"].as_str().unwrap().starts_with("2026-03-02T13:30:0"), "{now}");
    let now = api.control("clock", json!({ "now": "2027-01-01T00:00:00+01:00" })).await;
    assert!(now["now"].as_str().unwrap().starts_with("2026-12-31T23:00:0"), "{now}");
    assert!(api.emulator.now() < "2027-01-01T00:00:00Z".parse().unwrap());
}

#[tokio::test]
async fn requests_are_remembered_as_they_came() {
    let api = api(Options { events: 30, ..options() }).await;
    let query = with(everything(), json!({ "limit": 20 }));
    let request = api.request(Method::POST, "/insights/directory/v1/events").header("x-org-id", "nobody");
    request.body(query.to_string()).send().await.unwrap();
    api.post("/events", query.clone()).await;
    let log: Vec<Value> = api.look("requests").await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(log.len(), 2, "the emulator's own paths aren't logged");
    assert_eq!(
        (&log[0]["status"], &log[0]["x-org-id"], &log[0]["count"]),
        (&json!(403), &json!("nobody"), &json!(null))
    );
    assert_eq!((&log[1]["status"], &log[1]["x-org-id"], &log[1]["count"]), (&json!(200), &json!(null), &json!(20)));
    assert_eq!((&log[1]["method"], &log[1]["path"]), (&json!("POST"), &json!("/insights/directory/v1/events")));
    assert_eq!((&log[1]["x-api-key"], &log[1]["body"]), (&json!("jca_emulator"), &json!(query.to_string())));
    assert!(instant(&log[1]["time"]) >= NOW.parse().unwrap());
}

#[tokio::test]
async fn stats_add_up_what_was_served() {
    let api = api(Options { events: 30, ..options() }).await;
    let bytes = api.post("/events", everything()).await.bytes().await.unwrap().len();
    let refused = api.post("/events", json!({})).await.bytes().await.unwrap().len();
    let stats: Value = serde_json::from_str(&api.look("stats").await).unwrap();
    assert_eq!(stats["requests"], json!({ "200": 1, "400": 1 }));
    assert_eq!((&stats["pages"], &stats["events"]), (&json!(1), &json!(30)));
    assert_eq!(stats["bytes"], json!(bytes + refused));
    assert!(stats["cpu_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn durations_are_read_and_written_as_people_do() {
    for (text, seconds) in [
        ("90s", 90.0),
        ("15m", 900.0),
        ("24h", 86_400.0),
        ("90d", 7_776_000.0),
        ("-1h", -3_600.0),
        ("500ms", 0.5),
        ("0s", 0.0),
    ] {
        let span: Span = text.parse().unwrap();
        assert_eq!(span.nanos() as f64 / 1e9, seconds);
        assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{span}");
    }
    for text in ["", "h", "1", "1y", "1.5h", "--1h", "99999999999d", "1 h"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}
