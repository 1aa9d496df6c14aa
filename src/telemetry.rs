//! What the process says of itself: the log on standard error, metrics, and each stream's status.
//!
//! # Invariants
//! Nothing here decides anything: the product works the same with no one listening. Libraries are heard from
//! `warn` on only, whatever the level: what they write below it may hold headers, and those hold credentials.
//! Text from outside goes through [`quote`].

pub mod metrics;
pub mod screen;
pub mod status;

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;
pub use crate::quote::quote;

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
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter(level))).with_writer(|| screen::Lines);
    match format {
        // People know whose log it is, and read no nanoseconds.
        Format::Text => {
            let log = log.with_timer(Wall { digits: Some(3) }).with_target(false);
            log.with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        Format::Json => {
            let log = log.with_timer(Wall { digits: None }).json();
            log.flatten_event(true).with_current_span(false).try_init()
        }
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
struct Wall {
    /// Of a second's fraction; none for as many as are needed.
    digits: Option<usize>,
}

impl FormatTime for Wall {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match self.digits {
            Some(digits) => write!(writer, "{:.digits$}", clock::wall()),
            None => write!(writer, "{}", clock::wall()),
        }
    }
}
