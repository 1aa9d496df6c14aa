//! `jumpstream replay`: a range delivered once more, beside a running instance.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::HumanCount;
use tokio::sync::watch;

use super::ConfigFile;
use crate::app::replay::{Chosen, Unchosen, Wanted};
use crate::app::{Signals, first_signal};
use crate::clock::{self, Time};
use crate::config::value;
use crate::exit_code::ExitCode;
use crate::ledger::Coverage;
use crate::replay::{Counted, Ended, Error, Progress, ProgressError, Replay, spell};
use crate::telemetry::screen::follow;

/// How long the batch in flight may take once the process is told to end.
const DRAIN: Duration = Duration::from_secs(10);
/// Of many ranges that can't be read only so many are named.
const NAMED: usize = 20;

/// Delivers the events of a range once more, marked as a replay
///
/// For a consumer that lost what it had, or a sink that was added later. Every event that the API shows of the range
/// is delivered, whatever was delivered before, oldest first, by `poll.page_size` and with the sinks of the
/// configuration. In Kafka its header `delivery` is `replay`; a file or standard output has no such mark.
///
/// It may run beside `run`, on any machine: it has nothing to do with the ledger, its lock, the group or the
/// transactions, and what it delivers changes nothing of them. Into Kafka it delivers at least once, by an idempotent
/// producer without transactions, whatever `delivery` says. A file that `run` writes to is locked: give the replay a
/// configuration with another one. Dead letters go to the topic of `dead_letter`, or to its file's name and `.replay`.
///
/// How far it has come is kept in a file of its own. Ended before its end, by whatever, it goes on with the same command
/// and repeats at most the batch that was in flight (10,000 events or 4 MiB of a stream). Once all is delivered the
/// file is deleted. SIGTERM and SIGINT (Ctrl-C) let what is in flight be delivered, for 10 s at most; then it exits
/// with 1, as with whatever else keeps it from delivering all of the range.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,

    /// From this instant on: RFC 3339 (2026-09-01T06:00:00Z) or a date (midnight UTC)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Time,

    /// To before this instant, which must have passed
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Time,

    /// Only events of this organization; may be repeated
    #[arg(long = "organization", value_name = "ID")]
    organizations: Vec<String>,

    /// Only events of this service; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,

    /// Only to this sink: its topic, its path, or its type
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,

    /// Count what would be delivered and say how many requests and how long that takes; deliver nothing
    ///
    /// With a progress file of the same replay, what is left of it.
    #[arg(long)]
    dry_run: bool,

    /// Where it keeps how far it has come
    #[arg(long, value_name = "FILE", default_value = "jumpstream-replay.json")]
    progress_file: PathBuf,

    /// How much of each account's `requests_per_second` it may use; a running instance knows nothing of it
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    rate_share: f64,
}

/// For options: an instant, not an age, which would be another one at each start.
fn instant(text: &str) -> Result<Time, String> {
    value::instant(text).ok_or_else(|| "expected an instant such as 2026-09-01T06:00:00Z, or a date".into())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.001..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0.001 to 1".into())
}

/// Cancelling it is a crash: the batch in flight comes again.
pub async fn run(args: Args) -> ExitCode {
    if let Err(fault) = check(&args) {
        eprintln!("jumpstream: {fault}");
        return ExitCode::Usage;
    }
    let (config, warnings) = match super::load(&args.config.path) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(code) = super::run::log(&config, &warnings, &args.config.path) {
        return code;
    }
    super::run::outlive_file_limits();
    let wanted = Wanted {
        range: args.from..args.to,
        organizations: args.organizations.clone(),
        services: args.services.clone(),
        sink: args.sink.clone(),
        rate_share: args.rate_share,
    };
    let chosen = match Chosen::new(config, wanted) {
        Ok(chosen) => chosen,
        Err(Unchosen::NotThere(fault)) => {
            tracing::error!("{fault}");
            return ExitCode::Usage;
        }
        Err(Unchosen::Part(error)) => {
            tracing::error!("{error}");
            return error.exit_code();
        }
    };
    let signals = Signals::listen();
    let (ends, shutdown) = watch::channel(false);
    let work = work(&args, &chosen, shutdown);
    tokio::pin!(work);
    tokio::select! {
        code = &mut work => return code,
        () = first_signal() => {
            tracing::info!("told to end: delivering what is in flight, {} s at most; a second Ctrl-C ends at once", DRAIN.as_secs());
        }
    }
    ends.send_replace(true);
    tokio::select! {
        code = work => code,
        () = tokio::time::sleep(DRAIN) => given_up(&format!("a sink still waits after {DRAIN:?}")),
        () = signals.second() => given_up("ended at once"),
    }
}

/// What a person has to decide ends with another code than what may heal.
fn refused(error: &ProgressError) -> ExitCode {
    tracing::error!("{error}");
    match error {
        ProgressError::Other { .. } | ProgressError::Damaged { .. } => ExitCode::Configuration,
        ProgressError::Held { .. } | ProgressError::File { .. } => ExitCode::Failed,
    }
}

