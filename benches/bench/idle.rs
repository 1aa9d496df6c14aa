//! `idle`: organizations in which nothing happens, polled as often as the limit allows, exactly once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::api::Api;
use crate::broker::Broker;
use crate::process::{self, Process};
use crate::setup::{Out, Setup, ledger_of};
use crate::{Options, Outcome, table};

const ORGANIZATIONS: [u32; 3] = [1, 100, 1_000];
/// What happened before.
const EVENTS: u32 = 20_000;
/// As it is by default.
const REQUESTS_PER_SECOND: u32 = 5;
const SETTLED: Duration = Duration::from_secs(20);
/// A round. Five of them by default, since idle ledgers are written every 5 min.
const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5;
const MIB: f64 = (1 << 20) as f64;

/// What an idle process takes.
struct Idle {
    /// Of a core, in percent, minute by minute.
    shares: Vec<f64>,
    polls_per_second: f64,
    resident_mib: f64,
    peak_mib: f64,
    /// Written to the ledger topic, and the seconds it took.
    ledger_bytes: f64,
    seconds: f64,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let (events, minutes) = (options.events(EVENTS), options.rounds(ROUNDS));
    let mut columns = Vec::new();
    for organizations in ORGANIZATIONS {
        columns.push(measure(&broker, organizations, events, minutes).await?);
    }
    let row = |name: &str, figure: &dyn Fn(&Idle) -> String, goal: &str| {
        let figures = columns.iter().map(figure);
        [vec![name.to_owned()], figures.collect(), vec![goal.to_owned()]].concat()
    };
    let median = |idle: &Idle| format!("{:.2}", table::median(idle.shares.clone()));
    let worst = |idle: &Idle| format!("{:.2}", idle.shares.iter().copied().fold(0.0, f64::max));
    let a_day = |idle: &Idle| idle.ledger_bytes / idle.seconds * 86_400.0 / MIB;
    let head = ORGANIZATIONS.map(|organizations| table::thousands(f64::from(organizations)));
    let rows = [
        [vec!["organizations".to_owned()], head.to_vec(), vec!["goal, of 1,000".to_owned()]].concat(),
        row("processor, % of a core, median minute", &median, "≤ 3"),
        row("processor, % of a core, worst minute", &worst, "≤ 3"),
        row("polls a second", &|idle| format!("{:.1}", idle.polls_per_second), "5, the limit"),
        row("resident memory, MiB", &|idle| format!("{:.0}", idle.resident_mib), "—"),
        row("most it ever held, MiB", &|idle| format!("{:.0}", idle.peak_mib), "—"),
        row("written to the ledger topic, KiB", &|idle| format!("{:.0}", idle.ledger_bytes / 1024.0), "—"),
        row("the same a day, extrapolated, MiB", &|idle| format!("{:.1}", a_day(idle)), "—"),
    ];
    table::print(&format!("idle: organizations without new events, exactly once, {minutes} minutes each"), &rows);
    if minutes < ROUNDS {
        println!("\n  in less than {ROUNDS} minutes the ledgers of idle streams may not have been written once");
    }
    Ok(())
}

async fn measure(broker: &Broker, organizations: u32, events: u32, minutes: usize) -> Outcome<Idle> {
    let (folder, topic) = (tempfile::tempdir()?, format!("bench-idle-{organizations}"));
    let api = Api::start_with(&[format!("--events={events}"), format!("--organizations={organizations}")])?;
    let ids = api.organizations().await?;
    broker.create(&topic).await?;
    // A little more than there is.
    let poll = "{start: 25h}".to_owned();
    let setup = Setup { organizations: &ids, poll, ..Setup::of(&api, broker, Out::ExactlyOnce, &topic) };
    eprintln!("idle: reading what {organizations} organizations have");
    let (mut command, _) = setup.command(folder.path())?;
    process::run(command.arg("--until-caught-up")).await?;

    let (mut command, _) = Setup { requests_per_second: REQUESTS_PER_SECOND, ..setup }.command(folder.path())?;
    let mut jumpstream = Process::start(command.stdin(Stdio::null()))?;
    eprintln!("idle: started again, settling for {SETTLED:?}");
    tokio::time::sleep(SETTLED).await;
    let written = || broker.disk_bytes(&ledger_of(&topic));
    let (pages, bytes, begun) = (api.page_count().await?, written()?, Instant::now());
    let mut shares = Vec::new();
    for minute in 1..=minutes {
        shares.push(cpu_share(jumpstream.id(), MINUTE).await?);
        eprintln!("idle: minute {minute} of {minutes}: {:.2} % of a core", shares[minute - 1]);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let polls_per_second = (api.page_count().await? - pages) as f64 / seconds;
    let ledger_bytes = (written()? - bytes) as f64;
    let mib = |name| process::memory(jumpstream.id(), name).unwrap_or(0) as f64 / MIB;
    let (resident_mib, peak_mib) = (mib("VmRSS"), mib("VmHWM"));
    kill_process(Pid::from_child(&jumpstream.0), Signal::TERM)?;
    jumpstream.0.wait()?;
    if broker.read_committed(&topic, crate::broker::PARTITIONS)?.0 != u64::from(events) {
        return Err("not every event was there once: these are not the figures of an idle process".into());
    }
    Ok(Idle { shares, polls_per_second, resident_mib, peak_mib, ledger_bytes, seconds })
}

/// What a process takes over a while, in percent of a core.
async fn cpu_share(id: u32, length: Duration) -> Outcome<f64> {
    let (cpu, begun) = (process::cpu_seconds(id)?, Instant::now());
    tokio::time::sleep(length).await;
    Ok((process::cpu_seconds(id)? - cpu) / begun.elapsed().as_secs_f64() * 100.0)
}
