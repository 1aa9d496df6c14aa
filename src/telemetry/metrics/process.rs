//! The process's own figures, read from `/proc` at the scrape; absent elsewhere than on Linux.

use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

use crate::telemetry::metrics::table;

/// The unit of `/proc/self/stat`: USER_HZ, which is 100 on every Linux that Rust's tier 1 and 2 know.
const TICKS_A_SECOND: f64 = 100.0;

/// Reads `/proc/self` at each scrape.
pub struct Process {
    memory: Gauge,
    /// Locked for a scrape: what is read is added to what was read before.
    cpu: Mutex<Counter>,
    described: Vec<Desc>,
}

impl Process {
    pub fn new() -> Result<Process, prometheus::Error> {
        let memory = Gauge::with_opts(table::RESIDENT_MEMORY.opts())?;
        let cpu = Counter::with_opts(table::CPU.opts())?;
        let described = [memory.desc(), cpu.desc()].concat().into_iter().cloned().collect();
        Ok(Process { memory, cpu: Mutex::new(cpu), described })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
            families.extend(self.memory.collect());
        }
        if let Some(seconds) = cpu_seconds() {
            let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
            cpu.inc_by((seconds - cpu.get()).max(0.0));
            families.extend(cpu.collect());
        }
        families
    }
}

/// `VmRSS` of proc_pid_status(5), which is in KiB.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

/// `utime` and `stime` of proc_pid_stat(5): the 14th and 15th field; the second is a name that may hold spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_A_SECOND)
}
