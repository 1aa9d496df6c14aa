//! From the wire to the endpoints and back, and all that goes wrong in between.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::watch;

use super::api::{self, Answer, Asked, set};
use super::control;
use super::fault::Kind;
use super::journal::{self, BODY};
use super::query::Refusal;
use super::random::mix;
use super::time::{self, SECOND};
use super::world::{World, locked};

/// Bodies over this are refused; a bulk insertion of events is the largest there is.
const MAX_BODY: usize = 256 << 20;

/// What every connection shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub world: Arc<World>,
    /// True once the emulator stops: bodies that are being delayed end at once.
    pub stopped: watch::Receiver<bool>,
}

/// Answers one request.
pub(super) async fn serve(State(shared): State<Shared>, request: Request) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return Ok(finish(Answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "request body too large"), None));
    };
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    Ok(if asked.path.starts_with("/_emulator/") {
        steer(&shared.world, asked).await
    } else {
        call(shared, asked).await
    })
}

/// A request to the emulator itself: no key, no faults, not in the journal.
async fn steer(world: &Arc<World>, asked: Asked) -> Response {
    if asked.path == "/_emulator/truth" {
        return match control::truth(world, &asked) {
            Ok(lines) => Response::new(lines),
            Err(Refusal(status, message)) => finish(Answer::refusal(status, &message), None),
        };
    }
    let world = world.clone();
    let answer = tokio::task::spawn_blocking(move || control::answer(&world, &asked)).await;
    finish(answer.unwrap_or_else(|_| broken()), None)
}

/// A request to the API.
async fn call(shared: Shared, asked: Asked) -> Response {
    let settings = shared.world.settings();
    if settings.latency.nanos() > 0 {
        tokio::time::sleep(settings.latency.duration()).await;
    }
    let world = shared.world.clone();
    // A page takes milliseconds to copy together, longer than a thread that serves connections should be held.
    let done = tokio::task::spawn_blocking(move || {
        let now = world.clock.now();
        let fault = locked(&world.faults).draw(&asked.path);
        let mut answer = decide(&world, &asked, fault, now);
        dress(&world, &asked, &mut answer, now);
        locked(&world.journal).note(entry(&asked, &answer, now));
        let accepts = asked.header("accept-encoding").unwrap_or_default();
        let gzip = world.options.gzip && accepts.contains("gzip");
        (answer, fault, gzip)
    });
    let (answer, fault, gzip) = done.await.unwrap_or_else(|_| (broken(), None, false));
    let delivery = fault.filter(|_| answer.status == StatusCode::OK);
    deliver(&shared, answer, delivery, gzip)
}

/// The answer, or what the gateway in front of it says instead.
fn decide(world: &World, asked: &Asked, fault: Option<Kind>, now: i64) -> Answer {
    if let Some(answer) = fault.and_then(|fault| gateway(world, fault, now)) {
        return answer;
    }
    if !world.admits(asked.header("x-api-key").unwrap_or_default()) {
        return too_many(&world.options.retry_after.duration().as_secs().max(1).to_string());
    }
    api::answer(world, asked, now)
}

fn gateway(world: &World, fault: Kind, now: i64) -> Option<Answer> {
    let wait = world.options.retry_after;
    let refusal = |status: StatusCode| Some(Answer::refusal(status, status.canonical_reason().unwrap_or_default()));
    match fault {
        Kind::RateLimitedSeconds => Some(too_many(&wait.duration().as_secs().max(1).to_string())),
        Kind::RateLimitedDate => Some(too_many(&time::http_date(now + wait.nanos().max(SECOND)))),
        Kind::RateLimited => refusal(StatusCode::TOO_MANY_REQUESTS),
        Kind::InternalError => refusal(StatusCode::INTERNAL_SERVER_ERROR),
        Kind::Unavailable => refusal(StatusCode::SERVICE_UNAVAILABLE),
        Kind::GatewayTimeout => refusal(StatusCode::GATEWAY_TIMEOUT),
        Kind::Unauthorized => refusal(StatusCode::UNAUTHORIZED),
        Kind::PaymentRequired => refusal(StatusCode::PAYMENT_REQUIRED),
        Kind::Forbidden => refusal(StatusCode::FORBIDDEN),
        Kind::BadGateway => {
            let page =
                "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n";
            Some(Answer::text(StatusCode::BAD_GATEWAY, "text/html", page.to_owned()))
        }
        Kind::Redirect => {
            let mut answer = Answer::text(StatusCode::FOUND, "text/plain", String::new());
            set(&mut answer.headers, "location", "/redirected");
            Some(answer)
        }
        Kind::CutBody | Kind::SlowBody | Kind::EmptyBody | Kind::WrongCount => None,
    }
}

