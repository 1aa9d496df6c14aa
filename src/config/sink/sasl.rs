//! `sasl` of a Kafka sink: a password or a token.

use std::path::PathBuf;

use reqwest::Url;

use super::super::account::is_loopback;
use super::super::key::{Choice, Key, Kind, Presence};
use super::super::read::Section;
use super::super::secret::Secret;
use super::super::value::shown;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "mechanism",
        Kind::Choice(&[
            Choice::new("PLAIN"),
            Choice::new("SCRAM-SHA-256"),
            Choice::new("SCRAM-SHA-512"),
            Choice::new("OAUTHBEARER"),
            Choice::not_yet(
                "GSSAPI",
                "use another mechanism, or a client certificate (`tls: {certificate: …, key: …}`)",
            ),
        ]),
        Presence::Required,
        "How we prove who we are: by a password, or with `OAUTHBEARER` by a token that `token_endpoint` gives for \
         `client_id` and `client_secret` (the client credentials of OAuth 2.0).",
        "SCRAM-SHA-512",
    ),
    Key::new("username", Kind::Text, OF_A_PASSWORD, "Who we are.", "jumpstream"),
    Key::new(
        "password",
        Kind::Secret,
        OF_A_PASSWORD,
        "Where the password is kept.",
        "{file: /run/secrets/kafka/password}",
    ),
    Key::new(
        "token_endpoint",
        Kind::Url,
        OF_A_TOKEN,
        "Where tokens are given: https, or http to loopback.",
        "https://login.example.com/oauth2/token",
    ),
    Key::new("client_id", Kind::Text, OF_A_TOKEN, "Who asks for tokens.", "jumpstream"),
    Key::new(
        "client_secret",
        Kind::Secret,
        OF_A_TOKEN,
        "Where its secret is kept; read for every token.",
        "{file: /run/secrets/kafka/client-secret}",
    ),
    Key::new(
        "scope",
        Kind::Text,
        Presence::Optional("none"),
        "What the token is asked for, with `OAUTHBEARER`.",
        "kafka",
    ),
    Key::new(
        "ca",
        Kind::Input,
        Presence::Optional("the system's roots"),
        "The authorities that the endpoint's certificate is verified against, PEM; with `OAUTHBEARER`.",
        "/etc/ca.pem",
    ),
];

const OF_A_PASSWORD: Presence = Presence::Optional("must be written, except with `OAUTHBEARER`");
const OF_A_TOKEN: Presence = Presence::Optional("must be written with `OAUTHBEARER`");

const PASSWORD: &[&str] = &["username", "password"];
const TOKEN: &[&str] = &["token_endpoint", "client_id", "client_secret"];
const TOKEN_TOO: &[&str] = &["scope", "ca"];

/// How we authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    Password {
        mechanism: Mechanism,
        username: String,
        password: Secret,
    },
    /// OAUTHBEARER.
    Token {
        endpoint: String,
        client_id: String,
        client_secret: Secret,
        scope: Option<String>,
        /// None is the system's roots.
        ca: Option<PathBuf>,
    },
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Sasl {
    pub(super) fn section(section: &Section) -> Option<Sasl> {
        match section.choice("mechanism")? {
            "OAUTHBEARER" => Self::token(section),
            name => Self::password(section, name),
        }
    }

    fn password(section: &Section, name: &str) -> Option<Sasl> {
        let fits = fits(section, name, PASSWORD, &[TOKEN, TOKEN_TOO].concat());
        let written = |name: &str| section.node(name).is_some();
        let username = written("username").then(|| section.text("username"));
        let password = written("password").then(|| Secret::section(section, "password"));
        let mechanism = match name {
            "SCRAM-SHA-256" => Mechanism::ScramSha256,
            "SCRAM-SHA-512" => Mechanism::ScramSha512,
            _ => Mechanism::Plain,
        };
        let (username, password) = (username??, password??);
        fits.then_some(Sasl::Password { mechanism, username, password })
    }

    fn token(section: &Section) -> Option<Sasl> {
        let fits = fits(section, "OAUTHBEARER", TOKEN, PASSWORD);
        let written = |name: &str| section.node(name).is_some();
        let endpoint = written("token_endpoint").then(|| endpoint(section));
        let client_id = written("client_id").then(|| section.text("client_id"));
        let client_secret = written("client_secret").then(|| Secret::section(section, "client_secret"));
        let scope = written("scope").then(|| section.text("scope"));
        let ca = written("ca").then(|| section.input("ca"));
        let sasl = Sasl::Token {
            endpoint: endpoint??,
            client_id: client_id??,
            client_secret: client_secret??,
            scope: scope.map_or(Some(None), |scope| scope.map(Some))?,
            ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
        };
        fits.then_some(sasl)
    }
}

/// Whether the keys are those of the mechanism; says which are not, and which are missing.
fn fits(section: &Section, mechanism: &str, wanted: &[&str], foreign: &[&str]) -> bool {
    let written = |name: &&&str| section.node(name).is_some();
    let missing: Vec<_> = wanted.iter().filter(|name| !written(name)).collect();
    let surplus: Vec<_> = foreign.iter().filter(written).collect();
    for name in &missing {
        let example = KEYS.iter().find(|key| key.name == **name).map_or("…", |key| key.example);
        section.fault(
            name,
            format!("missing, which {mechanism} wants"),
            format!("write `{name}: {example}`, for example"),
        );
    }
    for name in &surplus {
        section.fault(name, format!("{mechanism} has no `{name}`"), "delete it, or choose another `mechanism`");
    }
    missing.is_empty() && surplus.is_empty()
}

/// A URL that never sends the secret in clear text, and holds none itself.
fn endpoint(section: &Section) -> Option<String> {
    let item = section.item("token_endpoint")?;
    let remedy = "write it as in `token_endpoint: https://login.example.com/oauth2/token`";
    let refuse = |problem: &str, remedy: &str| {
        section.reader.refuse(&item, problem, remedy);
        None
    };
    if item.text.contains('@') {
        return refuse("a name or password in a URL (not shown)", "delete it; use `client_id` and `client_secret`");
    }
    let url = Url::parse(item.text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    match url {
        None => refuse(&format!("expected an https URL, found {}", shown(item.text)), remedy),
        Some(url) if url.scheme() == "http" && !is_loopback(&url) => {
            refuse("http beyond loopback: the secret would cross the network unencrypted", "use https")
        }
        Some(url) => Some(url.into()),
    }
}

/// What is proven in clear text can be read on the way, but for a broker on this machine.
pub(super) fn warn_of_plaintext(section: &Section, brokers: &[String]) {
    let local =
        |broker: &String| broker.starts_with("localhost:") || broker.starts_with("127.") || broker.starts_with("[::1]");
    if !brokers.iter().all(local) {
        let place = section.node("sasl").map_or(&section.place, |node| &node.place).clone();
        let problem = "the password, its proof or the token crosses the network unencrypted, for want of `tls`";
        section.reader.warn(place, &section.join("sasl"), problem, "write `tls: {}`, or `tls: {ca: …}`");
    }
}
