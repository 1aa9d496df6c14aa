//! Where it is told when a stream was blind: `control`.

use super::key::{Key, Kind, Presence};
use super::outlet::{Outlet, Purpose};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "topic",
        Kind::Text,
        Presence::Optional("either this or `file`"),
        "A topic on the brokers of the first Kafka sink; it is written at least once.",
        "jumpstream-control",
    ),
    Key::new(
        "file",
        Kind::Output,
        Presence::Optional("either this or `topic`"),
        "A file they are appended to, one JSON object a line; mode 0600.",
        "/var/lib/jumpstream/control.ndjson",
    ),
];

pub(super) const PURPOSE: Purpose = Purpose { key: "control", topic: "a control topic", example: "jumpstream-control" };

/// Where control records go.
pub type Control = Outlet;