fn given_up(why: &str) -> ExitCode {
    tracing::warn!("{why}: the batch in flight comes again");
    ExitCode::Failed
}

fn check(Args { from, to, .. }: &Args) -> Result<(), String> {
    if from >= to {
        return Err(format!("--from must lie before --to, and {from} does not lie before {to}"));
    }
    if *to > clock::wall() {
        return Err(format!("--to must have passed, and {to} has not; what is still to come is `run`'s to deliver"));
    }
    Ok(())
}

async fn work(args: &Args, chosen: &Chosen, shutdown: watch::Receiver<bool>) -> ExitCode {
    let Some(replay) = chosen.replay(shutdown).await else { return ExitCode::Failed };
    if replay.streams().next().is_none() {
        tracing::error!("no key of the configuration reads organization {}", args.organizations.join(", "));
        return ExitCode::Usage;
    }
    if args.dry_run { count(args, chosen, &replay).await } else { deliver(args, chosen, &replay).await }
}

async fn deliver(args: &Args, chosen: &Chosen, replay: &Replay) -> ExitCode {
    // Before the sinks: whoever holds it delivers this very range already.
    let progress = match Progress::open(&args.progress_file, chosen.subject(replay), replay.range.clone()) {
        Ok(progress) => progress,
        Err(error) => return refused(&error),
    };
    let outlets = match chosen.open() {
        Ok(outlets) => outlets,
        Err(error) => {
            tracing::error!("{error}");
            return error.exit_code();
        }
    };
    tracing::info!(
        progress_file = %args.progress_file.display(),
        "delivering {} to {} once more: {}, to {}; at most {} requests a second",
        args.from,
        args.to,
        many(replay.streams().count() as u64, "stream"),
        chosen.targets().join(", "),
        chosen.requests_per_second()
    );
    let tally = replay.tally();
    let ended = tokio::select! {
        ended = replay.run(outlets, progress, &tally) => ended,
        never = follow(|| Some(tally.said())) => match never {},
    };
    let (events, dead_letters) = tally.events();
    tracing::info!(events, dead_letters, "delivered");
    match ended {
        Ok(ended) => conclude(&ended),
        Err(error) => {
            tracing::error!("{error}; the same command goes on from here");
            ExitCode::Failed
        }
    }
}

fn conclude(ended: &Ended) -> ExitCode {
    for (stream, range, why) in ended.unread.iter().take(NAMED) {
        let (from, to) = (range.start, range.end);
        tracing::error!(%stream, %from, %to, reason = why.as_str(), "the API couldn't be brought to show this");
    }
    match ended {
        Ended { early: true, .. } => {
            tracing::warn!("ended before all was delivered; the same command goes on from here");
            ExitCode::Failed
        }
        Ended { unread, .. } if unread.is_empty() => ExitCode::Done,
        Ended { unread, .. } => {
            tracing::error!(
                "{} could not be read; the same command tries them again",
                many(unread.len() as u64, "stretch")
            );
            ExitCode::Failed
        }
    }
}

async fn count(args: &Args, chosen: &Chosen, replay: &Replay) -> ExitCode {
    let done = match Progress::look(&args.progress_file, &chosen.subject(replay)) {
        Ok(done) => done,
        Err(error) => return refused(&error),
    };
    let counted = replay.count(|stream| done.get(&stream.to_string()).cloned().unwrap_or_else(Coverage::default)).await;
    match counted {
        Ok(Some(counted)) => {
            let text = describe(&counted, replay.page_size, chosen);
            let mut out = std::io::stdout().lock();
            // A reader that went away (`| head`) has seen what it wanted.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            ExitCode::Done
        }
        Ok(None) => ExitCode::Failed,
        Err(error @ (Error::Source { .. } | Error::Commit(_) | Error::Progress(_))) => {
            tracing::error!("counting: {error}");
            ExitCode::Failed
        }
    }
}

/// For people, on standard output.
fn describe(counted: &[Counted], page_size: u32, chosen: &Chosen) -> String {
    // A stream without events is asked once.
    let pages = |events: u64| events.div_ceil(page_size.into()).max(1);
    let line = |Counted { stream, events }: &Counted| {
        format!("stream {stream}: {}, {}\n", many(*events, "event"), many(pages(*events), "page"))
    };
    let lines: String = counted.iter().map(line).collect();
    let (events, pages) =
        counted.iter().fold((0, 0), |(events, all), counted| (events + counted.events, all + pages(counted.events)));
    let rate = chosen.requests_per_second();
    format!(
        "{lines}{} in {}, to {}: at {rate} requests a second at least {}; a dry run, nothing was delivered\n",
        many(events, "event"),
        many(pages, "page"),
        chosen.targets().join(", "),
        spell(Duration::from_secs_f64(pages as f64 / rate)),
    )
}

fn many(number: u64, one: &str) -> String {
    let plural = if one.ends_with("ch") { "es" } else { "s" };
    format!("{} {one}{}", HumanCount(number), if number == 1 { "" } else { plural })
}
