//! What the process says of itself: the log on standard error, metrics, and each stream's status.
//!
//! # Invariants
//! Nothing here decides anything: the product works the same with no one listening. Libraries are heard from
//! `warn` on only, whatever the level: what they write below it may hold headers, and those hold credentials.
//! Text from outside goes through [`quote`].

pub mod metrics;
pub mod status;

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line, its fields at the top.
    Json,
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("setting up the log: {0}")]
pub struct Error(Box<dyn std::error::Error + Send + Sync>);

/// Sends the log to standard error. Once a process; a second call is an error.
pub fn init(level: tracing::Level, format: Format) -> Result<(), Error> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter(level)))
        .with_timer(Wall)
        .with_writer(std::io::stderr);
    match format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    }
    .map_err(Error)
}

fn filter(level: tracing::Level) -> String {
    match level {
        tracing::Level::ERROR => "error".into(),
        level => format!("warn,jumpstream={}", level.as_str().to_lowercase()),
    }
}

/// Timestamps from the one file that reads the clock.
struct Wall;

impl FormatTime for Wall {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", clock::wall())
    }
}

/// The longest that a text from outside becomes, in characters.
const QUOTE: usize = 200;

/// Text from outside (API messages, names) made safe to log: control characters and those that reorder or break
/// lines are escaped, and it ends with `…` where it would be over 200 characters.
pub fn quote(text: &str) -> String {
    let mut quoted = String::new();
    let mut length = 0;
    // Where the text must end if `…` has to follow.
    let mut last_fit = 0;
    for character in text.chars() {
        if is_unsafe(character) {
            let escaped = character.escape_default();
            length += escaped.len();
            quoted.extend(escaped);
        } else {
            length += 1;
            quoted.push(character);
        }
        if length > QUOTE {
            quoted.truncate(last_fit);
            quoted.push('…');
            return quoted;
        }
        if length < QUOTE {
            last_fit = quoted.len();
        }
    }
    quoted
}

/// Control characters, line and paragraph separators, and what changes the direction of text (Unicode UAX #9) or
/// takes no room, so that a line says what it shows.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}
