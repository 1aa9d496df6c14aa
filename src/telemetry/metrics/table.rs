//! Every metric in one table, from which registration and `docs/reference/metrics.md` come.

use std::fmt::Write as _;

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Prometheus' type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One line of the table.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// A sentence, the unit included.
    pub meaning: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], meaning: &'static str) -> Metric {
    Metric { name, kind, labels, meaning }
}

use Kind::{Counter, Gauge, Histogram};

pub const SOURCE_REQUESTS: Metric = metric(
    "jumpstream_source_requests_total",
    Counter,
    &["account", "endpoint", "outcome"],
    "Requests to the Directory Insights API that were answered or given up.",
);
pub const SOURCE_EVENTS: Metric = metric(
    "jumpstream_source_events_total",
    Counter,
    &["organization"],
    "Events that the API sent, duplicates included.",
);
pub const DUPLICATES: Metric = metric(
    "jumpstream_duplicates_total",
    Counter,
    &["organization"],
    "Events that the ledger already had: overlapping reads, nothing wrong in itself.",
);
pub const DELIVERED: Metric = metric(
    "jumpstream_delivered_events_total",
    Counter,
    &["organization", "sink", "delivery"],
    "Events that a sink acknowledged and whose checkpoint is durable; delivery is live, late, backfill or replay.",
);
pub const DEAD_LETTERS: Metric = metric(
    "jumpstream_dead_letters_total",
    Counter,
    &["organization", "reason"],
    "Events that a sink will never take and that went to the dead letters; reason is too_large_for_sink, too_large, malformed or refused.",
);
pub const CONTROL_DROPPED: Metric = metric(
    "jumpstream_control_dropped_total",
    Counter,
    &["type"],
    "Control records that were given up, since too many waited to be written or the brokers refused them; type is gap.opened, gap.closed, loss or heartbeat.",
);
pub const LAG: Metric = metric(
    "jumpstream_lag_seconds",
    Gauge,
    &["organization"],
    "Seconds from the edge to now, computed at the scrape, so a stuck stream's grows; before the first poll, since the stream was begun. The organization's worst stream.",
);
pub const NEWEST_EVENT: Metric = metric(
    "jumpstream_newest_event_timestamp_seconds",
    Gauge,
    &["organization"],
    "The newest event's own timestamp, in seconds since 1970. The organization's worst stream: the one whose newest event is oldest.",
);
pub const GAP: Metric = metric(
    "jumpstream_gap_seconds",
    Gauge,
    &["organization"],
    "Seconds of wanted time below the edge that have not been read yet. The organization's worst stream.",
);
pub const COUNTED_UNTIL: Metric = metric(
    "jumpstream_counted_until_timestamp_seconds",
    Gauge,
    &["organization"],
    "Up to here everything wanted was read and counted against the API at one age at least, as a Unix time. The organization's worst stream.",
);
pub const VERIFIED_UNTIL: Metric = metric(
    "jumpstream_verified_until_timestamp_seconds",
    Gauge,
    &["organization"],
    "Up to here everything wanted was read again at its last age and compared event by event, or can't be proven any more, as a Unix time. The organization's worst stream.",
);
pub const MISSING: Metric = metric(
    "jumpstream_missing_events",
    Gauge,
    &["organization"],
    "Events known to exist that were not delivered: the API counts them and does not show them.",
);
pub const RETENTION_LEFT: Metric = metric(
    "jumpstream_retention_left_seconds",
    Gauge,
    &["organization"],
    "Seconds until the API forgets the oldest wanted time that has not been read. The organization's worst stream.",
);
pub const LOST: Metric = metric(
    "jumpstream_lost_seconds",
    Gauge,
    &["organization"],
    "Seconds of wanted time that was read only when the API had forgotten it, as far as its retention is known, and that showed nothing then. The organization's worst stream.",
);
pub const STREAM_DEGRADED: Metric = metric(
    "jumpstream_stream_degraded",
    Gauge,
    &["organization"],
    "1 while a stream of the organization is blocked or not all right; /status says why.",
);
pub const LATENESS: Metric = metric(
    "jumpstream_event_lateness_seconds",
    Histogram,
    &["service"],
    "Seconds from an event's own timestamp to its admission, for live and late events; service is one that the API documents, else other.",
);
pub const COMMIT_DURATION: Metric = metric(
    "jumpstream_commit_duration_seconds",
    Histogram,
    &[],
    "Seconds from a batch's first delivery attempt until its checkpoint was durable, or until it was given up.",
);
pub const CREDENTIAL_VALID: Metric = metric(
    "jumpstream_credential_valid",
    Gauge,
    &["account"],
    "0 while the API refuses the account's credential, else 1; absent before the first answer.",
);
pub const PARTITIONS_OWNED: Metric = metric(
    "jumpstream_partitions_owned",
    Gauge,
    &[],
    "Partitions of the ledger topic that the group has given to this replica; absent with a local state.",
);
pub const STREAMS_OWNED: Metric =
    metric("jumpstream_streams_owned", Gauge, &[], "Streams that run in this replica; the others run elsewhere.");
