//! Where the ledger is kept: `state`.

use std::path::PathBuf;

use super::key::{Choice, Key, Kind, Presence, Variant};
use super::read::{Input, Section};

pub(super) const VARIANTS: &[Variant] =
    &[Variant { name: "sqlite", keys: SQLITE }, Variant { name: "kafka", keys: KAFKA }];

const TYPES: &[Choice] = &[
    Choice::new("sqlite"),
    Choice::not_yet("kafka", "use `state: {type: sqlite, path: …}` on a local disk, and one process"),
];

const fn of_type(example: &'static str) -> Key {
    Key::new("type", Kind::Choice(TYPES), Presence::Default("sqlite"), "What keeps the ledger.", example)
}

const SQLITE: &[Key] = &[
    of_type("sqlite"),
    Key::new(
        "path",
        Kind::Output,
        Presence::Default("jumpstream.db"),
        "The database, on a local disk (a network file system is refused). One process at a time; keep it, it says what \
         has been delivered.",
        "/var/lib/jumpstream/jumpstream.db",
    ),
];

const KAFKA: &[Key] = &[
    of_type("kafka"),
    Key::new("topic", Kind::Text, Presence::Default("jumpstream.ledger"), "The ledger's topic.", "jumpstream.ledger"),
    Key::new(
        "partitions",
        Kind::Integer { least: 1, most: 1_000 },
        Presence::Default("8"),
        "How many replicas can share the work.",
        "8",
    ),
    Key::new("group", Kind::Text, Presence::Default("jumpstream"), "The replicas' consumer group.", "jumpstream"),
];

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A path relative to the working directory.
    Sqlite { path: PathBuf },
}

impl State {
    pub(super) fn section(root: &Section) -> Option<State> {
        let section = match root.node("state") {
            Some(node) => Section::of_type(root.reader, "state", node, VARIANTS)?.1,
            None => Section::unwritten(root.reader, "state", SQLITE),
        };
        let item = section.item("path")?;
        // SQLite's and ours, which are written like the file itself.
        for suffix in ["-wal", "-shm", ".lock"] {
            let (place, key) = (item.place.clone(), format!("{}{suffix}", item.key));
            let path = PathBuf::from(format!("{}{suffix}", item.text));
            section.reader.outputs.borrow_mut().push(Input { place, key, path });
        }
        Some(State::Sqlite { path: section.output("path")? })
    }
}
