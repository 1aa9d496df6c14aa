//! What an answer that is no 200 means (insights-api §1.9), and the headers that say when to come back.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;

use super::Error;
use super::error::quote;
use crate::clock::Time;

/// The API may ask us to wait; a day's pause from a broken proxy would be an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What was asked, as far as it decides what a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A range without an end: only its start can lie in the future.
    OpenRange,
    ClosedRange,
    Other,
}

/// The error that a status other than 200 is. `body` is the beginning of the body, without the key.
pub(super) fn refusal(status: u16, headers: &HeaderMap, body: &str, asked: Asked, remedy: &'static str) -> Error {
    let message = message(body);
    let retry_after = || retry_after(headers);
    match status {
        200..=299 => Error::Malformed { why: format!("status {status} instead of 200") },
        300..=399 => Error::Redirected { status, location: location(headers) },
        400 if starts_in_future(&message, asked) => Error::FutureStart { message },
        401 => Error::Unauthorized { message, remedy },
        402 => Error::Unlicensed { message },
        429 => Error::RateLimited { status, retry_after: retry_after(), message },
        // Seen in the field: the limit said by a 403, which must not look like a lost right.
        403 if speaks_of_rate(body) => Error::RateLimited { status, retry_after: retry_after(), message },
        403 => Error::Forbidden { message },
        404 => Error::NotFound { message },
        // Not our fault, though of the fours: the server's own timeout, and "too early".
        408 | 425 => Error::Server { status, retry_after: retry_after(), message },
        400..=499 => Error::BadRequest { status, message },
        _ => Error::Server { status, retry_after: retry_after(), message },
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    message: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<std::borrow::Cow<'a, str>>,
}

/// The body's `message`; the beginning of any other text, but nothing of a page made for browsers.
fn message(body: &str) -> String {
    let trimmed = body.trim();
    if trimmed.is_empty() {
        return "no explanation given".to_owned();
    }
    if let Ok(Body { message, error }) = serde_json::from_str(trimmed)
        && let Some(text) = message.or(error)
    {
        return quote(&text);
    }
    if trimmed.starts_with('<') { "an HTML page, perhaps a proxy's".to_owned() } else { quote(trimmed) }
}

/// By whole words, since "operate" and "corporate" hold a rate too.
fn speaks_of_rate(body: &str) -> bool {
    let body = body.to_lowercase();
    let words: Vec<&str> = body.split(|letter: char| !letter.is_alphabetic()).collect();
    let has = |start: &str| words.iter().any(|word| word.starts_with(start));
    let limit = has("limit");
    has("throttl")
        || has("ratelimit")
        || limit && (words.contains(&"rate") || has("exceed"))
        || has("many") && has("requests")
}

/// The captured wording for a start that is not before its end compares the two; without an end of ours, the end
/// is the API's present.
fn starts_in_future(message: &str, asked: Asked) -> bool {
    let message = message.to_lowercase();
    let (start, end) = (message.contains("start"), message.contains("end"));
    match asked {
        Asked::OpenRange => message.contains("future") || start && end && message.contains("after"),
        // What lies in the future may as well be the end that we gave, which says nothing of our clock.
        Asked::ClosedRange => message.contains("future") && start && !end,
        Asked::Other => false,
    }
}

/// Where a redirect leads, without what may be secret in it.
fn location(headers: &HeaderMap) -> String {
    let text = headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = text.as_deref().unwrap_or("an unnamed place");
    quote(text.split(['?', '#']).next().unwrap_or_default())
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date, which counts from the answer's own `Date`; an hour at most.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number holds are more than an hour too.
        return Some(text.parse().map_or(LONGEST_PAUSE, Duration::from_secs).min(LONGEST_PAUSE));
    }
    let until = Time::parse_http(text)?;
    let now = date(headers).unwrap_or_else(crate::clock::wall);
    Some(until.since(now).min(LONGEST_PAUSE))
}

/// `Date`: the server's wall clock, in whole seconds.
pub(super) fn date(headers: &HeaderMap) -> Option<Time> {
    Time::parse_http(headers.get(DATE)?.to_str().ok()?)
}
