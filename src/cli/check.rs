//! `jumpstream check`: is everything ready, and if not, what is to be done?
//!
//! # Invariants
//! Disturbs no running instance: takes no lock, joins no group, produces nothing (but the test message that is asked
//! for) and leaves no file. Every question has ten seconds. No secret is shown.

mod account;
mod disk;
mod kafka;
mod ledger;
mod listen;
mod syslog;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::ConfigFile;
use crate::config::{self, Config, Fault, Outlet, Sink};
use crate::exit_code::ExitCode;

/// Checks the configuration and everything it needs, a row each, with what to do
///
/// Disturbs nothing: a running instance may use the same configuration. Exits with 78 where the configuration is at
/// fault, with 1 where anything else is red, else with 0.
#[derive(Debug, clap::Args)]
#[command(after_long_help = JSON_HELP)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigFile,

    /// Look only at the configuration and the files it names; ask nobody
    #[arg(long)]
    pub offline: bool,

    /// Send each syslog receiver one message of the largest size, of event type `test_of_jumpstream`
    #[arg(long, conflicts_with = "offline")]
    pub test_message: bool,

    /// Print one JSON object in place of the table
    #[arg(long)]
    pub json: bool,
}

const JSON_HELP: &str = r#"JSON:
  {
    "state": "red",
    "rows": [{"name": "configuration", "state": "red", "finding": "…", "remedy": "…"}]
  }
  `name` is configuration, state, server.listen, page.listen, api, clock, key, organization,
  licence, services, rate, brokers, topic NAME, record size, syslog ADDRESS, message size, test
  message, file PATH, standard output, dead letters or control records; where there are several accounts, the names from
  api to rate end with the account's.
  `state` is green, yellow or red; the first is the worst of the rows'.
  `remedy` is null where nothing is to be done."#;

/// How long any one question may take.
const WITHIN: Duration = Duration::from_secs(10);
const CONFIGURATION: &str = "configuration";

/// How something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Green,
    /// It works, but probably not as meant.
    Yellow,
    /// It can't work.
    Red,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub name: String,
    pub state: State,
    /// What was found: one line.
    pub finding: String,
    /// What to do; none where nothing is to be done.
    pub remedy: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub state: State,
    pub rows: Vec<Row>,
}

/// Asks nothing that a running instance would notice; may be cancelled at any point.
pub async fn run(args: Args) -> ExitCode {
    let report = examine(&args.config.path, args.offline, args.test_message).await;
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = if args.json { report.json() } else { report.table(colour) };
    // A reader that went away (`| head`) has seen what it wanted; the exit code says the rest.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    report.exit_code()
}

/// Everything that can be seen; `offline` leaves out what only others can answer.
pub async fn look(path: &Path, offline: bool) -> Report {
    examine(path, offline, false).await
}

/// As [`look`], with a test message to each syslog sink where `test_message` says so.
pub async fn examine(path: &Path, offline: bool, test_message: bool) -> Report {
    let (config, mut rows) = configuration(path);
    if let (Some(config), false) = (&config, offline) {
        rows.extend(online(config, test_message).await);
    }
    Report::of(rows)
}

/// The rows that need nobody's answer.
pub fn configuration(path: &Path) -> (Option<Config>, Vec<Row>) {
    let file = path.display().to_string();
    let row = |state: State, fault: Fault| Row {
        name: CONFIGURATION.into(),
        state,
        finding: fault.finding(&file),
        remedy: Some(fault.remedy),
    };
    let (config, faults, warnings) = match Config::load(path, &config::environment()) {
        Ok((config, warnings)) => (Some(config), Vec::new(), warnings),
        Err(faults) => (None, faults.faults, faults.warnings),
    };
    let mut rows: Vec<_> = config.iter().map(|config| Row::green(CONFIGURATION, describe(config))).collect();
    rows.extend(faults.into_iter().map(|fault| row(State::Red, fault)));
    rows.extend(warnings.into_iter().map(|warning| row(State::Yellow, warning)));
    (config, rows)
}

