//! Processes that are measured: processor time and memory, as `/proc` tells them.

use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often a running process is looked at: its peak may grow for so long unseen at its end.
const GLANCE: Duration = Duration::from_millis(10);
/// `/proc` counts hundredths of a second (`USER_HZ`, proc(5)).
const TICKS: f64 = 100.0;

/// What a process took from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// From its start to its end, or to when its work was done.
    pub wall_seconds: f64,
    /// User and system, all threads.
    pub cpu_seconds: f64,
    /// The most memory it ever held (`VmHWM`), in bytes.
    pub peak_bytes: u64,
}

/// A child that is killed when it is dropped.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Outcome<Process> {
        Ok(Process(command.spawn().map_err(|error| format!("{command:?}: {error}"))?))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the end; the process's figures are read before it is reaped, when they are complete.
    pub async fn wait(mut self, begun: Instant) -> Outcome<(Taken, ExitStatus)> {
        let id = self.id();
        let mut peak_bytes = 0;
        while !has_ended(id) {
            peak_bytes = peak_bytes.max(memory(id, "VmHWM").unwrap_or(0));
            tokio::time::sleep(GLANCE).await;
        }
        let (wall_seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds(id)?);
        Ok((Taken { wall_seconds, cpu_seconds, peak_bytes }, self.0.wait()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the released binary from start to end.
pub async fn run(command: &mut Command) -> Outcome<Taken> {
    let begun = Instant::now();
    let (taken, status) = Process::start(command.stdin(Stdio::null()))?.wait(begun).await?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(taken)
}

/// The released binary, which scripts/bench has built: cargo's own beside a bench shares the tests' dependencies,
/// and tokio with its clock for tests is slower.
pub fn jumpstream() -> Command {
    let built = std::env::var_os("BENCH_BINARY");
    let mut command = Command::new(built.unwrap_or_else(|| env!("CARGO_BIN_EXE_jumpstream").into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("JUMPSTREAM_")) {
        command.env_remove(name);
    }
    command
}

/// User and system time of a process, of all its threads, those that ended included.
pub fn cpu_seconds(id: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).map_err(|error| format!("process {id}: {error}"))?;
    let fields: Vec<&str> = behind_name(&stat).split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS)
}

/// Nanoseconds that the calling thread has had of a processor.
pub fn thread_nanos() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}

/// A line of `/proc/ID/status` that counts kB, in bytes.
pub fn memory(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn has_ended(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| behind_name(&stat).starts_with('Z'))
}

/// A name may hold anything, brackets too.
fn behind_name(stat: &str) -> &str {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest)
}
