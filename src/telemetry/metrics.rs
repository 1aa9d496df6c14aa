//! Prometheus metrics behind typed methods: no label is spelt where something is counted.
//!
//! # Invariants
//! Every metric stands in [`table`]. Labels are bounded. Counting an event is an atomic addition: handles are
//! resolved once.

mod process;
mod streams;
pub mod table;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, TextEncoder};

use crate::clock;
use crate::record::{Delivery, Reason};

use streams::Streams;
pub use streams::{Compared, StreamMetrics};

/// Bounds in seconds: a commit takes milliseconds, or as long as the far end is away.
const COMMIT_BUCKETS: [f64; 12] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];
/// Bounds in seconds, up to the last age.
const LATENESS_BUCKETS: [f64; 12] =
    [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 691_200.0];

/// The services that events are known to name, sorted; every other is `other`, for a label must be bounded.
const SERVICES: [&str; 28] = [
    "access_certification",
    "access_management",
    "adbridge_user",
    "ai_admin",
    "aigw",
    "alert",
    "alerts",
    "asset_management",
    "di_events",
    "directory",
    "genai",
    "generic_di",
    "ldap",
    "mdm",
    "notifications",
    "object_storage",
    "pam",
    "password_manager",
    "password_vault",
    "radius",
    "reports",
    "saas_app_management",
    "saas_management",
    "software",
    "sso",
    "systems",
    "workflows",
    "other",
];

/// All metrics of the process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    source_requests: IntCounterVec,
    source_events: IntCounterVec,
    duplicates: IntCounterVec,
    delivered: IntCounterVec,
    dead_letters: IntCounterVec,
    control_dropped: IntCounterVec,
    credential_valid: GaugeVec,
    partitions_owned: GaugeVec,
    streams_owned: GaugeVec,
    lateness: HistogramVec,
    /// By the place in [`SERVICES`]; made at a service's first event, so that silent ones stay out of the exposition.
    lateness_by_service: [OnceLock<Histogram>; SERVICES.len()],
    commit_duration: Histogram,
    streams: Streams,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let streams = Streams::new();
        registry.register(Box::new(streams.clone())).expect("the table's names are distinct");
        let process = process::Process::new().expect("the table's names are valid");
        registry.register(Box::new(process)).expect("the table's names are distinct");
        table::BUILD_INFO.gauge(&registry).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let no_labels: &[&str] = &[];
        let started = clock::wall() - clock::uptime();
        table::START_TIME.gauge(&registry).with_label_values(no_labels).set(started.as_millis() as f64 / 1e3);
        Metrics(Arc::new(Inner {
            source_requests: table::SOURCE_REQUESTS.counter(&registry),
            source_events: table::SOURCE_EVENTS.counter(&registry),
            duplicates: table::DUPLICATES.counter(&registry),
            delivered: table::DELIVERED.counter(&registry),
            dead_letters: table::DEAD_LETTERS.counter(&registry),
            control_dropped: table::CONTROL_DROPPED.counter(&registry),
            credential_valid: table::CREDENTIAL_VALID.gauge(&registry),
            partitions_owned: table::PARTITIONS_OWNED.gauge(&registry),
            streams_owned: table::STREAMS_OWNED.gauge(&registry),
            lateness: table::LATENESS.histogram(&registry, &LATENESS_BUCKETS),
            lateness_by_service: [const { OnceLock::new() }; SERVICES.len()],
            commit_duration: table::COMMIT_DURATION.histogram(&registry, &COMMIT_BUCKETS).with_label_values(no_labels),
            streams,
            registry,
        }))
    }

    /// The handle of an account, by its name in the configuration.
    pub fn account(&self, name: &str) -> AccountMetrics {
        AccountMetrics { metrics: self.clone(), account: name.into() }
    }

    /// The handle of an organization, by its id; resolve it once, not for each event.
    pub fn organization(&self, id: &str) -> OrganizationMetrics {
        OrganizationMetrics {
            source_events: self.0.source_events.with_label_values(&[id]),
            duplicates: self.0.duplicates.with_label_values(&[id]),
            metrics: self.clone(),
            organization: id.into(),
        }
    }

    /// So many partitions of the ledger topic are ours.
    pub fn set_partitions_owned(&self, partitions: usize) {
        let no_labels: &[&str] = &[];
        self.0.partitions_owned.with_label_values(no_labels).set(partitions as f64);
    }

    /// So many streams run here.
    pub fn set_streams_owned(&self, streams: usize) {
        let no_labels: &[&str] = &[];
        self.0.streams_owned.with_label_values(no_labels).set(streams as f64);
    }

    /// A control record of that type was given up.
    pub fn control_dropped(&self, kind: &'static str) {
        self.0.control_dropped.with_label_values(&[kind]).inc();
    }

    /// How long after its own timestamp a live or late event was admitted.
    pub fn lateness(&self, service: Option<&str>, late: Duration) {
        let other = SERVICES.len() - 1;
        let at = service.and_then(|name| SERVICES[..other].binary_search(&name).ok()).unwrap_or(other);
        let histogram =
            self.0.lateness_by_service[at].get_or_init(|| self.0.lateness.with_label_values(&[SERVICES[at]]));
        histogram.observe(late.as_secs_f64());
    }

    /// Measures a commit from now until the timer is dropped, whichever way that comes.
    pub fn commit_timer(&self) -> CommitTimer {
        CommitTimer { duration: self.0.commit_duration.clone(), begun: clock::uptime() }
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        // Only a writer can fail, and a String takes everything.
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).unwrap_or_default()
    }
}

