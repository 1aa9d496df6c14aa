//! Where events go that no sink takes: `dead_letter`.

use super::key::{Key, Kind, Presence};
use super::outlet::{Outlet, Purpose};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "topic",
        Kind::Text,
        Presence::Optional("either this or `file`"),
        "A topic on the brokers of the first Kafka sink.",
        "jumpcloud.dead",
    ),
    Key::new(
        "file",
        Kind::Output,
        Presence::Optional("either this or `topic`"),
        "A file they are appended to, one JSON object a line; mode 0600.",
        "/var/lib/jumpstream/dead.ndjson",
    ),
];

pub(super) const PURPOSE: Purpose =
    Purpose { key: "dead_letter", topic: "a dead-letter topic", example: "jumpcloud.dead" };

/// Where events go that no sink takes.
pub type DeadLetter = Outlet;
