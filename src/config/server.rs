//! Where we can be asked how we are: `server` for machines, `page` for people.

use std::net::SocketAddr;

use super::key::{Key, Kind, Presence};
use super::read::Section;
use super::secret::Secret;

pub(super) const SERVER: &[Key] = &[Key::new(
    "listen",
    Kind::Address,
    Presence::Default("127.0.0.1:9464"),
    "Serves `/metrics`, `/livez` and `/readyz`.",
    "0.0.0.0:9464",
)];

pub(super) const PAGE: &[Key] = &[
    Key::new(
        "listen",
        Kind::Address,
        Presence::Default("127.0.0.1:9465"),
        "Serves the status page, `/` and `/status`. Beyond loopback only with `token`.",
        "0.0.0.0:9465",
    ),
    Key::new(
        "token",
        Kind::Secret,
        Presence::Optional("none; then only loopback"),
        "Where the token is kept that a reader of the page must bring.",
        "{file: /run/secrets/jumpstream/token}",
    ),
];

/// For machines: metrics and probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
}

/// For people: the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub listen: SocketAddr,
    /// Always there where `listen` is not loopback.
    pub token: Option<Secret>,
}

impl Server {
    pub(super) fn section(section: &Section) -> Option<Server> {
        Some(Server { listen: section.address("listen")? })
    }
}

impl Page {
    /// `server` is none where it is faulty itself.
    pub(super) fn section(section: &Section, server: Option<&Server>) -> Option<Page> {
        let listen = section.address("listen");
        let token = section.node("token").map(|_| Secret::section(section, "token"));
        if listen.is_some_and(|listen| !listen.ip().is_loopback()) && token.is_none() {
            let problem = "the page would be open to anyone on the network";
            let remedy = "write `token: {file: …}` beside it, or listen on 127.0.0.1";
            section.fault("listen", problem, remedy);
            return None;
        }
        let listen = listen?;
        if server.is_some_and(|server| server.listen == listen && listen.port() != 0) {
            section.fault("listen", format!("`server` listens on {listen} too"), "choose another port");
            return None;
        }
        Some(Page { listen, token: token.map_or(Some(None), |token| token.map(Some))? })
    }
}
