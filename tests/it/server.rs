//! Probes, metrics and the page over real HTTP: right answers, and no client that keeps others from theirs.

use std::net::SocketAddr;
use std::time::Duration;

use jumpstream::server::{Options, Server};
use jumpstream::telemetry::metrics::Metrics;
use jumpstream::telemetry::status::{Board, State, StreamStatus};
use reqwest::{Client, Method, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

struct Running {
    probes: SocketAddr,
    page: SocketAddr,
    board: Board,
    metrics: Metrics,
    client: Client,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn any_port() -> Options {
    Options { listen: "127.0.0.1:0".into(), page: "127.0.0.1:0".into(), token: None }
}

async fn start(options: Options) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (board, metrics) = (Board::new(), Metrics::new());
    let server = Server::bind(options, metrics.clone(), board.clone()).await.unwrap();
    let (probes, page) = server.addresses().unwrap();
    let (shutdown, told) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async {
        let _ = told.await;
    }));
    let client = Client::builder().no_proxy().build().unwrap();
    Running { probes, page, board, metrics, client, shutdown: Some(shutdown), task }
}

impl Running {
    async fn probe(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.probes)).send().await.unwrap()
    }

    async fn page(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.page)).send().await.unwrap()
    }
}

async fn json(response: Response) -> serde_json::Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format() {
    let server = start(any_port()).await;
    server.metrics.organization("o").read(5);
    let response = server.probe("/metrics").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(text.contains("jumpstream_source_events_total{organization=\"o\"} 5\n"), "{text}");
}

