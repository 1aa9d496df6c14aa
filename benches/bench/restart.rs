//! `restart`: from the start of the process to its first poll, with a ledger of 90 days at a million events a day.
//!
//! The ledger is made by the book that jumpstream itself keeps, checkpoint by checkpoint as polls every 15 s would; what
//! of its entries still lives is written straight to the broker: the topic as compaction leaves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jumpstream::clock::{self, Time};
use jumpstream::ledger::{
    Checkpoint, Coverage, Digest, FingerprintKey, Hindrances, HourTotal, Minute, Standing, StreamKey, UNTIMED, hour_of,
    minutes_of,
};
use jumpstream::store::kafka::Layout;
use jumpstream::store::kafka::book::Book;
use jumpstream::store::kafka::format::Entry;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::api::Api;
use crate::broker::Broker;
use crate::process::{self, Process};
use crate::setup::{Out, Setup, ledger_of};
use crate::{Options, Outcome, row, table};

/// Fingerprints this old have been verified and are forgotten.
const LAST_AGE: Duration = Duration::from_secs(8 * 86_400);
const DAYS: u64 = 90;
/// A day.
const EVENTS: u32 = 1_000_000;
const POLL: Duration = Duration::from_secs(15);
/// One in so many comes up to a day late.
const LATE: u64 = 500;
const ROUNDS: usize = 7;
const PARTITIONS: u32 = 8;
/// As jumpstream makes the topic.
const LEDGER: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "3600000"), ("segment.bytes", "33554432")];
const PATIENCE: Duration = Duration::from_secs(120);

/// A ledger topic, and how long the starts with it took.
struct Ledger {
    words: String,
    topic: String,
    entries: usize,
    bytes: usize,
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    peak_bytes: Vec<f64>,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let (folder, events, rounds) = (tempfile::tempdir()?, options.events(EVENTS), options.rounds(ROUNDS));
    let api = Api::start_with(&["--events=1000".to_owned()])?;
    let organizations = api.organizations().await?;
    let stream = StreamKey { organization: organizations.concat(), service: "all".to_owned() };
    eprintln!("restart: making a ledger of {DAYS} days");
    let full = tokio::task::spawn_blocking(move || Feed::fill(stream, events)).await?;
    let words = format!("{DAYS} days of {} events each", table::thousands(f64::from(events)));
    let mut ledgers = [
        write(&broker, "bench-restart-full", words, &full).await?,
        write(&broker, "bench-restart-empty", "nothing but its format".to_owned(), &[]).await?,
    ];
    drop(full);
    for number in 1..=rounds {
        for ledger in &mut ledgers {
            let topic = ledger.topic.clone();
            let mut setup = Setup::of(&api, &broker, Out::ExactlyOnce, &topic);
            setup.organizations = &organizations;
            start(&setup, folder.path(), number, ledger).await?;
            eprintln!("restart: {number} of {rounds}, {}: {:.2} s", ledger.words, ledger.seconds[number - 1]);
        }
    }
    show(&ledgers, rounds);
    Ok(())
}

