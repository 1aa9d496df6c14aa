//! All that the emulator is while it runs: its data set, clock, keys, settings and journal.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use serde::Deserialize;

use super::dataset::Dataset;
use super::fault::Faults;
use super::journal::Journal;
use super::options::Options;
use super::page::Cache;
use super::time::{self, Clock, MILLISECOND, Span};

pub(super) struct World {
    pub options: Options,
    pub clock: Clock,
    pub pages: Cache,
    pub journal: Mutex<Journal>,
    pub faults: Mutex<Faults>,
    pub settings: RwLock<Settings>,
    dataset: RwLock<Dataset>,
    keys: RwLock<Vec<ApiKey>>,
    buckets: Mutex<HashMap<String, Bucket>>,
    turn: AtomicU64,
}

/// A key that is accepted.
#[derive(Clone)]
pub(super) struct ApiKey {
    text: String,
    /// The one that it sees; none sees all.
    pub organization: Option<usize>,
}

/// What can be set while it runs.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub date_offset: Span,
    pub rate_limit: f64,
    pub latency: Span,
    pub no_cursor: bool,
    pub repeat_cursor: bool,
}

/// What `POST /_emulator/settings` may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsChange {
    date_offset: Option<Span>,
    rate_limit: Option<f64>,
    latency: Option<Span>,
    no_cursor: Option<bool>,
    repeat_cursor: Option<bool>,
}

/// The requests a key has left.
struct Bucket {
    left: f64,
    at: Instant,
}

impl World {
    pub fn new(options: Options) -> World {
        // The data set hangs on this instant, so it is taken once and the clock starts when the data set is there.
        let now = time::nanos_of(options.clock.unwrap_or_else(jiff::Timestamp::now));
        let dataset = RwLock::new(Dataset::new(&options, now));
        let clock = Clock::starting_at(now);
        let settings = Settings {
            date_offset: options.date_offset,
            rate_limit: options.rate_limit,
            latency: options.latency,
            no_cursor: options.no_cursor,
            repeat_cursor: options.repeat_cursor,
        };
        World {
            dataset,
            pages: Cache::new(options.cached_pages),
            journal: Mutex::default(),
            faults: Mutex::new(Faults::new(options.seed, options.fault_share, options.faults.clone())),
            settings: RwLock::new(settings),
            keys: RwLock::new(
                options.keys.iter().map(|key| ApiKey { text: key.clone(), organization: None }).collect(),
            ),
            buckets: Mutex::default(),
            turn: AtomicU64::new(0),
            clock,
            options,
        }
    }

    /// The data set with all that has come up to `now`.
    pub fn dataset(&self, now: i64) -> RwLockReadGuard<'_, Dataset> {
        let dataset = self.dataset.read().unwrap_or_else(PoisonError::into_inner);
        if !dataset.is_behind(now) {
            return dataset;
        }
        drop(dataset);
        self.dataset_mut().arrive(now);
        self.dataset.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn dataset_mut(&self) -> RwLockWriteGuard<'_, Dataset> {
        self.dataset.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to which millisecond the replica whose turn it is shows events (`--replicas`, `--refresh`).
    pub fn visible_ms(&self, now: i64) -> i64 {
        let replicas = i64::from(self.options.replicas);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as i64 % replicas;
        (now - self.options.refresh.nanos() / replicas * turn).div_euclid(MILLISECOND)
    }

    pub fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, change: SettingsChange) {
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        settings.date_offset = change.date_offset.unwrap_or(settings.date_offset);
        settings.rate_limit = change.rate_limit.unwrap_or(settings.rate_limit);
        settings.latency = change.latency.unwrap_or(settings.latency);
        settings.no_cursor = change.no_cursor.unwrap_or(settings.no_cursor);
        settings.repeat_cursor = change.repeat_cursor.unwrap_or(settings.repeat_cursor);
    }

    /// None where it is refused.
    pub fn key(&self, text: &str) -> Option<ApiKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).iter().find(|known| known.text == text).cloned()
    }

    /// Puts `key` in place of `old` (the first), which is refused from now on.
    pub fn rotate(&self, old: Option<&str>, key: &str, organization: Option<usize>) {
        let key = ApiKey { text: key.to_owned(), organization };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        match keys.iter_mut().find(|known| old.is_none_or(|old| known.text == old)) {
            Some(known) => *known = key,
            None => keys.push(key),
        }
    }

    /// Takes one of the key's requests for this second, if there is one left.
    pub fn admits(&self, key: &str) -> bool {
        let limit = self.settings().rate_limit;
        if limit <= 0.0 {
            return true;
        }
        let room = limit.max(1.0);
        let now = Instant::now();
        let mut buckets = locked(&self.buckets);
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { left: room, at: now });
        bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * limit).min(room);
        bucket.at = now;
        let admitted = bucket.left >= 1.0;
        bucket.left -= f64::from(u8::from(admitted));
        admitted
    }
}

/// A panic elsewhere is that request's trouble, not the next one's.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
