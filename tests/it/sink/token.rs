//! SASL OAUTHBEARER: tokens are bought at an endpoint of the test's own, and a real broker takes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jumpstream::clock;
use jumpstream::record::Key;
use jumpstream::sink::Sink as _;
use jumpstream::sink::kafka::{
    Grant, KafkaSink, OAuth, Outcome, Outgoing, Password, Sasl, Settings, Topics, Transactions, inspect,
};

use super::{DEADLINE, eventually, records};
use crate::kafka::{Kafka, Listener, unique};

pub const SECRET: &str = "s3cret/with+odd=signs";

/// What the endpoint was asked: the header that names the client, and the form.
pub type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Gives tokens that are good for `lifetime` to those who know [`SECRET`].
pub async fn endpoint(lifetime: Duration) -> (String, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let answer = move |headers: HeaderMap, form: String| async move {
        let client = headers["authorization"].to_str().unwrap().to_owned();
        seen.lock().unwrap().push((client.clone(), form));
        // RFC 6749 §2.3.1: each is encoded as in a form, then both are joined.
        let known = base64(b"jump%3Astream:s3cret%2Fwith%2Bodd%3Dsigns", b"+/", true);
        if client != format!("Basic {known}") {
            return (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#.to_owned());
        }
        let token = unsigned(lifetime);
        let seconds = lifetime.as_secs();
        (
            StatusCode::OK,
            format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds},"scope":"kafka"}}"#),
        )
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/oauth2/token", listener.local_addr().unwrap());
    let router = Router::new().route("/oauth2/token", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

/// A token that says who we are, and that nobody vouches for.
fn unsigned(lifetime: Duration) -> String {
    let now = clock::wall().as_secs();
    let claims = format!(r#"{{"sub":"jumpstream","iat":{},"exp":{}}}"#, now - 1, now + lifetime.as_secs() as i64);
    let part = |text: &str| base64(text.as_bytes(), b"-_", false);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims))
}

fn base64(bytes: &[u8], last: &[u8; 2], pad: bool) -> String {
    let letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last).collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain(&[0; 2]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let digits = (0..4).map(|digit| char::from(letters[bits >> (18 - 6 * digit) & 63]));
        text.extend(digits.take(three.len() + 1));
        text.extend(std::iter::repeat_n('=', if pad { 3 - three.len() } else { 0 }));
    }
    text
}

fn settings(kafka: &Kafka, topic: &str, endpoint: &str, client_secret: Password) -> Settings {
    let grant = Grant {
        token_endpoint: endpoint.to_owned(),
        client_id: "jump:stream".into(),
        client_secret,
        scope: Some("kafka write".into()),
        ca: None,
    };
    Settings {
        brokers: vec![kafka.bootstrap_of(Listener::Sasl)],
        topic: topic.into(),
        key: Key::Actor,
        tls: None,
        sasl: Some(Sasl::Token(OAuth::new(grant))),
        properties: BTreeMap::new(),
        ledger: None,
        max_record_bytes: 16 << 20,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_door_to_both_kinds_of_producer_and_is_shared() {
    let Some(kafka) = Kafka::shared("OAUTHBEARER").await else { return };
    let topic = unique("token");
    kafka.create_topic(&topic, 2, &[]).await;
    let (url, asked) = endpoint(Duration::from_secs(3_600)).await;
    let settings = settings(kafka, &topic, &url, Password::Text(SECRET.to_owned().into()));
    assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    let there = inspect(&settings, Duration::from_secs(10)).await;
    assert_eq!(there.brokers, Ok(1));
    let sink = KafkaSink::new(settings.clone()).unwrap();
    let records = records(0..200);
    assert_eq!(tokio::time::timeout(DEADLINE, sink.deliver(&records)).await.unwrap().unwrap(), []);
    let owner = Transactions::new(Topics::new(settings), unique("token"), vec![topic.clone()]).unwrap();
    owner.open(DEADLINE).await.unwrap();
    let message = |_| Outgoing::to(topic.as_str(), None, Some(b"in a transaction"));
    assert_eq!(owner.commit(1, message).await, Ok(Outcome::Committed));
    assert_eq!(kafka.read_all(&topic).await.len(), 201);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "each client bought one of its own");
    assert_eq!(asked[0].1, "grant_type=client_credentials&scope=kafka+write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_is_told_and_heals_when_its_file_changes() {
    let Some(kafka) = Kafka::shared("a refused client secret").await else { return };
    let topic = unique("token");
    kafka.create_topic(&topic, 1, &[]).await;
    let (url, _) = endpoint(Duration::from_secs(3_600)).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let settings = settings(kafka, &topic, &url, Password::File(secret.path().into()));
    let sink = Arc::new(KafkaSink::new(settings).unwrap());
    let delivery = tokio::spawn({
        let sink = sink.clone();
        async move { sink.deliver(&records(0..10)).await }
    });
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("no token for") && trouble.contains("invalid_client"), "{trouble}");
    assert!(!trouble.contains("hunter2"), "{trouble}");
    std::fs::write(secret.path(), format!("{SECRET}\n")).unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, delivery).await.unwrap().unwrap().unwrap(), []);
    assert_eq!(sink.trouble(), None);
    assert_eq!(kafka.read_all(&topic).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_replaced_before_it_ends() {
    let Some(kafka) = Kafka::shared("a short-lived token").await else { return };
    let topic = unique("token");
    kafka.create_topic(&topic, 1, &[]).await;
    let (url, asked) = endpoint(Duration::from_secs(5)).await;
    let sink = KafkaSink::new(settings(kafka, &topic, &url, Password::Text(SECRET.to_owned().into()))).unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, sink.deliver(&records(0..10))).await.unwrap().unwrap(), []);
    eventually("three tokens", || (asked.lock().unwrap().len() >= 3).then_some(())).await;
    assert_eq!(tokio::time::timeout(DEADLINE, sink.deliver(&records(10..20))).await.unwrap().unwrap(), []);
    assert_eq!(kafka.read_all(&topic).await.len(), 20);
}