/// Starts it, waits for its first poll and kills it.
async fn start(setup: &Setup<'_>, folder: &Path, number: usize, ledger: &mut Ledger) -> Outcome<()> {
    let (mut command, _) = setup.command(folder)?;
    // The dead one of the last round would be waited for in its group.
    command.env("JUMPSTREAM_STATE_GROUP", format!("{}-{number}", setup.topic)).stdin(Stdio::null());
    let (pages, since, begun) = (setup.api.page_count().await?, setup.api.now().await?, Instant::now());
    let process = Process::start(&mut command)?;
    while setup.api.page_count().await? == pages {
        if begun.elapsed() > PATIENCE {
            return Err(format!("no poll within {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ledger.seconds.push(setup.api.first_page_since(since).await?);
    ledger.cpu_seconds.push(process::cpu_seconds(process.id())?);
    ledger.peak_bytes.push(process::memory(process.id(), "VmHWM").unwrap_or(0) as f64);
    Ok(())
}

fn show(ledgers: &[Ledger], rounds: usize) {
    let mut rows = vec![row![
        "the ledger topic holds",
        "entries",
        "MiB",
        "start → first poll, s",
        "least",
        "most",
        "CPU s",
        "peak MiB"
    ]];
    for ledger in ledgers {
        let mib = |bytes: f64| format!("{:.0}", bytes / f64::from(1 << 20));
        let seconds = |seconds: f64| format!("{seconds:.2}");
        rows.push(row![
            ledger.words,
            table::thousands(ledger.entries as f64),
            mib(ledger.bytes as f64),
            seconds(table::median(ledger.seconds.clone())),
            seconds(ledger.seconds.iter().copied().fold(f64::INFINITY, f64::min)),
            seconds(ledger.seconds.iter().copied().fold(0.0, f64::max)),
            seconds(table::median(ledger.cpu_seconds.clone())),
            mib(table::median(ledger.peak_bytes.clone())),
        ]);
    }
    table::print(&format!("restart: median of {rounds} starts each, of one stream, its topic compacted"), &rows);
    println!(
        "\n  no goal; after a crash the group's 6 s come before it, which these starts, each a first member, don't have"
    );
}

/// A ledger topic with these entries, each partition begun as jumpstream begins it.
async fn write(broker: &Broker, topic: &str, words: String, entries: &[(u32, Entry)]) -> Outcome<Ledger> {
    let ledger = ledger_of(topic);
    broker.create(topic).await?;
    broker.create_with(&ledger, PARTITIONS as i32, &LEDGER).await?;
    let producer: BaseProducer = broker.config("read_committed").set("enable.idempotence", "true").create()?;
    let format = Layout::of(PARTITIONS).entry();
    let begun = (0..PARTITIONS).map(|partition| (partition, &format));
    for (partition, entry) in begun.chain(entries.iter().map(|(partition, entry)| (*partition, entry))) {
        let mut message = BaseRecord::<[u8], [u8]>::to(&ledger).key(&entry.key).partition(partition as i32);
        message.payload = entry.value.as_deref();
        while let Err((_, again)) = producer.send(message) {
            producer.poll(Duration::from_millis(10));
            message = again;
        }
    }
    producer.flush(PATIENCE)?;
    let bytes = entries.iter().map(|(_, entry)| entry.size()).sum();
    let (seconds, cpu_seconds, peak_bytes) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Ledger { words, topic: topic.to_owned(), entries: entries.len(), bytes, seconds, cpu_seconds, peak_bytes })
}

/// A stream as its ledger would feed the book, with fingerprints and without events.
struct Feed {
    book: Book,
    random: fastrand::Rng,
    minutes: BTreeMap<Minute, Vec<u64>>,
    /// The entries that live, with the order in which they were written.
    live: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    written: u64,
    begun: Time,
}

impl Feed {
    /// The entries that live after [`DAYS`], up to now, in their order, each with its partition.
    fn fill(stream: StreamKey, events_a_day: u32) -> Vec<(u32, Entry)> {
        let length = Duration::from_secs(DAYS * 86_400);
        let partition = Layout::of(PARTITIONS).partition(&stream);
        let end = clock::wall();
        let begun = end - length;
        let mut feed = Feed {
            book: Book::new(stream),
            random: fastrand::Rng::with_seed(1),
            minutes: BTreeMap::new(),
            live: BTreeMap::new(),
            written: 0,
            begun,
        };
        let mut now = begun;
        while now < end {
            now = now + POLL;
            feed.poll(now, u64::from(events_a_day));
        }
        let mut live: Vec<_> = feed.live.into_iter().collect();
        live.sort_by_key(|(_, (order, _))| *order);
        live.into_iter().map(|(key, (_, value))| (partition, Entry { key, value: Some(value) })).collect()
    }

    fn poll(&mut self, now: Time, events_a_day: u64) {
        let count = (events_a_day * POLL.as_secs() + self.random.u64(..86_400)) / 86_400;
        let minute = now.as_secs().div_euclid(60);
        let mut delivered = BTreeMap::<Minute, Vec<u64>>::new();
        for _ in 0..count {
            let late = if self.random.u64(..LATE) == 0 { self.random.i64(0..1_440) } else { 0 };
            delivered.entry(minute - late).or_default().push(self.random.u64(..));
        }
        self.commit(now, delivered);
    }

    fn commit(&mut self, now: Time, delivered: BTreeMap<Minute, Vec<u64>>) {
        let due = self.book.due(now);
        let forgotten = UNTIMED + 1..(now - LAST_AGE).as_secs().div_euclid(60);
        self.minutes = self.minutes.split_off(&forgotten.end);
        for (minute, fingerprints) in &delivered {
            self.minutes.entry(*minute).or_default().extend(fingerprints);
        }
        let total = HourTotal { events: self.written, shown: self.written, late: 0, digest: Digest([1; 32]) };
        let whole = |hour| {
            let minutes = self.minutes.range(minutes_of(hour));
            minutes.map(|(minute, all)| (*minute, all.clone())).collect::<BTreeMap<_, _>>()
        };
        let touched = delivered.keys().map(|minute| hour_of(*minute));
        let checkpoint = Checkpoint {
            key: FingerprintKey([7; 16]),
            first_run: self.begun,
            start: self.begun,
            edge: Some(now),
            coverage: Coverage::of([self.begun..now]),
            standing: Standing::default(),
            oldest_shown: Duration::ZERO,
            hindrances: Hindrances::default(),
            hours: touched.chain(due.iter().copied()).map(|hour| (hour, total)).collect(),
            whole: due.iter().map(|hour| (*hour, whole(*hour))).collect(),
            delivered,
            forgotten: vec![forgotten],
            // They are kept for longer than this ledger is.
            dropped: Vec::new(),
        };
        for Entry { key, value } in self.book.entries(&checkpoint, now) {
            self.written += 1;
            match value {
                Some(value) => drop(self.live.insert(key, (self.written, value))),
                None => drop(self.live.remove(&key)),
            }
        }
    }
}
