//! The emulator shown over HTTP, as its users see it: what it answers, what it holds, how it fails.

mod answers;
mod control;
mod dataset;
mod faults;
mod reference;
mod refusals;

use jumpstream::emulator::{self, Emulator, Options};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// All clocks start here, so that no test depends on the day it runs on.
const NOW: &str = "2026-03-02T12:00:00Z";

/// An emulator, and a client that follows no redirects and reads no proxy settings.
struct Api {
    emulator: Emulator,
    client: Client,
}

fn options() -> Options {
    Options { clock: Some(NOW.parse().unwrap()), ..Options::default() }
}

async fn api(options: Options) -> Api {
    // A second installation is refused, and nothing is lost by that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().no_gzip().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Api { emulator: emulator::start(options).await.unwrap(), client }
}

impl Api {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.emulator.url())).header("x-api-key", "jca_emulator")
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let path = format!("/insights/directory/v1{path}");
        self.request(Method::POST, &path).body(body.to_string()).send().await.unwrap()
    }

    async fn control(&self, path: &str, body: impl ToString) -> Value {
        let path = format!("/_emulator/{path}");
        let response = self.request(Method::POST, &path).body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        json_of(response).await
    }

    async fn look(&self, path: &str) -> String {
        let response = self.request(Method::GET, &format!("/_emulator/{path}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// The events of one page.
    async fn page(&self, body: Value) -> Vec<Value> {
        let response = self.post("/events", body).await;
        assert_eq!(response.status(), 200);
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    async fn count(&self, body: Value) -> u64 {
        json_of(self.post("/events/count", body).await).await["count"].as_u64().unwrap()
    }

    /// Pages through a query as its answers ask for, to the first page that isn't full. Gives the events' texts.
    async fn read(&self, mut body: Value, organization: Option<&str>) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let mut request = self.request(Method::POST, "/insights/directory/v1/events").body(body.to_string());
            if let Some(organization) = organization {
                request = request.header("x-org-id", organization);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200, "{body}");
            let number = |name: &str| header(&response, name).unwrap().parse::<usize>().unwrap();
            let (count, limit) = (number("x-result-count"), number("x-limit"));
            let cursor = header(&response, "x-search_after");
            let page: Vec<Box<serde_json::value::RawValue>> =
                serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            assert_eq!(page.len(), count);
            events.extend(page.iter().map(|event| event.get().to_owned()));
            if count < limit {
                return events;
            }
            let cursor: Value = serde_json::from_str(&cursor.unwrap()).unwrap();
            assert_ne!(body["search_after"], cursor, "the reading goes round in circles");
            body["search_after"] = cursor;
        }
    }
}

/// All events since long before the span.
fn everything() -> Value {
    json!({ "service": ["all"], "start_time": "2026-02-01T00:00:00Z" })
}

/// `body` with more members.
fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// An instant that stands in an answer.
fn instant(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().unwrap().to_owned())
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