/// An account's metrics.
#[derive(Clone)]
pub struct AccountMetrics {
    metrics: Metrics,
    account: Arc<str>,
}

impl AccountMetrics {
    /// A request ended: the endpoint and the outcome, as the source names them.
    pub fn request(&self, endpoint: &'static str, outcome: &'static str) {
        let labels = [&*self.account, endpoint, outcome];
        self.metrics.0.source_requests.with_label_values(&labels).inc();
    }

    /// The API took the account's credential, or refused it.
    pub fn set_credential_valid(&self, valid: bool) {
        self.metrics.0.credential_valid.with_label_values(&[&*self.account]).set(f64::from(u8::from(valid)));
    }
}

/// An organization's metrics.
#[derive(Clone)]
pub struct OrganizationMetrics {
    metrics: Metrics,
    organization: Arc<str>,
    source_events: IntCounter,
    duplicates: IntCounter,
}

impl OrganizationMetrics {
    /// The API sent this many events, duplicates included.
    pub fn read(&self, events: u64) {
        self.source_events.inc_by(events);
    }

    /// The ledger had this many of them already.
    pub fn duplicates(&self, events: u64) {
        self.duplicates.inc_by(events);
    }

    /// An event went to the dead letters.
    pub fn dead_letter(&self, reason: Reason) {
        self.metrics.0.dead_letters.with_label_values(&[&*self.organization, reason.as_str()]).inc();
    }

    /// The handle of a sink, by [`crate::sink::Sink::name`].
    pub fn sink(&self, name: &str) -> SinkMetrics {
        let counter = |delivery: Delivery| {
            self.metrics.0.delivered.with_label_values(&[&*self.organization, name, delivery.as_str()])
        };
        SinkMetrics { delivered: Delivery::ALL.map(counter) }
    }

    /// The gauges of one of the organization's streams, for as long as it lives.
    pub fn stream(&self) -> StreamMetrics {
        self.metrics.0.streams.begin(self.organization.clone())
    }
}

/// What a sink took of an organization's events.
#[derive(Clone)]
pub struct SinkMetrics {
    /// In the order of [`Delivery::ALL`], which is that of its variants.
    delivered: [IntCounter; 4],
}

impl SinkMetrics {
    /// This many events were acknowledged and their checkpoint is durable.
    pub fn delivered(&self, delivery: Delivery, events: u64) {
        self.delivered[delivery as usize].inc_by(events);
    }
}

/// Records a commit's duration when it is dropped.
#[must_use]
pub struct CommitTimer {
    duration: Histogram,
    begun: Duration,
}

impl Drop for CommitTimer {
    fn drop(&mut self) {
        self.duration.observe(clock::uptime().saturating_sub(self.begun).as_secs_f64());
    }
}
