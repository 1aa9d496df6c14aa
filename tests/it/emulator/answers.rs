//! Answers: headers, order, cursors, organizations, projections, and the switches for what nobody knows.

use jumpstream::emulator::{Distinct, EmptyCursor, End, Options, OverLimit};
use reqwest::Method;
use serde_json::{Value, json};

use super::{api, everything, header, json_of, options, with};

#[tokio::test]
async fn a_page_says_its_count_limit_sort_and_cursor() {
    let api = api(Options { events: 50, ..options() }).await;
    let response = api.post("/events", with(everything(), json!({ "limit": 20, "SortOrder": "unknown" }))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "x-result-count").unwrap(), "20");
    assert_eq!(header(&response, "x-limit").unwrap(), "20");
    assert_eq!(header(&response, "x-sort").unwrap(), "ASC");
    assert_eq!(header(&response, "content-type").unwrap(), "application/json");
    assert_eq!(header(&response, "x-request-id").unwrap().len(), 36);
    assert!(header(&response, "date").unwrap().starts_with("Mon, 02 Mar 2026 12:00:0"));
    let cursor: Value = serde_json::from_str(&header(&response, "x-search_after").unwrap()).unwrap();
    let page = json_of(response).await;
    let last = page[19]["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(cursor[0].as_i64().unwrap(), last.as_millisecond());
    assert_eq!(cursor[1].as_str().unwrap().len(), 20);
    assert_ne!(cursor[1], page[19]["id"]);
}

#[tokio::test]
async fn the_last_page_has_a_cursor_too() {
    let api = api(Options { events: 5, ..options() }).await;
    let response = api.post("/events", everything()).await;
    assert_eq!(header(&response, "x-result-count").unwrap(), "5");
    assert!(header(&response, "x-search_after").is_some());
}

