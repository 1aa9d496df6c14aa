//! `idle`: a thousand organizations in which nothing happens, polled as often as the limit allows, exactly once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::api::Api;
use crate::broker::Broker;
use crate::process::{self, Process};
use crate::setup::{Out, Setup, ledger_of};
use crate::{Options, Outcome, row, table};

const ORGANIZATIONS: u32 = 1_000;
/// What happened before.
const EVENTS: u32 = 20_000;
/// As it is by default.
const REQUESTS_PER_SECOND: u32 = 5;
const SETTLED: Duration = Duration::from_secs(20);
/// A round. Five of them by default, since idle ledgers are written every 5 min.
const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5;
const TOPIC: &str = "bench-idle";

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let (folder, minutes) = (tempfile::tempdir()?, options.rounds(ROUNDS));
    let events = options.events(EVENTS);
    let api = Api::start_with(&[format!("--events={events}"), format!("--organizations={ORGANIZATIONS}")])?;
    let organizations = api.organizations().await?;
    broker.create(TOPIC).await?;
    let setup = Setup {
        organizations: &organizations,
        // A little more than there is.
        poll: "{start: 25h}".to_owned(),
        ..Setup::of(&api, &broker, Out::ExactlyOnce, TOPIC)
    };
    eprintln!("idle: reading what {ORGANIZATIONS} organizations have");
    let (mut command, _) = setup.command(folder.path())?;
    process::run(command.arg("--until-caught-up")).await?;

    let (mut command, _) = Setup { requests_per_second: REQUESTS_PER_SECOND, ..setup }.command(folder.path())?;
    let mut jumpstream = Process::start(command.stdin(Stdio::null()))?;
    eprintln!("idle: started again, settling for {SETTLED:?}");
    tokio::time::sleep(SETTLED).await;
    let (pages, bytes, begun) = (api.page_count().await?, broker.disk_bytes(&ledger_of(TOPIC))?, Instant::now());
    let mut shares = Vec::new();
    for minute in 1..=minutes {
        shares.push(cpu_share(jumpstream.id(), MINUTE).await?);
        eprintln!("idle: minute {minute} of {minutes}: {:.2} % of a core", shares[minute - 1]);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let polls = (api.page_count().await? - pages) as f64 / seconds;
    let written = (broker.disk_bytes(&ledger_of(TOPIC))? - bytes) as f64;
    let mib = |name| process::memory(jumpstream.id(), name).unwrap_or(0) as f64 / f64::from(1 << 20);
    let (resident, peak) = (mib("VmRSS"), mib("VmHWM"));
    kill_process(Pid::from_child(&jumpstream.0), Signal::TERM)?;
    jumpstream.0.wait()?;
    if broker.read_committed(TOPIC, crate::broker::PARTITIONS)?.0 != u64::from(events) {
        return Err("not every event was there once: these are not the figures of an idle process".into());
    }

    let rows = [
        row!["", "", "goal"],
        row!["processor, % of a core, median minute", format!("{:.2}", table::median(shares.clone())), "≤ 3"],
        row!["processor, % of a core, worst minute", format!("{:.2}", shares.into_iter().fold(0.0, f64::max)), "≤ 3"],
        row!["polls a second", format!("{polls:.1}"), format!("{REQUESTS_PER_SECOND}, the limit")],
        row!["resident memory, MiB", format!("{resident:.0}"), "—"],
        row!["most it ever held, MiB", format!("{peak:.0}"), "—"],
        row!["written to the ledger topic, KiB", format!("{:.0}", written / 1024.0), "—"],
        row![
            "the same a day, extrapolated, MiB",
            format!("{:.1}", written / seconds * 86_400.0 / f64::from(1 << 20)),
            "—"
        ],
    ];
    let title = format!("idle: {ORGANIZATIONS} organizations without new events, exactly once, {seconds:.0} s");
    table::print(&title, &rows);
    if minutes < ROUNDS {
        println!("\n  in less than {ROUNDS} minutes the ledgers of idle streams may not have been written once");
    }
    Ok(())
}

/// What a process takes over a while, in percent of a core.
async fn cpu_share(id: u32, length: Duration) -> Outcome<f64> {
    let (cpu, begun) = (process::cpu_seconds(id)?, Instant::now());
    tokio::time::sleep(length).await;
    Ok((process::cpu_seconds(id)? - cpu) / begun.elapsed().as_secs_f64() * 100.0)
}
