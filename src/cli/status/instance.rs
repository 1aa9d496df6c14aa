//! What a running instance says at `/status`: asked by whoever wants more than the state holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::redirect::Policy;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config;
use crate::quote::quote;
use crate::telemetry::status::{Status, VERSION};

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Where an instance shows its status.
pub(super) struct Page {
    pub url: String,
    token: Option<SecretString>,
}

impl Page {
    /// Where the configuration says; none where it leaves the port open.
    pub fn of(page: &config::Page) -> Option<Page> {
        let listen = page.listen;
        // Everywhere is here too.
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let url = format!("http://{}", SocketAddr::new(ip, listen.port()));
        (listen.port() != 0).then(|| Page::at(&url, Some(page)))
    }

    /// `page` has the token, where there is one.
    pub fn at(url: &str, page: Option<&config::Page>) -> Page {
        let url = url.trim_end_matches('/').trim_end_matches("/status").to_owned();
        // A token that can't be read is missed by the instance, which says so.
        let token = page.and_then(|page| page.token.as_ref()?.read().ok());
        Page { url, token }
    }

    /// Why there is no answer is half a sentence.
    pub async fn ask(&self) -> Result<Status, String> {
        // An error means that there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder().no_proxy().http1_only().redirect(Policy::none()).timeout(ANSWER);
        if !self.url.starts_with("https:") {
            // A machine may have no roots of trust, and needs none for this.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| cause(&error))?;
        let mut request = client.get(format!("{}/status", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let answer = request.send().await.map_err(|error| cause(&error))?;
        match answer.status().as_u16() {
            200 => {}
            401 => return Err("it asks for a token: the one of page.token, in the configuration".to_owned()),
            status => return Err(format!("it answers with {status}; is it jumpstream's page.listen?")),
        }
        let body = answer.bytes().await.map_err(|error| cause(&error))?;
        read(&body)
    }
}

fn read(body: &[u8]) -> Result<Status, String> {
    let value: serde_json::Value = serde_json::from_slice(body)
        .map_err(|_| "its answer is no JSON; is it jumpstream's page.listen?".to_owned())?;
    match value["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(format!("its status has version {version}, and this release reads {VERSION}")),
        None => return Err("its answer is no status; is it jumpstream's page.listen?".to_owned()),
    }
    serde_json::from_value(value).map_err(|error| format!("its status can't be read: {}", quote(&error.to_string())))
}

/// The innermost error says it best.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    quote(&innermost.to_string())
}
