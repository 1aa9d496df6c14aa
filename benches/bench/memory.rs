//! `memory`: the most that `run --until-caught-up` ever holds: over backfills of different lengths, and with many
//! organizations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::api::{Api, Dataset};
use crate::broker::{Broker, PARTITIONS};
use crate::process::{Process, Taken};
use crate::setup::{Out, Setup, ledger_of};
use crate::{Options, Outcome, row, table};

/// Of the shorter backfill; the longer one has ten times as many.
const EVENTS: u32 = 1_000_000;
const ORGANIZATIONS: u32 = 1_000;
/// What was written is let go from here on: it is not what is measured, and would fill the disk.
const KEPT_BYTES: u64 = 256 << 20;

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let (events, folder) = (options.events(EVENTS), tempfile::tempdir()?);
    let mut rows = vec![row!["events", "", "to", "peak MiB", "goal", "events/s", "CPU s/M"]];
    let backfills = [
        ("older than the last age", Dataset::of(events)),
        ("older than the last age", Dataset::of(events.saturating_mul(10))),
        ("within the last age", Dataset { later_days: 0, days: 7, ..Dataset::of(events) }),
    ];
    for (what, dataset) in backfills {
        eprintln!("memory: making {} events {what}", dataset.events);
        let api = Api::start(&dataset).await?;
        let poll = format!("{{start: \"{}\", interval: 1s}}", dataset.start());
        for out in [Out::File, Out::AtLeastOnce, Out::ExactlyOnce] {
            let taken = measure(&broker, &api, folder.path(), out, (&[], &poll)).await?;
            let goal = if dataset.later_days == 0 { "—" } else { goal(out) };
            rows.push(row_of((f64::from(dataset.events), what, out, goal), taken));
            eprintln!("memory: {}: {:.0} s", out.words(), taken.wall_seconds);
        }
    }
    for organizations in [1, ORGANIZATIONS] {
        let events = (events / 10).max(ORGANIZATIONS);
        let api = Api::start_with(&[format!("--events={events}"), format!("--organizations={organizations}")])?;
        let ids = api.organizations().await?;
        let poll = "{start: 24h, interval: 1s}";
        let taken = measure(&broker, &api, folder.path(), Out::ExactlyOnce, (&ids, poll)).await?;
        let what = format!("of a day, {organizations} organization{}", if organizations == 1 { "" } else { "s" });
        rows.push(row_of((f64::from(events), &what, Out::ExactlyOnce, "—"), taken));
        eprintln!("memory: {what}: {:.0} s", taken.wall_seconds);
    }
    table::print("memory: run --until-caught-up, from its start to its end", &rows);
    println!("\n  goal besides: flat, so ten times the events take no more");
    Ok(())
}

fn goal(out: Out) -> &'static str {
    if out == Out::ExactlyOnce { "≤ 96" } else { "≤ 64" }
}

fn row_of((events, what, out, goal): (f64, &str, Out, &str), taken: Taken) -> Vec<String> {
    row![
        table::thousands(events),
        what,
        out.words(),
        format!("{:.0}", taken.peak_bytes as f64 / f64::from(1 << 20)),
        goal,
        table::thousands(events / taken.wall_seconds),
        format!("{:.2}", taken.cpu_seconds / events * 1e6),
    ]
}

/// `organizations` and `poll` of the configuration.
async fn measure(
    broker: &Broker,
    api: &Api,
    folder: &Path,
    out: Out,
    (organizations, poll): (&[String], &str),
) -> Outcome<Taken> {
    let topic = format!("bench-memory-{:08x}", getrandom::u32().unwrap_or_default());
    let kept = (KEPT_BYTES / PARTITIONS as u64).to_string();
    broker.create_with(&topic, PARTITIONS, &[("retention.bytes", &kept), ("segment.bytes", "16777216")]).await?;
    let setup = Setup { organizations, poll: poll.to_owned(), ..Setup::of(api, broker, out, &topic) };
    let (mut command, _) = setup.command(folder)?;
    let begun = Instant::now();
    let running = Process::start(command.arg("--until-caught-up").stdin(Stdio::null()))?;
    let rotated = tokio::spawn(rotate(folder.join(format!("{topic}.ndjson"))));
    let (taken, status) = running.wait(begun).await?;
    rotated.abort();
    if !status.success() {
        return Err(format!("jumpstream ended with {status}").into());
    }
    fs::remove_dir_all(folder)?;
    fs::create_dir(folder)?;
    broker.delete(&topic).await?;
    if out == Out::ExactlyOnce {
        broker.delete(&ledger_of(&topic)).await?;
    }
    Ok(taken)
}

/// Takes the file away whenever it has grown long, as log rotation does; jumpstream begins another.
async fn rotate(file: PathBuf) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if fs::metadata(&file).is_ok_and(|found| found.len() > KEPT_BYTES) {
            // It is looked at again in a moment.
            let _ = fs::remove_file(&file);
        }
    }
}
