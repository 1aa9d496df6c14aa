//! jumpstream as it is measured: its configuration, and the command that runs it.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::api::{Api, KEY_VARIABLE};
use crate::broker::Broker;
use crate::{Outcome, api, process};

/// Where the events go, and so where the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    File,
    AtLeastOnce,
    ExactlyOnce,
}

impl Out {
    pub fn words(self) -> &'static str {
        match self {
            Out::File => "file, at least once",
            Out::AtLeastOnce => "Kafka, at least once",
            Out::ExactlyOnce => "Kafka, exactly once",
        }
    }
}

/// One configuration.
pub struct Setup<'a> {
    pub api: &'a Api,
    pub broker: &'a Broker,
    pub out: Out,
    /// Of the events; the ledger's and the group's names are made from it.
    pub topic: &'a str,
    /// Empty: the key's own.
    pub organizations: &'a [String],
    pub requests_per_second: u32,
    /// The part `poll`.
    pub poll: String,
    /// Partitions of the ledger topic.
    pub partitions: u32,
}

impl Setup<'_> {
    /// Partitions as they are by default, and requests without a limit that would matter.
    pub fn of<'a>(api: &'a Api, broker: &'a Broker, out: Out, topic: &'a str) -> Setup<'a> {
        let poll = "{start: now, interval: 1s}".to_owned();
        Setup { api, broker, out, topic, organizations: &[], requests_per_second: 1_000, poll, partitions: 8 }
    }

    /// `jumpstream run` and where its metrics are; what it writes goes to `folder`.
    pub fn command(&self, folder: &Path) -> Outcome<(Command, String)> {
        let Setup { api, broker, topic, requests_per_second, poll, partitions, .. } = self;
        let place = |name: &str| folder.join(format!("{topic}.{name}"));
        let metrics = free_address()?;
        let mut text = format!(
            "accounts: [{{endpoint: \"{}\", api_key: {{env: {}}}, requests_per_second: {requests_per_second}, \
             organizations: [{}]}}]\npoll: {poll}\nserver: {{listen: \"{metrics}\"}}\n\
             page: {{listen: \"127.0.0.1:0\"}}\nlog: {{level: error}}\n",
            api.url,
            KEY_VARIABLE.0,
            self.organizations.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(", "),
        );
        let kafka = |delivery| {
            format!("[{{type: kafka, brokers: [\"{}\"], topic: {topic}, delivery: {delivery}}}]", broker.bootstrap)
        };
        let sinks = match self.out {
            Out::File => format!("[{{type: file, path: \"{}\"}}]", place("ndjson").display()),
            Out::AtLeastOnce => kafka("at_least_once"),
            Out::ExactlyOnce => kafka("exactly_once"),
        };
        let state = match self.out {
            Out::ExactlyOnce => {
                format!("{{type: kafka, topic: {}, partitions: {partitions}, group: {topic}.group}}", ledger_of(topic))
            }
            _ => format!("{{type: sqlite, path: \"{}\"}}", place("db").display()),
        };
        writeln!(text, "sinks: {sinks}\nstate: {state}")?;
        let config = place("yaml");
        std::fs::write(&config, text)?;
        let mut command = process::jumpstream();
        command.args(["run", "--config"]).arg(config).env(KEY_VARIABLE.0, KEY_VARIABLE.1).stdout(Stdio::null());
        Ok((command, format!("http://{metrics}/metrics")))
    }
}

/// The name of the ledger topic beside a topic for events.
pub fn ledger_of(topic: &str) -> String {
    format!("{topic}.ledger")
}

/// Free a moment ago.
fn free_address() -> Outcome<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// A histogram of a process's metrics: each bound in seconds with how many were not above it.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// Asks for the one without labels of that name.
    pub async fn ask(url: &str, name: &str) -> Outcome<Histogram> {
        let text = api::client()?.get(url).send().await?.text().await?;
        let bucket = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            Some((bound.replace("+Inf", "inf").parse().ok()?, count.trim().parse().ok()?))
        };
        Ok(Histogram(text.lines().filter_map(bucket).collect()))
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let earlier = |bound: f64| before.0.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
        Histogram(self.0.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect())
    }

    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// As Prometheus's histogram_quantile: evenly spread within a bucket; in the last one its lower bound.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = self.count() * share;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted && *count > below {
                let width = if bound.is_finite() { bound - lower } else { 0.0 };
                return lower + width * (wanted - below) / (count - below);
            }
            (lower, below) = (*bound, *count);
        }
        lower
    }
}
