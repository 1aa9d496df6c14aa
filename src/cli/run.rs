//! `jumpstream run`: the main job.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::ConfigFile;
use crate::app::{App, CatchUp};
use crate::config::{Config, LogFormat};
use crate::exit_code::ExitCode;
use crate::telemetry;

/// Reads events and publishes them until stopped
///
/// SIGTERM and SIGINT end it: what is in flight is finished and committed, then it exits with 0. What an outage or a
/// restart left out is read when it runs again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigFile,

    /// Exit with 0 once all time from `poll.start` to now is covered without a gap, and what was due is settled
    #[arg(long)]
    pub until_caught_up: bool,

    /// Give up catching up after this long (90s, 2m, 1h 30m), exit with 1 and name what is blocked; else wait
    #[arg(long, value_name = "DURATION", requires = "until_caught_up", value_parser = super::duration)]
    pub timeout: Option<Duration>,
}

/// Cancelling it is a crash: the batch in flight may be delivered again.
pub async fn run(args: Args) -> ExitCode {
    match super::load(&args.config.path) {
        Ok(config) => start(config, args).await,
        Err(code) => code,
    }
}

/// A file that may grow no further (ulimit -f) is waited for like a full disk; left alone, the signal would end us.
fn outlive_file_limits() {
    let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // What listens stays for the life of the process, whoever hears it.
    if let Err(error) = signal(file_size) {
        tracing::debug!("a limit on file sizes would end the process: {error}");
    }
}

async fn start(config: Config, args: Args) -> ExitCode {
    let log = &config.log;
    let format = match log.format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    if let Err(error) = telemetry::init(log.level, format) {
        eprintln!("jumpstream: {error}");
        return ExitCode::Failed;
    }
    outlive_file_limits();
    let catch_up = args.until_caught_up.then_some(CatchUp { timeout: args.timeout });
    match App::build(config, catch_up.is_some()).await {
        Ok(app) => app.run(catch_up).await,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::Failed
        }
    }
}
