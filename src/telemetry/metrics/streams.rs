//! Gauges of the streams that live, computed at the scrape: an organization's is its worst stream's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus::GaugeVec;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use crate::clock::{self, Time};
use crate::telemetry::metrics::table;

/// One stream's gauges; they leave the exposition when it is dropped.
#[derive(Debug)]
pub struct StreamMetrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    organization: Arc<str>,
    /// Where the edge lies on the axis of [`clock::uptime`], in nanoseconds: so lag grows by itself, and no wrong
    /// wall clock touches it.
    edge: AtomicI64,
    /// Nanoseconds since 1970; `i64::MIN` before the first event.
    newest: AtomicI64,
    gap_nanos: AtomicU64,
    /// Nanoseconds since 1970; `i64::MIN` before the first poll.
    counted_until: AtomicI64,
    verified_until: AtomicI64,
    missing: AtomicU64,
    /// `u64::MAX` before either is known.
    retention_left_nanos: AtomicU64,
    lost_nanos: AtomicU64,
    degraded: AtomicBool,
}

/// How far what was read has been compared with the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    pub counted_until: Option<Time>,
    pub verified_until: Option<Time>,
    /// Events.
    pub missing: u64,
    /// Until the API forgets the oldest time that has not been read.
    pub retention_left: Duration,
    /// Time that was read only when the API had forgotten it.
    pub lost: Duration,
}

impl StreamMetrics {
    /// The edge, and the server's time at this moment.
    pub fn set_edge(&self, edge: Time, now: Time) {
        let lag = nanos(now.since(edge));
        self.0.edge.store(nanos(clock::uptime()).saturating_sub(lag), Ordering::Relaxed);
    }

    /// An event with this timestamp was delivered; only the newest counts.
    pub fn saw(&self, timestamp: Time) {
        self.0.newest.fetch_max(timestamp.as_nanos(), Ordering::Relaxed);
    }

    /// How much wanted time below the edge has not been read.
    pub fn set_gap(&self, gap: Duration) {
        self.0.gap_nanos.store(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn set_compared(&self, compared: Compared) {
        let instant = |time: Option<Time>| time.map_or(i64::MIN, Time::as_nanos);
        self.0.counted_until.store(instant(compared.counted_until), Ordering::Relaxed);
        self.0.verified_until.store(instant(compared.verified_until), Ordering::Relaxed);
        self.0.missing.store(compared.missing, Ordering::Relaxed);
        self.0.retention_left_nanos.store(nanos(compared.retention_left).unsigned_abs(), Ordering::Relaxed);
        self.0.lost_nanos.store(nanos(compared.lost).unsigned_abs(), Ordering::Relaxed);
    }

    /// Whether the stream is blocked or not all right.
    pub fn set_degraded(&self, degraded: bool) {
        self.0.degraded.store(degraded, Ordering::Relaxed);
    }
}

/// Computes the gauges of all living streams.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    /// Locked for a scrape and where a stream begins, never by an event.
    living: Mutex<Vec<Weak<Figures>>>,
    lag: GaugeVec,
    newest: GaugeVec,
    gap: GaugeVec,
    counted_until: GaugeVec,
    verified_until: GaugeVec,
    missing: GaugeVec,
    retention_left: GaugeVec,
    lost: GaugeVec,
    degraded: GaugeVec,
}

impl Inner {
    fn gauges(&self) -> [&GaugeVec; 9] {
        let Inner { lag, newest, gap, counted_until, verified_until, missing, retention_left, lost, degraded, .. } =
            self;
        [lag, newest, gap, counted_until, verified_until, missing, retention_left, lost, degraded]
    }
}

impl Streams {
    pub fn new() -> Streams {
        Streams(Arc::new(Inner {
            living: Mutex::default(),
            lag: table::LAG.unregistered_gauge(),
            newest: table::NEWEST_EVENT.unregistered_gauge(),
            gap: table::GAP.unregistered_gauge(),
            counted_until: table::COUNTED_UNTIL.unregistered_gauge(),
            verified_until: table::VERIFIED_UNTIL.unregistered_gauge(),
            missing: table::MISSING.unregistered_gauge(),
            retention_left: table::RETENTION_LEFT.unregistered_gauge(),
            lost: table::LOST.unregistered_gauge(),
            degraded: table::STREAM_DEGRADED.unregistered_gauge(),
        }))
    }

