//! The endpoints: a request in, an answer out, no I/O (insights-api §1.2, §1.7, §1.8, §1.13).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::dataset::{Dataset, Range};
use super::filter;
use super::interval::Interval;
use super::options::{Distinct, EmptyCursor};
use super::page::{self, Page};
use super::query::{Query, Refusal};
use super::record::Record;
use super::time::Writer;
use super::world::World;

/// What the client sent.
pub(super) struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

/// What it gets, unless something goes wrong on the way.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub page: Arc<Page>,
    /// How many events a page holds.
    pub events: Option<usize>,
    pub cached: bool,
}

/// The path without the API's base path, which is optional here.
pub(super) fn endpoint(path: &str) -> &str {
    path.strip_prefix("/insights/directory/v1").unwrap_or(path)
}

/// Answers an API request at the time `now`.
pub(super) fn answer(world: &World, asked: &Asked, now: i64) -> Answer {
    route(world, asked, now).unwrap_or_else(|Refusal(status, message)| Answer::refusal(status, &message))
}

fn route(world: &World, asked: &Asked, now: i64) -> Result<Answer, Refusal> {
    let path = endpoint(&asked.path);
    let method = match path {
        "/events" | "/events/count" | "/events/interval" | "/events/distinct" => Method::POST,
        "/api/organizations" => Method::GET,
        _ => return Err(Refusal(StatusCode::NOT_FOUND, "Not Found".to_owned())),
    };
    if asked.method != method {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned()));
    }
    let key = asked.header("x-api-key").unwrap_or_default();
    let refused = || Refusal(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
    let own = world.key(key).ok_or_else(refused)?.organization;
    if path == "/api/organizations" {
        return Ok(organizations(world, asked, own, now));
    }
    let dataset = world.dataset(now);
    let organization = organization(&dataset, &asked.headers, own)?;
    let query = Query::parse(&asked.body, &world.options, now)?;
    let range = Range {
        start: query.start.max(now.saturating_sub(world.options.retention.nanos())),
        end: query.end,
        visible_ms: world.visible_ms(now),
        services: query.services.clone(),
    };
    match path {
        "/events" => Ok(events(world, &dataset, organization, &query, &range)),
        "/events/count" => Ok(count(&dataset, organization, &query, &range)),
        "/events/interval" => interval(&dataset, organization, &query, &range, now),
        _ => distinct(world, &dataset, organization, &query, &range),
    }
}

/// The organization that `x-org-id` names; the key's own, else the first, where it names none.
fn organization(dataset: &Dataset, headers: &HeaderMap, own: Option<usize>) -> Result<usize, Refusal> {
    let mut ids = headers.get_all("x-org-id").iter();
    let (Some(id), more) = (ids.next(), ids.next()) else { return Ok(own.unwrap_or(0)) };
    if more.is_some() {
        return Err(Refusal::bad("the emulator answers for one x-org-id at a time"));
    }
    let known = id.to_str().ok().and_then(|id| dataset.position(id));
    known
        .filter(|known| own.is_none_or(|own| own == *known))
        .ok_or_else(|| Refusal(StatusCode::FORBIDDEN, "Forbidden".to_owned()))
}

fn events(world: &World, dataset: &Dataset, organization: usize, query: &Query, range: &Range) -> Answer {
    let records = select(dataset, organization, query, range);
    let (page, cached) = match &query.fields {
        None => world.pages.page(dataset, organization, &records),
        Some(fields) => (Arc::new(Page::new(page::render(dataset, organization, &records, Some(fields)))), false),
    };
    let mut headers = HeaderMap::new();
    set(&mut headers, "x-result-count", &records.len().to_string());
    set(&mut headers, "x-sort", if query.descending { "DESC" } else { "ASC" });
    if !world.options.no_limit_header {
        set(&mut headers, "x-limit", &query.limit.to_string());
    }
    if let Some(cursor) = cursor(world, query, &records) {
        set(&mut headers, "x-search_after", &cursor);
    }
    Answer { status: StatusCode::OK, headers, page, events: Some(records.len()), cached }
}

fn select(dataset: &Dataset, organization: usize, query: &Query, range: &Range) -> Vec<Record> {
    let (after, descending) = (query.after.as_ref(), query.descending);
    let places = query.skip..query.skip.saturating_add(query.limit);
    let Some(filter) = &query.filter else {
        return dataset.select(organization, range, after, descending, places);
    };
    let mut records = dataset.select(organization, range, after, descending, 0..usize::MAX);
    let mut text = Vec::new();
    records.retain(|record| {
        text.clear();
        dataset.write(organization, record, &mut Writer::default(), &mut text);
        filter.shows(&text)
    });
    records.into_iter().skip(places.start).take(query.limit).collect()
}