pub const BUILD_INFO: Metric =
    metric("jumpstream_build_info", Gauge, &["version"], "Always 1; the release as a label.");
pub const RESIDENT_MEMORY: Metric =
    metric("process_resident_memory_bytes", Gauge, &[], "Resident memory of the process in bytes (Linux).");
pub const CPU: Metric = metric(
    "process_cpu_seconds_total",
    Counter,
    &[],
    "CPU time the process has used, user and system, in seconds (Linux).",
);
pub const START_TIME: Metric =
    metric("process_start_time_seconds", Gauge, &[], "When the process started, in seconds since 1970.");

/// All of them, in the page's order.
pub const TABLE: [&Metric; 24] = [
    &SOURCE_REQUESTS,
    &SOURCE_EVENTS,
    &DUPLICATES,
    &DELIVERED,
    &DEAD_LETTERS,
    &CONTROL_DROPPED,
    &LAG,
    &NEWEST_EVENT,
    &GAP,
    &COUNTED_UNTIL,
    &VERIFIED_UNTIL,
    &MISSING,
    &RETENTION_LEFT,
    &LOST,
    &STREAM_DEGRADED,
    &LATENESS,
    &COMMIT_DURATION,
    &CREDENTIAL_VALID,
    &PARTITIONS_OWNED,
    &STREAMS_OWNED,
    &BUILD_INFO,
    &RESIDENT_MEMORY,
    &CPU,
    &START_TIME,
];

/// Why the constructors below can't fail.
const SOUND: &str = "the table's names are valid and distinct";

impl Metric {
    pub(super) fn counter(&self, registry: &Registry) -> IntCounterVec {
        register(registry, IntCounterVec::new(self.opts(), self.labels).expect(SOUND))
    }

    pub(super) fn gauge(&self, registry: &Registry) -> GaugeVec {
        register(registry, self.unregistered_gauge())
    }

    /// For a collector that fills it at the scrape.
    pub(super) fn unregistered_gauge(&self) -> GaugeVec {
        GaugeVec::new(self.opts(), self.labels).expect(SOUND)
    }

    pub(super) fn histogram(&self, registry: &Registry, buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::new(self.name, self.meaning).buckets(buckets.to_vec());
        register(registry, HistogramVec::new(opts, self.labels).expect(SOUND))
    }

    pub(super) fn opts(&self) -> Opts {
        Opts::new(self.name, self.meaning)
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect(SOUND);
    collector
}

/// `docs/reference/metrics.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\nServed at `/metrics` of `server.listen`, in Prometheus' text format. Organizations stand by their id; \
         a replica exports the streams that it owns.\n\n\
         This page is made from the table in `src/telemetry/metrics/table.rs`: \
         `UPDATE_DOCS=1 cargo test --test it telemetry` writes it.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, meaning } in TABLE {
        let kind = format!("{kind:?}").to_lowercase();
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {meaning} |", labels.join(", "));
    }
    page
}