#[tokio::test]
async fn readiness_is_503_only_while_starting_and_degraded_is_200() {
    let server = start(any_port()).await;
    let latch = server.board.hold("opening the store");
    let response = server.probe("/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(response).await, serde_json::json!({"state": "not_ready", "reasons": ["opening the store"]}));
    assert_eq!(server.probe("/livez").await.status(), StatusCode::OK);

    drop(latch);
    let response = server.probe("/readyz").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(json(response).await, serde_json::json!({"state": "ready", "reasons": []}));

    server.board.trouble("kafka", std::sync::Arc::new(|| Some("no broker answers".into())));
    let response = server.probe("/readyz").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(json(response).await, serde_json::json!({"state": "degraded", "reasons": ["kafka: no broker answers"]}));
}

#[tokio::test]
async fn the_status_shows_what_streams_publish() {
    let server = start(any_port()).await;
    let (sender, receiver) = watch::channel(StreamStatus::starting("main", "o1", "all"));
    server.board.stream(receiver);
    sender.send_modify(|stream| {
        stream.state = State::Blocked;
        stream.reason = Some("the sink refuses us".into());
    });
    let status = json(server.page("/status").await).await;
    assert_eq!(status["state"], "degraded");
    assert_eq!(status["streams"][0]["state"], "blocked");
    assert_eq!(status["streams"][0]["organization"], "o1");
    assert_eq!(status["reasons"][0], "o1/all: the sink refuses us");
    let index = server.page("/").await.text().await.unwrap();
    assert!(index.contains("/status"), "{index}");
    let index = server.probe("/").await.text().await.unwrap();
    for path in ["/metrics", "/livez", "/readyz"] {
        assert!(index.contains(path), "{index}");
    }
    // Each address has its own paths: the page may be closed while the probes are open.
    assert_eq!(server.probe("/status").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(server.page("/metrics").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_asks_for_its_token_and_the_probes_do_not() {
    let server = start(Options { token: Some("s3cret".to_owned().into()), ..any_port() }).await;
    for path in ["/status", "/"] {
        let response = server.page(path).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.text().await.unwrap().contains("s3cret"));
    }
    let with = |value: &'static str| {
        let request = server.client.get(format!("http://{}/status", server.page)).header("authorization", value);
        async { request.send().await.unwrap().status() }
    };
    for wrong in ["Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret"] {
        assert_eq!(with(wrong).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert_eq!(with("Bearer s3cret").await, StatusCode::OK);
    assert_eq!(with("bearer s3cret").await, StatusCode::OK);
    assert_eq!(server.probe("/readyz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn only_get_and_head_are_answered_and_every_answer_is_hardened() {
    let server = start(any_port()).await;
    for (url, paths) in [
        (server.probes, &["/", "/metrics", "/livez", "/readyz", "/none"][..]),
        (server.page, &["/", "/status", "/none"]),
    ] {
        for path in paths {
            let ask = |method| server.client.request(method, format!("http://{url}{path}")).send();
            for method in [Method::GET, Method::HEAD, Method::POST] {
                let response = ask(method.clone()).await.unwrap();
                assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{method} {path}");
                assert_eq!(response.headers()["cache-control"], "no-store", "{method} {path}");
                let expected = match (*path, method) {
                    ("/none", _) => StatusCode::NOT_FOUND,
                    (_, Method::POST) => StatusCode::METHOD_NOT_ALLOWED,
                    _ => StatusCode::OK,
                };
                assert_eq!(response.status(), expected, "{path}");
            }
            for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
                assert!(ask(method).await.unwrap().status().is_client_error(), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_taken_address_is_refused_with_the_key_and_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = |options| async {
        match Server::bind(options, Metrics::new(), Board::new()).await {
            Ok(_) => panic!("bound"),
            Err(error) => error.to_string(),
        }
    };
    let said = refusal(Options { listen: address.clone(), ..any_port() }).await;
    assert!(said.contains(&address) && said.contains("give server.listen another port"), "{said}");
    let said = refusal(Options { page: address.clone(), ..any_port() }).await;
    assert!(said.contains(&address) && said.contains("give page.listen another port"), "{said}");
    let said = refusal(Options { page: "nonsense".into(), ..any_port() }).await;
    assert!(said.contains("page.listen takes a host and a port"), "{said}");
}

#[tokio::test]
async fn clients_that_hold_every_connection_do_not_keep_a_probe_from_its_answer() {
    let server = start(any_port()).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.probes).await.unwrap();
        // A request without its end.
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        held.push(stream);
    }
    let answer = within(10, "a probe is answered", server.probe("/livez")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    // The oldest had to go.
    let mut rest = Vec::new();
    let oldest = within(10, "the oldest is cut", held[0].read_to_end(&mut rest)).await;
    assert!(oldest.is_err() || rest.is_empty(), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_cut() {
    let server = start(any_port()).await;
    let began = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(server.probes).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    // Time is paused: it moves on to the deadline because nothing else is left to do.
    let _ = tokio::time::timeout(Duration::from_secs(300), stream.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
    let held = began.elapsed();
    assert!((Duration::from_secs(60)..Duration::from_secs(120)).contains(&held), "{held:?}");
}

#[tokio::test]
async fn a_told_server_frees_its_addresses_though_a_client_lingers() {
    let mut server = start(any_port()).await;
    assert_eq!(server.probe("/livez").await.status(), StatusCode::OK);
    let mut lingering = TcpStream::connect(server.page).await.unwrap();
    lingering.write_all(b"GET /sta").await.unwrap();
    drop(server.shutdown.take());
    within(10, "the server ends", server.task).await.unwrap();
    std::net::TcpListener::bind(server.page).unwrap();
    assert!(TcpStream::connect(server.probes).await.is_err());
}

#[tokio::test]
async fn a_foreign_name_gets_nothing_where_only_this_machine_may_ask() {
    let server = start(any_port()).await;
    let asked = async |address: SocketAddr, path: &str, host: &str| {
        let request = server.client.get(format!("http://{address}{path}")).header("host", host);
        request.send().await.unwrap().status().as_u16()
    };
    for (address, path) in [(server.page, "/status"), (server.page, "/"), (server.probes, "/metrics")] {
        for own in ["127.0.0.1", "127.0.0.1:9465", "localhost:1", "LOCALHOST", "[::1]:9465", "10.1.2.3:9464", "::1"] {
            assert_eq!(asked(address, path, own).await, 200, "{path} as {own}");
        }
        for foreign in ["evil.example", "evil.example:9465", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
            assert_eq!(asked(address, path, foreign).await, 421, "{path} as {foreign}");
        }
    }
    // A token keeps strangers out by itself, and beyond loopback nobody knows what we are called.
    let token = Some("secret".to_owned().into());
    let open = start(Options { listen: "0.0.0.0:0".into(), token, ..any_port() }).await;
    let request = open.client.get(format!("http://127.0.0.1:{}/metrics", open.probes.port()));
    assert_eq!(request.header("host", "jumpstream.monitoring.svc:9464").send().await.unwrap().status(), 200);
    let request = open.client.get(format!("http://{}/status", open.page)).bearer_auth("secret");
    assert_eq!(request.header("host", "status.example").send().await.unwrap().status(), 200);
}
