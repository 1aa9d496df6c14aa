//! What a request body asks for, and the 400s for those that ask wrongly (insights-api §1.4, §1.9).

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::catalog::QUERYABLE;
use super::filter::Filter;
use super::options::{End, Options, OverLimit};
use super::record::Cursor;
use super::time;

pub(super) const DEFAULT_LIMIT: usize = 1_000;
pub(super) const MAX_LIMIT: usize = 10_000;

/// Why a request isn't answered: a status and its `message`.
pub(super) struct Refusal(pub StatusCode, pub String);

impl Refusal {
    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, message.into())
    }
}

/// The body of all four `/events` endpoints.
pub(super) struct Query {
    pub body: Map<String, Value>,
    /// None is `all`.
    pub services: Option<Vec<String>>,
    /// Inclusive.
    pub start: i64,
    /// Exclusive; `i64::MAX` where none was given.
    pub end: i64,
    pub descending: bool,
    pub limit: usize,
    pub skip: usize,
    pub after: Option<Cursor>,
    /// `search_after` as it came.
    pub asked_after: Option<String>,
    pub fields: Option<Vec<String>>,
    pub filter: Option<Filter>,
}

impl Query {
    pub fn parse(body: &[u8], options: &Options, now: i64) -> Result<Query, Refusal> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("invalid request body: {error}")))?;
        let Value::Object(body) = body else { return Err(Refusal::bad("invalid request body: not an object")) };
        if options.strict {
            known_fields_only(&body)?;
        }
        let services = services(&body)?;
        let (start, end) = times(&body, options, now)?;
        let limit = limit(&body, options)?;
        let skip = body.get("skip").and_then(Value::as_u64).unwrap_or(0) as usize;
        if skip > 0 && skip.saturating_add(limit) > MAX_LIMIT {
            return Err(Refusal::bad(format!("skip + limit must not exceed {MAX_LIMIT}; use search_after")));
        }
        let sort = body.get("sort").and_then(Value::as_str).unwrap_or_default();
        let given = body.get("search_after").filter(|value| !value.is_null());
        Ok(Query {
            services,
            start,
            end,
            limit,
            skip,
            descending: sort.eq_ignore_ascii_case("desc"),
            after: given.map(|value| cursor(value, options.strict)).transpose()?,
            asked_after: given.map(Value::to_string),
            fields: fields(&body)?,
            filter: Filter::parse(&body)?,
            body,
        })
    }

    /// A string member that must be there.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.body.get(name).and_then(Value::as_str).ok_or_else(|| Refusal::bad(format!("{name} is required")))
    }
}

fn known_fields_only(body: &Map<String, Value>) -> Result<(), Refusal> {
    const KNOWN: [&str; 15] = [
        "service",
        "start_time",
        "end_time",
        "sort",
        "limit",
        "skip",
        "search_after",
        "fields",
        "q",
        "exact_match",
        "search_term",
        "field",
        "interval_unit",
        "interval_value",
        "timezone",
    ];
    match body.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => Err(Refusal::bad(format!("unknown field {name:?}"))),
        None => Ok(()),
    }
}

fn services(body: &Map<String, Value>) -> Result<Option<Vec<String>>, Refusal> {
    let names = match body.get("service") {
        Some(Value::Array(names)) if !names.is_empty() => names,
        Some(Value::Array(_)) | None => return Err(Refusal::bad("service is required")),
        Some(_) => return Err(Refusal::bad("service must be an array of strings")),
    };
    let mut services = Vec::new();
    for name in names {
        let name = name.as_str().unwrap_or_default();
        if !QUERYABLE.contains(&name) {
            let supported = QUERYABLE.join(", ");
            return Err(Refusal::bad(format!("invalid service {name:?}; supported services: {supported}")));
        }
        match name {
            "alert" => services.push("alerts".to_owned()),
            "saas_app_management" => services.extend([name.to_owned(), "saas_management".to_owned()]),
            name => services.push(name.to_owned()),
        }
    }
    Ok(if services.iter().any(|name| name == "all") { None } else { Some(services) })
}

fn times(body: &Map<String, Value>, options: &Options, now: i64) -> Result<(i64, i64), Refusal> {
    let Some(start) = instant(body, "start_time")? else { return Err(Refusal::bad("start_time is required")) };
    if start > now {
        return Err(Refusal::bad(format!("start_time {} is in the future", time::format(start))));
    }
    let Some(end) = instant(body, "end_time")? else { return Ok((start, i64::MAX)) };
    if end <= start {
        // The wording as it was captured, upside down (elastic/integrations #17209).
        let (start, end) = (time::format(start), time::format(end));
        return Err(Refusal::bad(format!("Start Time not after End Time {start} > {end}")));
    }
    Ok((start, if options.end == End::Inclusive { end.saturating_add(1) } else { end }))
}

fn instant(body: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().and_then(time::parse) {
            Some(instant) => Ok(Some(instant)),
            None => Err(Refusal::bad(format!("{name} {value} is not RFC3339"))),
        },
    }
}

fn limit(body: &Map<String, Value>, options: &Options) -> Result<usize, Refusal> {
    match body.get("limit").and_then(Value::as_i64) {
        Some(limit @ 1..=10_000) => Ok(limit as usize),
        Some(limit) if limit > MAX_LIMIT as i64 && options.over_limit == OverLimit::Refuse => {
            Err(Refusal::bad(format!("limit {limit} exceeds {MAX_LIMIT}")))
        }
        _ => Ok(DEFAULT_LIMIT),
    }
}

fn cursor(value: &Value, strict: bool) -> Result<Cursor, Refusal> {
    let refused = || Refusal::bad(format!("invalid search_after {value}"));
    let [millisecond, opaque_id] = value.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(refused());
    };
    let numeric = || millisecond.as_str().filter(|_| !strict)?.parse().ok();
    let millisecond = millisecond.as_i64().or_else(numeric).ok_or_else(refused)?;
    let opaque_id = opaque_id.as_str().ok_or_else(refused)?.to_owned();
    Ok(Cursor { millisecond, opaque_id })
}

fn fields(body: &Map<String, Value>) -> Result<Option<Vec<String>>, Refusal> {
    const KNOWN: &str = "id event_type service timestamp organization @version client_ip geoip asn useragent \
        initiated_by jc_initiated_by_email jc_initiated_by_id resource target_resource system system_group application \
        association changes success mfa mfa_meta provider error_message auth_method auth_context correlation \
        message_chain idm_client_id username message command status";
    let Some(value) = body.get("fields").filter(|value| !value.is_null()) else { return Ok(None) };
    let names: Vec<String> =
        value.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let known = |name: &String| {
        let top = name.split('.').next().unwrap_or_default();
        KNOWN.split_whitespace().any(|known| known == top)
    };
    if !names.iter().any(known) {
        return Err(Refusal::bad("fields must name at least one known field"));
    }
    Ok(Some(names))
}
