//! The command line: one file per command.
//!
//! # Invariants
//! No option carries a secret. A wrong command line ends with 2, a wrong configuration with 78; what a command prints
//! for a machine goes to standard output, all else to standard error.

pub mod check;
pub mod demo;
pub mod emulate;
mod ledgers;
pub mod replay;
pub mod report;
pub mod run;
pub mod state;
pub mod status;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Warning};
use crate::exit_code::ExitCode;

/// Reads JumpCloud Directory Insights events and publishes every one of them to Kafka, a file or standard output
///
/// None is left out. With `delivery: at_least_once`, and in files and standard output, the batch that was in flight may
/// come again after a crash.
#[derive(Parser)]
#[command(name = "jumpstream", version, after_help = after_help(), arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Demo(demo::Args),
    Emulate(Box<emulate::Args>),
    Replay(replay::Args),
    Status(status::Args),
    Report(report::Args),
    State(state::Args),
}

impl Cli {
    /// Runs the command to its end. Cancelling it leaves whatever the command's own invariants allow.
    pub async fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Emulate(args) => emulate::run(*args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::State(args) => state::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Report(args) => report::run(args).await,
        }
    }
}

/// The option that names the configuration, for the commands that need one.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration, a YAML file; JUMPSTREAM_… variables override its keys
    #[arg(long = "config", value_name = "FILE")]
    pub path: PathBuf,
}

/// Reads the configuration; a faulty one goes to standard error with all that is to be said of it.
fn load(path: &Path) -> Result<(Config, Vec<Warning>), ExitCode> {
    Config::load(path, &config::environment()).map_err(|faults| {
        eprintln!("{faults}");
        for warning in &faults.warnings {
            eprintln!("warning: {}", warning.describe(&faults.file));
        }
        ExitCode::Configuration
    })
}

/// For options: `90s`, `2m`, `1h 30m`.
fn duration(text: &str) -> Result<Duration, String> {
    config::value::duration(text).ok_or_else(|| "expected a duration with a unit, such as 90s, 2m or 1h 30m".into())
}

fn after_help() -> String {
    let codes = ExitCode::ALL.map(|code| format!("  {:>2}  {}\n", code.number(), code.meaning())).concat();
    format!(
        "Examples:\n  \
           jumpstream demo                                  see it work, with nothing to set up\n  \
           jumpstream check --config jumpstream.yaml        is everything ready? what is missing?\n  \
           jumpstream run --config jumpstream.yaml          read and publish until stopped\n  \
           jumpstream run --config jumpstream.yaml --until-caught-up --timeout 1h\n  \
           jumpstream status --config jumpstream.yaml       was anything missed? how far is it proven?\n\n\
         Exit codes:\n{codes}\n\
         The smallest configuration:\n  \
           accounts: [{{api_key: {{file: /run/secrets/jumpcloud/api-key}}}}]\n  \
           sinks: [{{type: stdout}}]\n\n\
         Every key is described in docs/reference/configuration.md, the rest in docs/."
    )
}