/// The rows that need the API's and the brokers' answers, and this machine's; all at once.
async fn online(config: &Config, test_message: bool) -> Vec<Row> {
    let state = async {
        match &config.state {
            config::State::Sqlite { path } => disk::state(path),
            config::State::Kafka { .. } => (ledger::row(config).await, None),
        }
    };
    let accounts = config.accounts.iter().map(|account| account::rows(account, config));
    let sinks = config.sinks.iter().map(|sink| sink_rows(sink, config, test_message));
    let ((state, holder), accounts, sinks) = futures::join!(state, join_all(accounts), join_all(sinks));
    let mut rows = vec![
        state,
        listen::row("server.listen", config.server.listen, holder.as_deref()),
        listen::row("page.listen", config.page.listen, holder.as_deref()),
    ];
    rows.extend(accounts.into_iter().flatten());
    rows.extend(sinks.into_iter().flatten());
    for (name, outlet) in [("dead letters", &config.dead_letter), ("control records", &config.control)] {
        if let Some(Outlet::File(path)) = outlet {
            rows.push(disk::file(name, path));
        }
    }
    rows
}

async fn sink_rows(sink: &Sink, config: &Config, test_message: bool) -> Vec<Row> {
    match sink {
        Sink::Kafka(sink) => kafka::rows(sink, config).await,
        Sink::Syslog(sink) => syslog::rows(sink, config, test_message).await,
        Sink::File(sink) => vec![disk::file(&format!("file {}", sink.path.display()), &sink.path)],
        Sink::Stdout => vec![Row::green("standard output", "is handed each event as a line")],
    }
}

/// An error's sentence and what it says to do; the front doors write the remedy last.
fn halves(sentence: &str) -> (String, String) {
    match sentence.rsplit_once("; ") {
        Some((finding, remedy)) => (finding.to_owned(), remedy.to_owned()),
        None => (sentence.to_owned(), "correct it and check again".to_owned()),
    }
}

fn describe(config: &Config) -> String {
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    format!("{}, {}", count(config.accounts.len(), "account"), count(config.sinks.len(), "sink"))
}

impl Row {
    /// A row with nothing to be done.
    pub fn green(name: &str, finding: impl Into<String>) -> Row {
        Row { name: name.into(), state: State::Green, finding: finding.into(), remedy: None }
    }

    /// It works, but probably not as meant.
    pub fn yellow(name: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Row {
        Row { name: name.into(), state: State::Yellow, finding: finding.into(), remedy: Some(remedy.into()) }
    }

    /// It can't work.
    pub fn red(name: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Row {
        Row { name: name.into(), state: State::Red, finding: finding.into(), remedy: Some(remedy.into()) }
    }
}

impl Report {
    pub fn of(rows: Vec<Row>) -> Report {
        let state = rows.iter().map(|row| row.state).max().unwrap_or(State::Green);
        Report { state, rows }
    }

    /// A fault of the configuration weighs more: starting again will not help it.
    pub fn exit_code(&self) -> ExitCode {
        let red = |row: &&Row| row.state == State::Red;
        match self.rows.iter().filter(red).map(|row| row.name == CONFIGURATION).reduce(|one, other| one || other) {
            None => ExitCode::Done,
            Some(true) => ExitCode::Configuration,
            Some(false) => ExitCode::Failed,
        }
    }

    /// One object and a line's end.
    pub fn json(&self) -> String {
        let mut text = serde_json::json!(self).to_string();
        text.push('\n');
        text
    }

    /// `2 red, 1 yellow, 9 green`, of those that there are.
    fn counts(&self) -> String {
        let count = |state: State| self.rows.iter().filter(|row| row.state == state).count();
        let states = [(State::Red, "red"), (State::Yellow, "yellow"), (State::Green, "green")];
        let counts = states.map(|(state, name)| (count(state), name)).into_iter().filter(|(count, _)| *count > 0);
        counts.map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    /// Aligned, a row each, its remedy below it, and how many there are of each colour.
    pub fn table(&self, colour: bool) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&format!("{}  {:width$}  {}\n", row.state.word(colour), row.name, row.finding));
            if let Some(remedy) = &row.remedy {
                text.push_str(&format!("{:6}  {:width$}  → {remedy}\n", "", ""));
            }
        }
        text.push_str(&format!("{}\n", self.counts()));
        text
    }
}

impl State {
    /// Six characters wide; the word alone says all, the colour only repeats it.
    fn word(self, colour: bool) -> String {
        let (word, code) = match self {
            State::Green => ("green ", 32),
            State::Yellow => ("yellow", 33),
            State::Red => ("red   ", 31),
        };
        if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.into() }
    }
}
