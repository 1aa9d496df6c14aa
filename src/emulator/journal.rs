//! What was asked and what it cost: the request log and the sums.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// How many requests are remembered, and how much of each body.
const REQUESTS: usize = 10_000;
pub(super) const BODY: usize = 2_000;

#[derive(Default)]
pub(super) struct Journal {
    pub requests: VecDeque<Request>,
    pub stats: Stats,
}

/// A request as it came, and what it got.
#[derive(Serialize)]
pub(super) struct Request {
    /// By the emulator's clock.
    pub time: String,
    pub method: String,
    pub path: String,
    #[serde(rename = "x-api-key")]
    pub key: Option<String>,
    #[serde(rename = "x-org-id")]
    pub organization: Option<String>,
    pub body: String,
    pub status: u16,
    /// Events in the answer, where it is a page.
    pub count: Option<usize>,
    #[serde(skip)]
    pub bytes: usize,
    #[serde(skip)]
    pub cached: bool,
}

#[derive(Default, Clone, Serialize)]
pub(super) struct Stats {
    requests: BTreeMap<u16, u64>,
    pages: u64,
    pages_from_cache: u64,
    events: u64,
    bytes: u64,
    /// Of the whole process; absent where the system doesn't say.
    cpu_seconds: Option<f64>,
}

impl Journal {
    pub fn note(&mut self, request: Request) {
        *self.stats.requests.entry(request.status).or_default() += 1;
        if let Some(events) = request.count {
            self.stats.pages += 1;
            self.stats.pages_from_cache += u64::from(request.cached);
            self.stats.events += events as u64;
        }
        self.stats.bytes += request.bytes as u64;
        if self.requests.len() == REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    /// How many requests came, and how many of them were answered with 401.
    pub fn sums(&self) -> (u64, u64) {
        let requests = &self.stats.requests;
        (requests.values().sum(), requests.get(&401).copied().unwrap_or_default())
    }

    pub fn stats(&self) -> Stats {
        Stats { cpu_seconds: cpu_seconds(), ..self.stats.clone() }
    }
}

/// User and system time from `/proc/self/stat`, whose 14th and 15th fields count hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