fn too_many(wait: &str) -> Answer {
    let mut answer = Answer::refusal(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
    set(&mut answer.headers, "retry-after", wait);
    answer
}

fn broken() -> Answer {
    Answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the emulator failed; see its output")
}

/// The headers that every answer has.
fn dress(world: &World, asked: &Asked, answer: &mut Answer, now: i64) {
    let date = now.saturating_add(world.settings().date_offset.nanos());
    set(&mut answer.headers, "date", &time::http_date(date));
    let unique = mix(now as u64 ^ asked.body.len() as u64);
    let (high, low) = (unique >> 32, mix(unique));
    let id = format!(
        "{high:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        low & 0xffff,
        low >> 16 & 0xfff,
        low >> 28 & 0xfff,
        mix(low) >> 16
    );
    set(&mut answer.headers, "x-request-id", &id);
    answer.headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
}

fn entry(asked: &Asked, answer: &Answer, now: i64) -> journal::Request {
    let body = &asked.body[..asked.body.len().min(BODY)];
    journal::Request {
        time: time::format(now),
        method: asked.method.to_string(),
        path: if asked.query.is_empty() { asked.path.clone() } else { format!("{}?{}", asked.path, asked.query) },
        key: asked.header("x-api-key").map(str::to_owned),
        organization: asked.header("x-org-id").map(str::to_owned),
        body: String::from_utf8_lossy(body).into_owned(),
        status: answer.status.as_u16(),
        count: answer.events,
        bytes: answer.page.body.len(),
        cached: answer.cached,
    }
}

/// Sends an answer, with the trouble that strikes on the way.
fn deliver(shared: &Shared, mut answer: Answer, trouble: Option<Kind>, gzip: bool) -> Response {
    if trouble == Some(Kind::WrongCount) {
        set(&mut answer.headers, "x-result-count", &(answer.events.unwrap_or(0) + 1).to_string());
    }
    let body = if gzip {
        set(&mut answer.headers, "content-encoding", "gzip");
        answer.page.gzip()
    } else {
        answer.page.body.clone()
    };
    let length = body.len();
    let body = match trouble {
        Some(Kind::EmptyBody) => Body::empty(),
        // Half of what content-length promises; the server then breaks the connection off. The pause lets it be sent.
        Some(Kind::CutBody) => pieces(shared, vec![body.slice(..length / 2)], Duration::from_millis(20)),
        Some(Kind::SlowBody) => {
            let size = length.div_ceil(16).max(1);
            let slices = (0..length).step_by(size).map(|from| body.slice(from..length.min(from + size))).collect();
            pieces(shared, slices, shared.world.options.slow_body.duration() / 16)
        }
        _ => Body::from(body),
    };
    if matches!(trouble, Some(Kind::CutBody | Kind::SlowBody)) {
        set(&mut answer.headers, "content-length", &length.to_string());
    }
    finish(answer, Some(body))
}

/// A body that comes piece by piece, with a pause behind each; it ends early when the emulator stops.
fn pieces(shared: &Shared, pieces: Vec<Bytes>, pause: Duration) -> Body {
    let begin = (pieces.into_iter(), false, shared.stopped.clone());
    Body::from_stream(futures::stream::unfold(begin, move |(mut pieces, begun, mut stopped)| async move {
        if begun && tokio::time::timeout(pause, stopped.wait_for(|stopped| *stopped)).await.is_ok() {
            return None;
        }
        Some((Ok::<_, Infallible>(pieces.next()?), (pieces, true, stopped)))
    }))
}

fn finish(answer: Answer, body: Option<Body>) -> Response {
    let mut response = Response::new(body.unwrap_or_else(|| Body::from(answer.page.body.clone())));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}
