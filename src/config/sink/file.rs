//! A sink of `type: file`.

use std::path::PathBuf;

use super::super::key::{Key, Kind, Presence};
use super::super::read::Section;
use super::{FORMAT, of_type};

pub(super) const KEYS: &[Key] = &[
    of_type("file"),
    Key::new(
        "path",
        Kind::Output,
        Presence::Required,
        "The file events are appended to, one JSON object a line; made with mode 0600, reopened after rotation.",
        "/var/lib/jumpstream/events.ndjson",
    ),
    FORMAT,
];

/// Appends each event as a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the working directory.
    pub path: PathBuf,
}

impl File {
    pub(super) fn section(section: &Section) -> Option<File> {
        Some(File { path: section.output("path")? })
    }
}
