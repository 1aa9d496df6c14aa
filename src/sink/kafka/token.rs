//! Tokens for SASL OAUTHBEARER (RFC 7628), bought with client credentials (RFC 6749 §4.4).
//!
//! # Invariants
//! Neither the secret nor a token is in a log, an error or `Debug`. The secret's file is read for every token.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{fmt, fs};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::Password;
use crate::clock;
use crate::sink::trouble::quote;

/// How long the endpoint may take, all in all. The client whose token it is serves no acknowledgement meanwhile.
const WITHIN: Duration = Duration::from_secs(10);
/// No answer of an endpoint is larger.
const MOST_BYTES: usize = 256 * 1024;
/// What a token without `expires_in` is taken for.
const LIFETIME: Duration = Duration::from_secs(300);

/// Where tokens come from. Its clones share them: a producer and those who only look need one each.
#[derive(Clone)]
pub struct OAuth(Arc<Inner>);

struct Inner {
    grant: Grant,
    kept: Mutex<Option<Kept>>,
}

/// What gives a client its tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    oauth: OAuth,
    runtime: Handle,
}

/// The context of a client that only asks: it has its tokens, where it wants any.
#[derive(Debug)]
pub struct Asking(pub(super) Option<Tokens>);

/// Who we are, to whom.
#[derive(Debug, Clone)]
pub struct Grant {
    /// An https URL, or http to loopback.
    pub token_endpoint: String,
    pub client_id: String,
    pub client_secret: Password,
    pub scope: Option<String>,
    /// The endpoint's authorities, PEM; none stands for the system's roots.
    pub ca: Option<PathBuf>,
}

#[derive(Clone)]
struct Kept {
    token: SecretString,
    /// When it was bought, in uptime.
    since: Duration,
    /// For so long it was good then.
    lifetime: Duration,
    /// Milliseconds since 1970.
    until: i64,
}

/// RFC 6749 §5.1 and §5.2.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<f64>,
    error: Option<String>,
}

impl OAuth {
    pub fn new(grant: Grant) -> OAuth {
        OAuth(Arc::new(Inner { grant, kept: Mutex::default() }))
    }

    fn token(&self, runtime: &Handle) -> Result<OAuthToken, String> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fresh = kept.filter(|kept| clock::uptime().saturating_sub(kept.since) < kept.lifetime / 2);
        let Kept { token, until, .. } = fresh.map_or_else(|| self.buy(runtime), Ok)?;
        Ok(OAuthToken {
            token: token.expose_secret().to_owned(),
            // The brokers take the principal from the token; librdkafka only wants a name.
            principal_name: self.0.grant.client_id.clone(),
            lifetime_ms: until,
        })
    }

    fn buy(&self, runtime: &Handle) -> Result<Kept, String> {
        let (bought, wait) = mpsc::channel();
        let inner = self.0.clone();
        // Not blocked on: this may be a thread of the runtime's own.
        runtime.spawn(async move {
            let host = inner.grant.host();
            let result = tokio::time::timeout(WITHIN, inner.grant.buy()).await;
            let result = result.unwrap_or_else(|_| Err(format!("no answer within {WITHIN:?}")));
            // Nobody waits any more: the client is gone.
            let _ = bought.send(result.map_err(|fault| format!("the token endpoint {host}: {fault}")));
        });
        let kept = wait.recv_timeout(2 * WITHIN).unwrap_or_else(|_| Err("the process ends".into()))?;
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
        Ok(kept)
    }
}

impl Tokens {
    /// None outside a runtime, on which tokens are bought.
    pub(super) fn of(oauth: &OAuth) -> Option<Tokens> {
        Some(Tokens { oauth: oauth.clone(), runtime: Handle::try_current().ok()? })
    }

    /// A token with at least half of its life before it. Blocks while one is bought; an error is a sentence.
    ///
    /// For a thread of the client, which asks again: at 80 % of the token's life, and 10 s after an error.
    pub fn next(&self) -> Result<OAuthToken, String> {
        self.oauth.token(&self.runtime)
    }
}

impl ClientContext for Asking {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{}", quote(text));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{}", quote(reason));
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.0.as_ref().ok_or("no runtime to buy a token on")?.next()?)
    }
}

impl ConsumerContext for Asking {}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.grant.fmt(f)
    }
}

impl Grant {
    fn host(&self) -> String {
        Url::parse(&self.token_endpoint).ok().and_then(|url| Some(quote(url.host_str()?))).unwrap_or_default()
    }

    async fn buy(&self) -> Result<Kept, String> {
        let url = Url::parse(&self.token_endpoint).map_err(|fault| fault.to_string())?;
        let secret = self.client_secret.read()?;
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let (since, now) = (clock::uptime(), clock::wall());
        let response = self
            .client(&url)?
            .post(url)
            // Encoded before they are joined: RFC 6749 §2.3.1.
            .basic_auth(encode(&[("", &self.client_id)])?, Some(encode(&[("", secret.expose_secret())])?))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(encode(&form)?)
            .send()
            .await
            .map_err(|fault| quote(&cause(&fault)))?;
        let status = response.status();
        let answer: Option<Answer> = serde_json::from_slice(&body(response).await?).ok();
        match answer {
            Some(Answer { access_token: Some(token), expires_in, .. }) if status.is_success() => {
                let lifetime = expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                let lifetime = lifetime.unwrap_or(LIFETIME).clamp(Duration::from_secs(1), Duration::from_secs(86_400));
                let token = token.into();
                Ok(Kept { token, since, lifetime, until: now.as_millis() + lifetime.as_millis() as i64 })
            }
            Some(Answer { error: Some(error), .. }) => Err(format!("{status}, {}", quote(&error))),
            _ if status.is_success() => Err("an answer without an access_token".into()),
            _ => Err(status.to_string()),
        }
    }

    fn client(&self, url: &Url) -> Result<Client, String> {
        // An error means that the process has a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("jumpstream/", env!("CARGO_PKG_VERSION")))
            // The secret would go with them.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &self.ca {
            let pem = fs::read(ca).map_err(|fault| format!("reading {}: {fault}", ca.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|fault| quote(&cause(&fault)))?;
            builder = builder.tls_certs_only(authorities);
        } else if url.scheme() == "http" {
            // To loopback: no root is needed, and a machine may have none, which would be refused.
            builder = builder.tls_certs_only([]).no_proxy();
        }
        builder.build().map_err(|fault| quote(&cause(&fault)))
    }
}

/// `application/x-www-form-urlencoded`; a pair without a name is its value alone.
fn encode(pairs: &[(&str, &str)]) -> Result<String, String> {
    let url = Url::parse_with_params("http://form", pairs).map_err(|fault| fault.to_string())?;
    let text = url.query().unwrap_or_default();
    Ok(text.strip_prefix('=').unwrap_or(text).to_owned())
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|fault| quote(&cause(&fault)))? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err("an answer of more than 256 KiB".into());
        }
    }
    Ok(body)
}

/// The innermost error: the outer ones only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