    pub fn begin(&self, organization: Arc<str>) -> StreamMetrics {
        let figures = Arc::new(Figures {
            organization,
            edge: AtomicI64::new(nanos(clock::uptime())),
            newest: AtomicI64::new(i64::MIN),
            gap_nanos: AtomicU64::new(0),
            counted_until: AtomicI64::new(i64::MIN),
            verified_until: AtomicI64::new(i64::MIN),
            missing: AtomicU64::new(0),
            retention_left_nanos: AtomicU64::new(u64::MAX),
            lost_nanos: AtomicU64::new(u64::MAX),
            degraded: AtomicBool::new(false),
        });
        let mut living = self.0.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.retain(|stream| stream.strong_count() > 0);
        living.push(Arc::downgrade(&figures));
        StreamMetrics(figures)
    }
}

/// The worst of an organization's streams.
#[derive(Default)]
struct Worst {
    lag: f64,
    newest: Option<f64>,
    gap: f64,
    counted_until: Option<f64>,
    verified_until: Option<f64>,
    missing: u64,
    retention_left: Option<f64>,
    lost: Option<f64>,
    degraded: bool,
}

impl Worst {
    fn add(&mut self, figures: &Figures, uptime: i64) {
        let seconds = |nanos: i64| nanos as f64 / 1e9;
        let lag = seconds(uptime.saturating_sub(figures.edge.load(Ordering::Relaxed)));
        self.lag = self.lag.max(lag);
        self.gap = self.gap.max(figures.gap_nanos.load(Ordering::Relaxed) as f64 / 1e9);
        self.degraded |= figures.degraded.load(Ordering::Relaxed);
        self.missing += figures.missing.load(Ordering::Relaxed);
        let earliest = |worst: &mut Option<f64>, figure: &AtomicI64| {
            let nanos = figure.load(Ordering::Relaxed);
            if nanos != i64::MIN {
                *worst = Some(worst.map_or(seconds(nanos), |other| other.min(seconds(nanos))));
            }
        };
        earliest(&mut self.newest, &figures.newest);
        earliest(&mut self.counted_until, &figures.counted_until);
        earliest(&mut self.verified_until, &figures.verified_until);
        let left = figures.retention_left_nanos.load(Ordering::Relaxed);
        if left != u64::MAX {
            let left = left as f64 / 1e9;
            self.retention_left = Some(self.retention_left.map_or(left, |other| other.min(left)));
        }
        let lost = figures.lost_nanos.load(Ordering::Relaxed);
        if lost != u64::MAX {
            let lost = lost as f64 / 1e9;
            self.lost = Some(self.lost.map_or(lost, |other| other.max(lost)));
        }
    }
}

impl Collector for Streams {
    fn desc(&self) -> Vec<&Desc> {
        self.0.gauges().into_iter().flat_map(|gauge| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Inner { living, lag, newest, gap, counted_until, verified_until, missing, retention_left, lost, degraded } =
            &*self.0;
        // Held to the end: two scrapes at once must not fill the same gauges.
        let living = living.lock().unwrap_or_else(PoisonError::into_inner);
        let gauges = self.0.gauges();
        gauges.iter().for_each(|gauge| gauge.reset());
        let uptime = nanos(clock::uptime());
        let mut worst = BTreeMap::<Arc<str>, Worst>::new();
        for figures in living.iter().filter_map(Weak::upgrade) {
            worst.entry(figures.organization.clone()).or_default().add(&figures, uptime);
        }
        for (organization, worst) in &worst {
            let set = |gauge: &GaugeVec, value| gauge.with_label_values(&[organization]).set(value);
            set(lag, worst.lag);
            set(gap, worst.gap);
            set(degraded, f64::from(u8::from(worst.degraded)));
            set(missing, worst.missing as f64);
            for (gauge, seconds) in [
                (newest, worst.newest),
                (counted_until, worst.counted_until),
                (verified_until, worst.verified_until),
                (retention_left, worst.retention_left),
                (lost, worst.lost),
            ] {
                seconds.into_iter().for_each(|seconds| set(gauge, seconds));
            }
        }
        gauges.iter().flat_map(|gauge| gauge.collect()).collect()
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
