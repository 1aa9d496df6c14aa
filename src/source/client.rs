//! Sends an account's requests.

mod organizations;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::answer::{self, Asked};
use super::credentials::{Credential, Key};
use super::error::quote;
use super::rate::Rate;
use super::turns::Purpose;
use super::usage::Usage;
use super::wire::{cause, host, http, is_tls, join, read, url};
use super::{Bucket, Error, EventQuery, Head, IntervalQuery, Observer, Options, Page, Phase};
use crate::clock::{self, Sample, ServerClock, Time};
pub use organizations::Organization;

/// Refusals and lists of organizations are small.
const SMALL: u64 = 1 << 20;
/// 1,500 buckets are 150 KiB; the API itself names no limit.
const BUCKETS: u64 = 64 << 20;
/// The largest count believed: more than any organization has, and exact in every JSON reader.
const MOST_EVENTS: u64 = 1 << 53;
/// Our clock and the API's may differ by this much before a line says so.
const SKEW: Duration = Duration::from_secs(120);

/// Speaks to the API for one account. See the [module](super).
#[derive(Clone)]
pub struct Client(Arc<Account>, Purpose);

struct Account {
    options: Options,
    http: reqwest::Client,
    base: Url,
    organizations: Url,
    credential: Credential,
    rate: Rate,
    clock: Mutex<Clock>,
    cursor_complained: AtomicBool,
    first: tokio::sync::Mutex<()>,
    seen: tokio::sync::Mutex<organizations::Seen>,
}

#[derive(Default)]
struct Clock {
    server: ServerClock,
    samples: Samples,
    /// Whether the last `Date` was far from our wall clock.
    skewed: bool,
    /// The last `Date`, and our wall clock at its receipt.
    last: Option<(Time, Time)>,
}

/// How many `Date` headers the API's clock was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Samples {
    pub taken: u64,
    /// More than 2 min off the median: not believed.
    pub ignored: u64,
    /// How often nine that agreed replaced the median.
    pub replaced: u64,
}

/// One request.
struct Call<'a> {
    endpoint: &'static str,
    url: Url,
    organization: Option<&'a str>,
    /// None is a GET.
    body: Option<Vec<u8>>,
    asked: Asked,
}

/// A 200 whose body was not read yet.
struct Answer {
    response: Response,
    /// The API's time when the request was sent, as it was believed before the answer's own `Date`: that one may be
    /// what is wrong. None where nothing was known before.
    sent_at: Option<Time>,
    /// The same moment, in uptime.
    sent: Duration,
    outcome: Outcome,
}

/// Reports a request's outcome once, when it is dropped: no path forgets it.
pub(super) struct Outcome {
    observer: Observer,
    endpoint: &'static str,
    label: &'static str,
}

impl Outcome {
    pub(super) fn set(&mut self, label: &'static str) {
        self.label = label;
    }

    fn of<T>(mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.set(result.as_ref().map_or_else(Error::label, |_| "ok"));
        result
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        (self.observer)(self.endpoint, self.label);
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outcome({} {})", self.endpoint, self.label)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({} at {})", self.0.options.account, self.0.base)
    }
}

impl Client {
    /// Reads no key and connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Endpoint`] where the endpoint can't be used as it is written.
    pub fn new(options: Options) -> Result<Client, Error> {
        let base = url(&options.base)?;
        let organizations = options.organizations.as_ref().map_or(Ok(base.clone()), url)?;
        Ok(Client(
            Arc::new(Account {
                http: http(&base, &organizations, options.deadlines.connect)?,
                base,
                organizations,
                credential: Credential::new(options.key.clone()),
                rate: Rate::new(options.requests_per_second),
                clock: Mutex::default(),
                cursor_complained: AtomicBool::new(false),
                first: tokio::sync::Mutex::default(),
                seen: tokio::sync::Mutex::default(),
                options,
            }),
            Purpose::default(),
        ))
    }

    /// A handle whose requests are for `purpose`.
    pub fn asking_for(&self, purpose: Purpose) -> Client {
        Client(self.0.clone(), purpose)
    }

    /// `POST /events`, for `organization` where the key sees several. Returns at the headers; the page is read
    /// with [`Page::next`].
    pub async fn events(&self, organization: Option<&str>, query: &EventQuery) -> Result<Page, Error> {
        let answer = self.ask("events", organization, query.body(), query.asked()).await?;
        let head = self.head(&answer);
        let Options { limits, deadlines, .. } = &self.0.options;
        Ok(Page::new(head, answer.response, *limits, deadlines.body, query.limit, answer.outcome))
    }