/// `X-Search_after` for a page: its last event's, with the oddities that were switched on.
fn cursor(world: &World, query: &Query, records: &[Record]) -> Option<String> {
    let settings = world.settings();
    if settings.no_cursor {
        return None;
    }
    let Some(last) = records.last() else {
        return match world.options.empty_cursor {
            EmptyCursor::Absent => None,
            EmptyCursor::Present => Some("[]".to_owned()),
            EmptyCursor::Echo => query.asked_after.clone(),
        };
    };
    let repeated = query.asked_after.clone().filter(|_| settings.repeat_cursor && records.len() == query.limit);
    Some(repeated.unwrap_or_else(|| last.cursor()))
}

fn count(dataset: &Dataset, organization: usize, query: &Query, range: &Range) -> Answer {
    let count = match &query.filter {
        None => dataset.count(organization, range),
        Some(_) => matching(dataset, organization, query, range).count(),
    };
    Answer::json(&json!({ "count": count }))
}

fn interval(dataset: &Dataset, organization: usize, query: &Query, range: &Range, now: i64) -> Result<Answer, Refusal> {
    let interval = Interval::parse(query)?;
    interval.admit(range.start, if range.end == i64::MAX { now } else { range.end })?;
    let mut counts = BTreeMap::new();
    let mut add = |record: &Record| *counts.entry(interval.bucket(record.nanos)).or_insert(0u64) += 1;
    match &query.filter {
        None => dataset.scan(organization, range, &mut add),
        Some(_) => matching(dataset, organization, query, range).for_each(|(record, _)| add(&record)),
    }
    Ok(Answer::json(&json!({ "buckets": interval.buckets(&counts)? })))
}

fn distinct(
    world: &World,
    dataset: &Dataset,
    organization: usize,
    query: &Query,
    range: &Range,
) -> Result<Answer, Refusal> {
    let field = query.required("field")?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (_, event) in matching(dataset, organization, query, range) {
        let event: Value = serde_json::from_slice(&event).unwrap_or_default();
        let value = filter::lookup(&event, field).filter(|value| !value.is_null());
        if let Some(value) = value {
            *counts.entry(value.as_str().map_or_else(|| value.to_string(), str::to_owned)).or_default() += 1;
        }
    }
    let mut buckets: Vec<_> = counts.into_iter().collect();
    buckets.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let buckets: Vec<_> = buckets.iter().map(|(key, count)| json!({ "key": key, "doc_count": count })).collect();
    Ok(Answer::json(&match world.options.distinct {
        Distinct::Live => json!({ field: buckets }),
        Distinct::Swagger => {
            json!({ "buckets": buckets, "doc_count_error_upper_bound": 0, "sum_other_doc_count": 0 })
        }
    }))
}

/// The records of a query, with their bytes, that its filter shows.
fn matching<'a>(
    dataset: &'a Dataset,
    organization: usize,
    query: &'a Query,
    range: &Range,
) -> impl Iterator<Item = (Record, Vec<u8>)> + 'a {
    let records = dataset.select(organization, range, None, false, 0..usize::MAX);
    let written = records.into_iter().map(move |record| {
        let mut event = Vec::new();
        dataset.write(organization, &record, &mut Writer::default(), &mut event);
        (record, event)
    });
    written.filter(|(_, event)| query.filter.as_ref().is_none_or(|filter| filter.shows(event)))
}

fn organizations(world: &World, asked: &Asked, own: Option<usize>, now: i64) -> Answer {
    let parameter = |name: &str| {
        let pairs = asked.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
    };
    let (limit, skip) = (parameter("limit").unwrap_or(10).min(100), parameter("skip").unwrap_or(0));
    let dataset = world.dataset(now);
    let seen = dataset.organizations.iter().enumerate().filter(|(n, _)| own.is_none_or(|own| own == *n));
    let total = seen.clone().count();
    let results: Vec<_> = seen
        .skip(skip)
        .take(limit)
        .map(|(n, organization)| {
            json!({ "_id": organization.id, "displayName": format!("Organizace č. {}", n + 1), "logoUrl": "" })
        })
        .collect();
    Answer::json(&json!({ "results": results, "totalCount": total }))
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Answer {
    pub fn json(body: &Value) -> Answer {
        Answer::text(StatusCode::OK, "application/json", escape_html(&body.to_string()))
    }

    pub fn refusal(status: StatusCode, message: &str) -> Answer {
        Answer { status, ..Answer::json(&json!({ "message": message })) }
    }

    pub fn text(status: StatusCode, content_type: &'static str, body: String) -> Answer {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Answer { status, headers, page: Arc::new(Page::new(body)), events: None, cached: false }
    }
}

/// As Go's encoder writes JSON: safe inside HTML (seen in the captured 400, insights-api §1.9).
fn escape_html(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
