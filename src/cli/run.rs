//! `jumpstream run`: the main job.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::ConfigFile;
use crate::app::{App, CatchUp};
use crate::config::{Config, LogFormat, Warning};
use crate::exit_code::ExitCode;
use crate::telemetry;

/// Reads events and publishes them until stopped
///
/// SIGTERM and SIGINT (Ctrl-C) end it: what is in flight is finished and committed, for 10 s at most, then it exits
/// with 0. A second one ends it at once with 1: the batch in flight comes again. What an outage or a restart left out
/// is read when it runs again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigFile,

    /// Exit with 0 once all time from `poll.start` to now is covered without a gap
    ///
    /// That takes one `poll.interval` at least: now is covered by the poll that follows it. Beside other replicas it
    /// reads its share, and then waits 25 s in which one that died would be missed, and its part become ours. Whatever
    /// ends it earlier, a signal too, makes it exit with 1.
    #[arg(long)]
    pub until_caught_up: bool,

    /// Give up catching up after this long (90s, 2m, 1h 30m), exit with 1 and name what is blocked; else wait
    ///
    /// Committing what is in flight may take 10 s on top of it.
    #[arg(long, value_name = "DURATION", requires = "until_caught_up", value_parser = super::duration)]
    pub timeout: Option<Duration>,
}

/// Cancelling it is a crash: the batch in flight may be delivered again.
pub async fn run(args: Args) -> ExitCode {
    match super::load(&args.config.path) {
        Ok((config, warnings)) => start(config, warnings, args).await,
        Err(code) => code,
    }
}

/// A file that may grow no further (ulimit -f) is waited for like a full disk; left alone, the signal would end us.
pub(super) fn outlive_file_limits() {
    let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // What listens stays for the life of the process, whoever hears it.
    if let Err(error) = signal(file_size) {
        tracing::debug!("a limit on file sizes would end the process: {error}");
    }
}

/// Begins the log, with what was to be said of the configuration.
pub(super) fn log(config: &Config, warnings: &[Warning], path: &Path) -> Result<(), ExitCode> {
    let format = match config.log.format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    if let Err(error) = telemetry::init(config.log.level, format) {
        eprintln!("jumpstream: {error}");
        return Err(ExitCode::Failed);
    }
    for warning in warnings {
        tracing::warn!("{}; {}", warning.finding(&path.display().to_string()), warning.remedy);
    }
    Ok(())
}

async fn start(config: Config, warnings: Vec<Warning>, args: Args) -> ExitCode {
    if let Err(code) = log(&config, &warnings, &args.config.path) {
        return code;
    }
    outlive_file_limits();
    let catch_up = args.until_caught_up.then_some(CatchUp { timeout: args.timeout });
    match App::build(config, catch_up.is_some()).await {
        Ok(app) => app.run(catch_up).await,
        Err(error) => {
            tracing::error!("{error}");
            error.exit_code()
        }
    }
}
