//! `jumpstream state`: repairs of the ledger.

mod rebuilt;

use std::io::Write as _;
use std::sync::Arc;

use clap::Subcommand;
use indicatif::HumanCount;

use super::ConfigFile;
use crate::app::ledgers;
use crate::config::{Config, State};
use crate::exit_code::ExitCode;
use crate::store::kafka::Untaken;
use crate::store::kafka::rebuild::{Account, Progress, Rebuilt, Request};
use crate::telemetry::screen::follow;

/// Repairs the ledger
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    repair: Repair,
}

#[derive(Debug, Subcommand)]
enum Repair {
    Rebuild(RebuildArgs),
}

/// Makes a ledger topic again that was deleted or emptied, from the events that were delivered
///
/// For `state: {type: kafka}`, where `run` ends with 78 because the ledger topic is empty beside records that were
/// written with it. Stop every replica first. It reads all of the events' topics, as committed, and writes the ledger
/// topic in one transaction: killed before its end it has written nothing, and is run again.
///
/// What is in the events' topics is known again, and `run` does not deliver it twice. What had been read and not found
/// to hold anything is not known: `run` reads everything from the start on again, and delivers what it does not find
/// here. So nothing is lost, and what the topics no longer hold comes again, once, if the API still shows it. What was
/// found and what could not be known is said at the end.
///
/// It is refused, with 1, while a replica is running and where the ledger topic holds anything.
#[derive(Debug, clap::Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// Read this topic too, for events that an earlier configuration sent there; may be repeated
    ///
    /// The sink's own topic is always read; of a template, every topic that fits it.
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,

    /// Read and say what would be written; change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Cancelling it leaves all written or nothing.
pub async fn run(args: Args) -> ExitCode {
    let Repair::Rebuild(args) = args.repair;
    let (config, warnings) = match super::load(&args.config.path) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(code) = super::run::log(&config, &warnings, &args.config.path) {
        return code;
    }
    let request = match request(&config, &args) {
        Ok(request) => request,
        Err(fault) => {
            tracing::error!("{fault}");
            return ExitCode::Configuration;
        }
    };
    match rebuild(&config, &request).await {
        Ok(rebuilt) => {
            let text = rebuilt::describe(&rebuilt, &request, &config);
            let mut out = std::io::stdout().lock();
            // A reader that went away (`| head`) has seen what it wanted.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            ExitCode::Done
        }
        Err(Untaken::Fatal(error)) => {
            tracing::error!("{error}");
            if error.wants_a_decision() { ExitCode::Configuration } else { ExitCode::Failed }
        }
        Err(Untaken::NotNow(why)) => {
            tracing::error!("{why}");
            ExitCode::Failed
        }
    }
}

fn request(config: &Config, args: &RebuildArgs) -> Result<Request, String> {
    let State::Kafka { group, .. } = &config.state else {
        return Err(
            "the state is a database, and only one in Kafka can be made again; restore the file from a backup, \
                    or start anew with another state.path"
                .to_owned(),
        );
    };
    let account = |account: &crate::config::Account| Account {
        organizations: account.organizations.clone(),
        services: account.services.clone(),
    };
    let start = config.poll.start;
    Ok(Request {
        accounts: config.accounts.iter().map(account).collect(),
        start: Arc::new(move |now| start.resolve(now)),
        group: group.clone(),
        topics: args.topics.clone(),
        dry: args.dry_run,
    })
}

async fn rebuild(config: &Config, request: &Request) -> Result<Rebuilt, Untaken> {
    let ledgers = match ledgers(config) {
        Ok(ledgers) => ledgers,
        Err(error) => return Err(Untaken::NotNow(error.to_string())),
    };
    let progress = Arc::default();
    tokio::select! {
        rebuilt = ledgers.rebuild(request, &progress) => rebuilt,
        never = follow(|| said(&progress)) => match never {},
    }
}

/// How much is done, and that in words; none before it is known how much there is.
fn said(progress: &Progress) -> Option<(f64, String)> {
    match progress.look() {
        (_, 0) => None,
        (read, whole) if read == whole => Some((1.0, "all is read; writing the ledger topic".to_owned())),
        (read, whole) => {
            let share = read as f64 / whole as f64;
            let (read, whole) = (HumanCount(read), HumanCount(whole));
            Some((share, format!("{:.1} % · {read} of {whole} records read", share * 100.0)))
        }
    }
}
