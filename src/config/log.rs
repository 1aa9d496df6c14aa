//! What is logged and how: `log`.

use super::key::{Choice, Key, Kind, Presence};
use super::read::Section;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "level",
        Kind::Choice(&[
            Choice::new("error"),
            Choice::new("warn"),
            Choice::new("info"),
            Choice::new("debug"),
            Choice::new("trace"),
        ]),
        Presence::Default("info"),
        "The least important lines that are written.",
        "debug",
    ),
    Key::new(
        "format",
        Kind::Choice(&[Choice::new("text"), Choice::new("json")]),
        Presence::Default("text"),
        "`json` writes one object a line.",
        "json",
    ),
];

/// What is logged, to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub level: tracing::Level,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Log {
    pub(super) fn section(section: &Section) -> Option<Log> {
        let level = section.choice("level");
        let format = section.choice("format");
        Some(Log {
            level: level?.parse().ok()?,
            format: if format? == "json" { LogFormat::Json } else { LogFormat::Text },
        })
    }
}
