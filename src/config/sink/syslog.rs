//! A sink of `type: syslog`: known, so that it is refused by name until it is built.

use super::super::key::{Key, Kind, Presence};
use super::of_type;

pub(super) const KEYS: &[Key] = &[
    of_type("syslog"),
    Key::new(
        "address",
        Kind::Text,
        Presence::Required,
        "Transport, host and port of the receiver.",
        "tls://siem.example.com:6514",
    ),
    Key::new("format", Kind::Text, Presence::Default("rfc5424"), "The message format.", "rfc5424"),
    Key::new(
        "tls",
        Kind::Section(super::kafka::TLS),
        Presence::Optional("the system's roots"),
        "How TLS is spoken.",
        "{ca: /etc/ca.pem}",
    ),
];
