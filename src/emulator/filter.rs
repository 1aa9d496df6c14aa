//! `search_term`, `q`, `exact_match` and `fields`: what a query asks of an event's content (insights-api §1.5).
//!
//! Slow and plain: every event is parsed. The queries that must be fast have none of these.

use serde_json::{Map, Value};

use super::query::Refusal;

/// What an event must hold to be shown.
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    None(Vec<Filter>),
    /// The field's text, in lower case, is one of these.
    Field(String, Vec<String>),
    /// The event's text, in lower case, holds this.
    Text(String),
}

impl Filter {
    pub fn parse(body: &Map<String, Value>) -> Result<Option<Filter>, Refusal> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let mut filters = match (text("q"), text("exact_match")) {
            (Some(_), Some(_)) => return Err(Refusal::bad("q and exact_match exclude each other")),
            (Some(text), None) | (None, Some(text)) => vec![Filter::Text(text.to_lowercase())],
            (None, None) => Vec::new(),
        };
        match body.get("search_term") {
            None | Some(Value::Null) => {}
            Some(term) => filters.push(Filter::All(conjunction(term)?)),
        }
        Ok(if filters.is_empty() { None } else { Some(Filter::All(filters)) })
    }

    /// Whether an event, as JSON text, is shown.
    pub fn shows(&self, event: &[u8]) -> bool {
        let text = String::from_utf8_lossy(event).to_lowercase();
        let value = serde_json::from_slice(event).unwrap_or(Value::Null);
        self.holds(&value, &text)
    }

    fn holds(&self, event: &Value, text: &str) -> bool {
        match self {
            Filter::All(filters) => filters.iter().all(|filter| filter.holds(event, text)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.holds(event, text)),
            Filter::None(filters) => !filters.iter().any(|filter| filter.holds(event, text)),
            Filter::Field(path, wanted) => lookup(event, path).is_some_and(|value| wanted.contains(&plain(value))),
            Filter::Text(wanted) => text.contains(wanted),
        }
    }
}

/// `{"and": …, "or": …, "not": …, "field": "value"}`, or a list of such.
fn conjunction(term: &Value) -> Result<Vec<Filter>, Refusal> {
    let members = match term {
        Value::Array(terms) => {
            return terms.iter().map(|term| conjunction(term).map(Filter::All)).collect();
        }
        Value::Object(members) => members,
        _ => return Err(Refusal::bad("search_term must be an object")),
    };
    members
        .iter()
        .map(|(name, value)| match name.as_str() {
            "and" => conjunction(value).map(Filter::All),
            "or" => conjunction(value).map(Filter::Any),
            "not" => conjunction(value).map(Filter::None),
            field => Ok(Filter::Field(field.to_owned(), wanted(field, value)?)),
        })
        .collect()
}

fn wanted(field: &str, value: &Value) -> Result<Vec<String>, Refusal> {
    match value {
        Value::String(_) | Value::Number(_) => Ok(vec![plain(value)]),
        Value::Array(values) if values.iter().all(|value| value.is_string()) => Ok(values.iter().map(plain).collect()),
        _ => Err(Refusal::bad(format!("search_term {field:?} must be a string or a list of strings, not {value}"))),
    }
}

/// A value by its dotted path.
pub(super) fn lookup<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(event, |value, name| value.get(name))
}

/// A value as it is compared: in lower case, as it was indexed.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase()
}

/// An event with these fields alone.
pub(super) fn project(event: &[u8], paths: &[String]) -> Vec<u8> {
    let event: Value = serde_json::from_slice(event).unwrap_or(Value::Null);
    let mut shown = Value::Object(Map::new());
    for path in paths {
        let Some(value) = lookup(&event, path) else { continue };
        let place = path.split('.').fold(&mut shown, |place, name| &mut place[name]);
        *place = value.clone();
    }
    shown.to_string().into_bytes()
}