#[tokio::test]
async fn within_a_millisecond_the_order_is_not_that_of_time_or_id() {
    let api = api(Options { events: 0, burst: 500, ..options() }).await;
    let page = api.page(everything()).await;
    let of = |name: &str| -> Vec<&str> { page.iter().map(|event| event[name].as_str().unwrap()).collect() };
    let times: Vec<jiff::Timestamp> = of("timestamp").iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(times.iter().map(|time| time.as_millisecond()).collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert!(!times.is_sorted());
    assert!(!of("id").is_sorted());
}

#[tokio::test]
async fn descending_pages_are_the_ascending_ones_backwards() {
    let api = api(Options { events: 300, ties: 0.5, ..options() }).await;
    let mut ascending = api.read(with(everything(), json!({ "limit": 70 })), None).await;
    let descending = api.read(with(everything(), json!({ "limit": 70, "sort": "desc" })), None).await;
    ascending.reverse();
    assert_eq!(ascending, descending);
    let nonsense = api.post("/events", with(everything(), json!({ "sort": "sideways" }))).await;
    assert_eq!(header(&nonsense, "x-sort").unwrap(), "ASC");
}

#[tokio::test]
async fn a_nonsensical_limit_is_the_default() {
    let api = api(Options { events: 1_500, ..options() }).await;
    for limit in [json!(0), json!(-3), json!("many"), json!(null), json!(1.5), json!(10_001)] {
        let response = api.post("/events", with(everything(), json!({ "limit": limit }))).await;
        assert_eq!(header(&response, "x-limit").unwrap(), "1000", "{limit}");
        assert_eq!(header(&response, "x-result-count").unwrap(), "1000", "{limit}");
    }
}

#[tokio::test]
async fn a_limit_over_the_maximum_may_be_refused() {
    let api = api(Options { over_limit: OverLimit::Refuse, ..options() }).await;
    let response = api.post("/events", with(everything(), json!({ "limit": 10_001 }))).await;
    assert_eq!(response.status(), 400);
    assert!(json_of(response).await["message"].as_str().unwrap().contains("10001"));
}

#[tokio::test]
async fn skip_passes_over_events() {
    let api = api(Options { events: 30, ..options() }).await;
    let all = api.page(everything()).await;
    assert_eq!(api.page(with(everything(), json!({ "skip": 12, "limit": 5 }))).await, all[12..17]);
}

#[tokio::test]
async fn the_start_belongs_to_the_answer_and_the_end_by_switch() {
    for (end, expected) in [(End::Exclusive, 1), (End::Inclusive, 2)] {
        let api = api(Options { events: 0, end, ..options() }).await;
        let event = |time: &str| json!({ "event": { "id": time, "timestamp": time } }).to_string();
        let (from, to) = ("2026-03-02T10:00:00.123456789Z", "2026-03-02T11:00:00Z");
        api.control("events", [event(from), event(to)].join("\n")).await;
        let query = json!({ "service": ["all"], "start_time": from, "end_time": to });
        assert_eq!(api.page(query.clone()).await.len(), expected);
        assert_eq!(api.count(query).await, expected as u64);
    }
}

#[tokio::test]
async fn an_empty_page_has_the_cursor_that_the_switch_says() {
    let asked = json!([1_772_438_400_123i64, "Qm3xV5wBt0aYk2LrH8ne"]);
    let cases = [
        (EmptyCursor::Absent, None),
        (EmptyCursor::Present, Some("[]".to_owned())),
        (EmptyCursor::Echo, Some(asked.to_string())),
    ];
    for (empty_cursor, expected) in cases {
        let api = api(Options { events: 0, empty_cursor, ..options() }).await;
        let response = api.post("/events", with(everything(), json!({ "search_after": asked }))).await;
        assert_eq!(header(&response, "x-search_after"), expected);
        assert_eq!(response.text().await.unwrap(), "[]");
    }
}

#[tokio::test]
async fn headers_can_be_missing_and_cursors_can_repeat() {
    let api = api(Options { events: 100, no_cursor: true, no_limit_header: true, ..options() }).await;
    let page = with(everything(), json!({ "limit": 10 }));
    let response = api.post("/events", page.clone()).await;
    assert_eq!(header(&response, "x-search_after"), None);
    assert_eq!(header(&response, "x-limit"), None);

    api.control("settings", json!({ "no_cursor": false, "repeat_cursor": true })).await;
    let first = header(&api.post("/events", page.clone()).await, "x-search_after").unwrap();
    let asked: Value = serde_json::from_str(&first).unwrap();
    let again = api.post("/events", with(page, json!({ "search_after": asked }))).await;
    assert_eq!(header(&again, "x-search_after").unwrap(), first);
}

#[tokio::test]
async fn a_numeric_string_in_a_cursor_passes_unless_strict() {
    for (strict, status) in [(false, 200), (true, 400)] {
        let api = api(Options { events: 10, strict, ..options() }).await;
        let cursor = json!({ "search_after": ["1772438400123", "Qm3xV5wBt0aYk2LrH8ne"] });
        assert_eq!(api.post("/events", with(everything(), cursor)).await.status(), status);
    }
}

#[tokio::test]
async fn x_org_id_chooses_the_organization() {
    let api = api(Options { events: 400, organizations: 12, ..options() }).await;
    let ids = api.emulator.organizations();
    let own = api.page(everything()).await;
    assert!(own.iter().all(|event| event["organization"] == ids[0].as_str()));
    let third = api.read(everything(), Some(&ids[2])).await;
    assert!(!third.is_empty() && third.iter().all(|event| event.contains(&ids[2])));

    let unknown =
        api.request(Method::POST, "/insights/directory/v1/events").header("x-org-id", "5f0000000000000000000000");
    let response = unknown.body(everything().to_string()).send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(json_of(response).await["message"].is_string());
}

#[tokio::test]
async fn organizations_come_in_pages() {
    let api = api(Options { events: 0, organizations: 25, ..options() }).await;
    let mut ids = Vec::new();
    for skip in [0, 20] {
        let path = format!("/api/organizations?limit=20&skip={skip}");
        let answer = json_of(api.request(Method::GET, &path).send().await.unwrap()).await;
        assert_eq!(answer["totalCount"], 25);
        let results = answer["results"].as_array().unwrap();
        assert!(results.iter().all(|one| one["displayName"].is_string() && one["logoUrl"].is_string()));
        ids.extend(results.iter().map(|one| one["_id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(ids, api.emulator.organizations());
    let default = json_of(api.request(Method::GET, "/api/organizations").send().await.unwrap()).await;
    assert_eq!(default["results"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_service_shows_its_events_alone() {
    let api = api(options()).await;
    let all = api.page(with(everything(), json!({ "limit": 10_000 }))).await;
    for (asked, own) in [("sso", "sso"), ("alert", "alerts"), ("saas_app_management", "saas_management")] {
        let query = with(everything(), json!({ "service": [asked], "limit": 10_000 }));
        let expected: Vec<_> = all.iter().filter(|event| event["service"] == own).cloned().collect();
        assert_eq!(api.count(query.clone()).await, expected.len() as u64, "{asked}");
        assert_eq!(api.page(query).await, expected, "{asked}");
        assert!(!expected.is_empty(), "{asked}");
    }
}

#[tokio::test]
async fn fields_and_search_terms_narrow_the_answer() {
    let api = api(Options { events: 500, ..options() }).await;
    let fields = json!({ "fields": ["id", "initiated_by.username", "no_such_field"], "service": ["radius"] });
    for event in api.page(with(everything(), fields)).await {
        let names: Vec<_> = event.as_object().unwrap().keys().collect();
        assert_eq!(names, ["id", "initiated_by"]);
    }
    let all = api.page(everything()).await;
    let term = json!({ "search_term": { "and": [{ "success": "false" }, { "or": [{ "service": ["radius", "ldap"] }] }], "not": { "username": "ana" } } });
    let expected: Vec<_> = all
        .iter()
        .filter(|event| event["success"] == false && (event["service"] == "radius" || event["service"] == "ldap"))
        .filter(|event| event["username"] != "ana")
        .cloned()
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(api.page(with(everything(), term.clone())).await, expected);
    assert_eq!(api.count(with(everything(), term)).await, expected.len() as u64);
}

#[tokio::test]
async fn distinct_counts_values_in_either_shape() {
    for distinct in [Distinct::Live, Distinct::Swagger] {
        let api = api(Options { events: 400, distinct, ..options() }).await;
        let answer =
            json_of(api.post("/events/distinct", with(everything(), json!({ "field": "service" }))).await).await;
        let buckets = if distinct == Distinct::Live { &answer["service"] } else { &answer["buckets"] };
        let total: u64 = buckets.as_array().unwrap().iter().map(|bucket| bucket["doc_count"].as_u64().unwrap()).sum();
        assert_eq!(total, 400);
    }
}

#[tokio::test]
async fn intervals_follow_the_time_zone() {
    let api = api(Options { events: 0, ..options() }).await;
    api.control("events", json!({ "event": { "timestamp": "2026-03-02T03:30:00Z" } })).await;
    let cases = [
        ("d", "+0000", "2026-03-02T00:00:00.000Z"),
        ("d", "-0500", "2026-03-01T05:00:00.000Z"),
        ("w", "+0000", "2026-03-02T00:00:00.000Z"),
    ];
    for (unit, timezone, begin) in cases {
        let ask = with(everything(), json!({ "interval_unit": unit, "interval_value": "1", "timezone": timezone }));
        let answer = json_of(api.post("/events/interval", ask).await).await;
        let key = begin.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(answer, json!({ "buckets": [{ "key": key, "key_as_string": begin, "doc_count": 1 }] }));
    }
}

#[tokio::test]
async fn gzip_is_used_where_both_sides_want_it() {
    for (gzip, accepted, expected) in [(true, "gzip", Some("gzip")), (true, "identity", None), (false, "gzip", None)] {
        let api = api(Options { events: 50, gzip, ..options() }).await;
        let request = api.request(Method::POST, "/events").header("accept-encoding", accepted);
        let response = request.body(everything().to_string()).send().await.unwrap();
        assert_eq!(header(&response, "content-encoding").as_deref(), expected);
        let mut body = Vec::new();
        let bytes = response.bytes().await.unwrap();
        match expected {
            Some(_) => drop(std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut body)),
            None => body = bytes.to_vec(),
        }
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&body).unwrap().len(), 50);
    }
}

#[tokio::test]
async fn a_page_asked_again_comes_from_the_cache() {
    let api = api(Options { events: 3_000, cached_pages: 2, ..options() }).await;
    let first = with(everything(), json!({ "limit": 1_500 }));
    assert_eq!(api.page(first.clone()).await, api.page(first.clone()).await);
    let stats: Value = serde_json::from_str(&api.look("stats").await).unwrap();
    assert_eq!(stats["pages"], 2);
    assert_eq!(stats["pages_from_cache"], 1);
    // An event put into the page's time makes another page of it.
    api.control("events", json!({ "event": { "id": "new", "timestamp": "2026-03-01T12:00:00Z" } })).await;
    assert_eq!(api.page(first).await[0]["id"], "new");
}

#[tokio::test]
async fn the_date_can_be_wrong() {
    let api = api(Options { events: 0, date_offset: "-1h".parse().unwrap(), ..options() }).await;
    let date = header(&api.post("/events", everything()).await, "date").unwrap();
    assert!(date.starts_with("Mon, 02 Mar 2026 11:00:0"), "{date}");
    api.control("settings", json!({ "date_offset": "2d" })).await;
    let date = header(&api.post("/events", everything()).await, "date").unwrap();
    assert!(date.starts_with("Wed, 04 Mar 2026 12:00:0"), "{date}");
}