    /// `POST /events/count`: how many events the range holds.
    pub async fn count(&self, organization: Option<&str>, query: &EventQuery) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Body {
            count: u64,
        }
        let answer = self.ask("count", organization, query.count_body(), query.asked()).await?;
        let body: Body = self.json(answer, SMALL).await?;
        believable(body.count)
    }

    /// `POST /events/interval`: how many events begin in each unit; units without any may be missing.
    pub async fn interval(&self, organization: Option<&str>, query: &IntervalQuery) -> Result<Vec<Bucket>, Error> {
        #[derive(Deserialize)]
        struct Body {
            buckets: Option<Vec<Entry>>,
        }
        #[derive(Deserialize)]
        struct Entry {
            key: i64,
            doc_count: u64,
        }
        let answer = self.ask("interval", organization, query.body(), Asked::ClosedRange).await?;
        let body: Body = self.json(answer, BUCKETS).await?;
        let bucket =
            |entry: Entry| Ok(Bucket { start: Time::from_millis(entry.key), events: believable(entry.doc_count)? });
        body.buckets.unwrap_or_default().into_iter().map(bucket).collect()
    }

    /// How often another key was found where the first one stood. An answer may be another organization's where this has
    /// changed since that organization was last asked for.
    pub fn key_changes(&self) -> u64 {
        self.0.credential.changes()
    }

    /// Returns when the key's file holds another key than the one refused last, or becomes readable. It looks
    /// every few seconds. Never returns for a key in a variable.
    pub async fn credential_changed(&self) {
        self.0.credential.changed().await;
    }

    /// Held by the one who asks for the API's first `Date`: a thousand streams need no thousand answers.
    pub async fn first(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.first.lock().await
    }

    /// The API's time; none before its first usable `Date`.
    pub fn now(&self) -> Option<Time> {
        self.clock().server.now(clock::uptime(), clock::wall())
    }

    /// A time that has surely passed; see [`ServerClock::surely_passed`].
    pub fn surely_passed(&self) -> Option<Time> {
        self.clock().server.surely_passed(clock::uptime(), clock::wall())
    }

    /// The later of the API's time and our wall clock's; none before the first usable `Date`.
    pub fn latest(&self) -> Option<Time> {
        self.now().map(|now| now.max(clock::wall()))
    }

    /// No answer carries a usable `Date`: until one does, our wall clock counts.
    pub fn do_without_dates(&self) {
        self.clock().server.do_without_dates();
    }

    /// Whether our wall clock stands in for the API's.
    pub fn is_undated(&self) -> bool {
        self.clock().server.is_undated()
    }

    /// How the API's clock came about.
    pub fn clock_samples(&self) -> Samples {
        self.clock().samples
    }

    /// The last `Date` as it came, and our wall clock at its receipt.
    pub fn clocks(&self) -> Option<(Time, Time)> {
        self.clock().last
    }

    /// Drops the API's clock after an [`Error::FutureStart`]: the next `Date` counts only as far as our wall clock.
    pub fn reset_clock(&self) {
        self.clock().server.reset(clock::wall(), clock::uptime());
    }

    /// How much of the account's limit is this process's, over 0 to 1; other replicas have the rest.
    pub fn set_share(&self, share: f64) {
        self.0.rate.set_share(share);
    }

    /// Requests a second that the account may send at this moment: its share of the configured rate, or less after
    /// a 429.
    pub fn rate(&self) -> f64 {
        self.0.rate.current()
    }

    /// The same without what a 429 took of it.
    pub fn configured_rate(&self) -> f64 {
        self.0.rate.configured()
    }

    /// How much of it was used lately, and for what.
    pub fn usage(&self) -> Usage {
        self.0.rate.usage()
    }

    async fn ask(
        &self,
        endpoint: &'static str,
        organization: Option<&str>,
        body: Vec<u8>,
        asked: Asked,
    ) -> Result<Answer, Error> {
        let path = match endpoint {
            "count" => "/insights/directory/v1/events/count",
            "interval" => "/insights/directory/v1/events/interval",
            _ => "/insights/directory/v1/events",
        };
        let url = join(&self.0.base, path);
        self.send(Call { endpoint, url, organization, body: Some(body), asked }).await
    }

    /// One request, and a second one only where the key changed after the first was refused.
    async fn send(&self, call: Call<'_>) -> Result<Answer, Error> {
        let credential = &self.0.credential;
        let key = credential.key().await?;
        let first = self.send_with(&call, &key).await;
        if !matches!(first, Err(Error::Unauthorized { .. })) {
            return first;
        }
        let Some(key) = credential.replacement(&key).await else { return first };
        let second = self.send_with(&call, &key).await;
        if matches!(second, Err(Error::Unauthorized { .. })) {
            credential.refuse(&key);
        }
        second
    }

    async fn send_with(&self, call: &Call<'_>, key: &Key) -> Result<Answer, Error> {
        let request = request(call, key)?;
        self.0.rate.turn(self.1).await;
        let sent = clock::uptime();
        let sent_at = self.now();
        let observer = self.0.options.on_request.clone();
        let outcome = Outcome { observer, endpoint: call.endpoint, label: "dropped" };
        let deadline = self.0.options.deadlines.answer;
        let response = match timeout(deadline, self.0.http.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return outcome.of(Err(self.connect_error(&error, &call.url))),
            Err(_) => return outcome.of(Err(Error::Timeout { phase: Phase::Answer, after: deadline })),
        };
        self.sample(response.headers());
        if response.status() == StatusCode::OK {
            return Ok(Answer { response, sent_at, sent, outcome });
        }
        let refusal = self.refusal(call, key, response).await;
        if let Error::RateLimited { retry_after, .. } = refusal {
            self.0.rate.lower(sent, retry_after);
        }
        outcome.of(Err(refusal))
    }

    /// Reads what the API says of a request that it refused; a body that fails changes nothing of the refusal.
    async fn refusal(&self, call: &Call<'_>, key: &Key, mut response: Response) -> Error {
        let (body, _) = read(&mut response, SMALL, self.0.options.deadlines.body).await;
        let body = key.remove_from(&String::from_utf8_lossy(&body));
        let remedy = self.0.credential.remedy();
        answer::refusal(response.status().as_u16(), response.headers(), &body, call.asked, remedy)
    }

    async fn json<T: for<'de> Deserialize<'de>>(&self, mut answer: Answer, limit: u64) -> Result<T, Error> {
        let (body, end) = read(&mut answer.response, limit, self.0.options.deadlines.body).await;
        let malformed = |error: serde_json::Error| Error::Malformed { why: quote(&error.to_string()) };
        answer.outcome.of(end.and_then(|()| serde_json::from_slice(&body).map_err(malformed)))
    }

    fn head(&self, answer: &Answer) -> Head {
        let (headers, sent) = (answer.response.headers(), answer.sent);
        let first = || self.clock().server.now(sent, clock::wall() - clock::uptime().saturating_sub(sent));
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |name: &str| text(name).and_then(|text| text.parse().ok());
        let cursor = text("x-search_after").filter(|text| !text.is_empty());
        let usable = |text: &&str| serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_ok();
        if cursor.is_some_and(|text| !usable(&text)) && !self.0.cursor_complained.swap(true, Ordering::Relaxed) {
            let cursor = quote(cursor.unwrap_or_default());
            tracing::warn!(account = self.0.options.account, cursor, "the page's cursor is no JSON array and not used");
        }
        Head {
            limit: number("x-limit"),
            count: number("x-result-count"),
            cursor: cursor.filter(usable).map(str::to_owned),
            sent_at: answer.sent_at.or_else(first),
        }
    }

    /// Takes the answer's `Date`, whatever its status.
    fn sample(&self, headers: &HeaderMap) {
        let Some(date) = answer::date(headers) else { return };
        let ours = clock::wall();
        let skewed = date.since(ours).max(ours.since(date)) > SKEW;
        let was_skewed = {
            let mut clock = self.clock();
            clock.last = Some((date, ours));
            match clock.server.sample(date, clock::uptime(), ours) {
                Sample::Taken => clock.samples.taken += 1,
                Sample::Ignored => clock.samples.ignored += 1,
                Sample::Replaced => clock.samples.replaced += 1,
            }
            std::mem::replace(&mut clock.skewed, skewed)
        };
        let account = &self.0.options.account;
        match (was_skewed, skewed) {
            (false, true) => {
                tracing::warn!(account, api = %date, %ours, "the API's clock and ours differ by more than 2 minutes; check this machine's");
            }
            (true, false) => tracing::info!(account, "the API's clock and ours agree again"),
            _ => {}
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect_error(&self, error: &reqwest::Error, url: &Url) -> Error {
        let (host, why) = (host(url), quote(&cause(error)));
        if is_tls(error) {
            Error::Tls { host, why }
        } else if error.is_timeout() {
            Error::Timeout { phase: Phase::Connect, after: self.0.options.deadlines.connect }
        } else {
            Error::Unreachable { host, why }
        }
    }
}

impl EventQuery {
    fn asked(&self) -> Asked {
        if self.end.is_some() { Asked::ClosedRange } else { Asked::OpenRange }
    }
}

fn believable(events: u64) -> Result<u64, Error> {
    if events > MOST_EVENTS {
        return Err(Error::Malformed { why: format!("it counts {events} events") });
    }
    Ok(events)
}

fn request(call: &Call<'_>, key: &Key) -> Result<Request, Error> {
    let method = if call.body.is_some() { reqwest::Method::POST } else { reqwest::Method::GET };
    let mut request = Request::new(method, call.url.clone());
    let headers = request.headers_mut();
    headers.insert(HeaderName::from_static("x-api-key"), key.header());
    if let Some(organization) = call.organization {
        let value = HeaderValue::from_str(organization).map_err(|_| Error::BadRequest {
            status: 400,
            message: format!("not sent, \"{}\" is no organization id", quote(organization)),
        })?;
        headers.insert(HeaderName::from_static("x-org-id"), value);
    }
    if let Some(body) = &call.body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.clone().into());
    }
    Ok(request)
}
