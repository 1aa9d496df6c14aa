//! HTTP for those who watch: metrics and probes on one address, the status on another.
//!
//! # Invariants
//! Answers GET and HEAD only, changes nothing, and holds no credential but the page's token. No client, however slow,
//! keeps another from being answered: see `server/connection.rs`. `/livez` asks nothing of any part.

mod connection;
mod host;
mod token;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{Board, Readiness};
use connection::Connections;
use token::Token;

/// How long answers under way may take once the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where to listen: `server` and `page` of the configuration.
#[derive(Debug)]
pub struct Options {
    /// `server.listen`: `/metrics`, `/livez`, `/readyz`. Host and port; port 0 takes any.
    pub listen: String,
    /// `page.listen`: `/` and `/status`.
    pub page: String,
    /// `page.token`: asked for as `Authorization: Bearer …`.
    pub token: Option<SecretString>,
}

/// An address can't be had.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} for {key}: {source}; {remedy}")]
pub struct Error {
    address: String,
    /// The configuration's key.
    key: &'static str,
    source: std::io::Error,
    remedy: String,
}

/// Both listeners, bound.
pub struct Server {
    listen: TcpListener,
    page: TcpListener,
    probes: Router,
    pages: Router,
}

impl Server {
    /// Takes both addresses. Dropping the future takes none.
    pub async fn bind(options: Options, metrics: Metrics, board: Board) -> Result<Server, Error> {
        let token = options.token.map(Token::new);
        let listen = bind(options.listen, "server.listen").await?;
        let page = bind(options.page, "page.listen").await?;
        // Beyond loopback Prometheus asks by names that only its operator knows.
        let is_local = |listener: &TcpListener| listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let probes = guard(probes(metrics, board.clone()), is_local(&listen));
        let pages = guard(pages(board, token.clone()), is_local(&page) && token.is_none());
        Ok(Server { listen, page, probes, pages })
    }

    /// The addresses of `server.listen` and `page.listen`, with the ports they got.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.listen.local_addr()?, self.page.local_addr()?))
    }

    /// Serves until `shutdown` is ready, then gives the answers under way 2 s.
    ///
    /// Dropping the future frees the addresses; connections end on their own deadlines.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let stop_of = |mut stopped: watch::Receiver<()>| async move {
            // Only ever ends by the sender's drop.
            while stopped.changed().await.is_ok() {}
        };
        let serve = |listener, router: Router| {
            let signal = stop_of(stopped.clone());
            axum::serve(Connections::new(listener), router).with_graceful_shutdown(signal).into_future()
        };
        let both = async { tokio::join!(serve(self.listen, self.probes), serve(self.page, self.pages)) };
        let stopping = async {
            shutdown.await;
            drop(stop);
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            _ = both => {}
            () = stopping => {}
        }
    }
}

async fn bind(address: String, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(&address).await.map_err(|source| Error::new(address, key, source))
}

impl Error {
    /// Why `address` can't be had for the configuration's `key`, and what to do.
    pub fn new(address: String, key: &'static str, source: std::io::Error) -> Error {
        let remedy = match source.kind() {
            std::io::ErrorKind::AddrInUse => format!("stop the process that has it, or give {key} another port"),
            std::io::ErrorKind::PermissionDenied => format!("give {key} a port from 1024 on"),
            std::io::ErrorKind::AddrNotAvailable => {
                format!("give {key} an address of this machine, or 0.0.0.0 for all of them")
            }
            _ => format!("{key} takes a host and a port, as in 127.0.0.1:9464"),
        };
        Error { address, key, source, remedy }
    }
}

const PROBES: &str = "jumpstream\n\n\
    /metrics  for Prometheus\n\
    /livez    200 for as long as the process turns\n\
    /readyz   200, or 503 while it starts; as JSON, what it waits for\n";

/// What Prometheus and the kubelet ask.
fn probes(metrics: Metrics, board: Board) -> Router {
    let exposition = |State(metrics): State<Metrics>| async move {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
    };
    Router::new()
        .route("/", get(async || PROBES))
        .route("/metrics", get(exposition))
        .with_state(metrics)
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async |State(board): State<Board>| ready(&board)))
        .with_state(board)
}

/// What a person or `jumpstream status` asks.
fn pages(board: Board, token: Option<Token>) -> Router {
    let router = Router::new()
        .route("/", get(async || "jumpstream\n\n/status  what every stream is doing, as JSON\n"))
        .route("/status", get(async |State(board): State<Board>| json(&board.status())))
        .with_state(board);
    match token {
        Some(token) => router.layer(middleware::from_fn_with_state(token, token::admit)),
        None => router,
    }
}

/// Where only this machine may ask, it must ask by a name that is ours.
fn guard(router: Router, is_local: bool) -> Router {
    let router = if is_local { router.layer(middleware::from_fn(host::admit)) } else { router };
    router.layer(middleware::map_response(harden))
}

fn ready(board: &Board) -> Response {
    let readiness = board.readiness();
    let code = match readiness {
        Readiness::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
        Readiness::Ready | Readiness::Degraded(_) => StatusCode::OK,
    };
    (code, json(&json!({"state": readiness.as_str(), "reasons": readiness.reasons()}))).into_response()
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("writing JSON: {error}\n")).into_response(),
    }
}

/// Nothing here is to be kept, framed or taken for another type.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
