//! `core`: pages in memory → parser → event → plan and ledger (dedup on, digests) → record, on one core.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::emulator;
use jumpstream::event::Event;
use jumpstream::ledger::{Digest, FingerprintKey, Ledger};
use jumpstream::plan::read::PageEnd;
use jumpstream::plan::{Ages, Ask, Plan, Settings, Taken};
use jumpstream::record::{Delivery, Instants, Key, Record, raw};

use crate::process::thread_nanos;
use crate::{Options, Outcome, api, row, table};

/// A batch as the stream gathers it.
const BATCH_RECORDS: usize = 10_000;
const BATCH_BYTES: usize = 4 << 20;
/// The largest piece that a decompressed body comes in (tower-http's buffer).
const GZIP_PIECE: usize = 8_096;
const DAY: Duration = Duration::from_secs(86_400);

/// Pages in the pieces that the network gave them in.
struct Captured {
    pages: Vec<Vec<Bytes>>,
    /// The same in the pieces that they come in where they were compressed.
    gzip: Vec<Vec<Bytes>>,
    events: Vec<Event>,
    now: Time,
}

/// A part of the way, over all events: the processor time it takes, in nanoseconds.
type Stage = fn(&Captured) -> u64;

pub async fn run(options: &Options) -> Outcome<()> {
    let rounds = options.rounds(5);
    let captured = capture(options.events(100_000)).await?;
    let count = captured.events.len() as f64;
    let bytes: usize = captured.events.iter().map(|event| event.bytes().len()).sum();
    let stages: [(&str, Stage); 7] = [
        ("all of it", whole),
        ("page → events: JSON walked, fields and time read", |captured| parse(&captured.pages)),
        ("the same, in the pieces that gzip gives", |captured| parse(&captured.gzip)),
        ("identity and fingerprint (SipHash)", fingerprint),
        ("digest (SHA-256)", digest),
        ("plan and ledger, with fingerprint and digest", admit),
        ("record: value, key and headers", record),
    ];
    let mut nanos = vec![Vec::new(); stages.len()];
    for _ in 0..rounds {
        for (place, (_, stage)) in stages.iter().enumerate() {
            nanos[place].push(stage(&captured) as f64 / count);
        }
    }
    let mut rows = vec![row!["stage", "ns an event", "events/s on one core"]];
    for ((name, _), nanos) in stages.iter().zip(nanos) {
        let nanos = table::median(nanos);
        rows.push(row![name, format!("{nanos:.0}"), table::thousands(1e9 / nanos)]);
    }
    let title = format!(
        "core: {} events of {:.0} bytes on average, processor time of one thread, median of {} rounds",
        table::thousands(count),
        bytes as f64 / count,
        rounds
    );
    table::print(&title, &rows);
    Ok(())
}

/// Asks an emulator once for everything it holds.
async fn capture(events: u32) -> Outcome<Captured> {
    let emulator = emulator::start(emulator::Options {
        events,
        keys: vec!["jca_bench".to_owned()],
        cached_pages: 0,
        ..emulator::Options::default()
    })
    .await?;
    let now = Time::from_nanos(emulator.now().as_nanosecond() as i64);
    let (client, url) = (api::client()?, emulator.url());
    let (mut pages, mut all) = (Vec::new(), Vec::new());
    let mut from = now - DAY * 2;
    loop {
        let ask = format!("{{\"service\":[\"all\"],\"start_time\":\"{from}\",\"sort\":\"ASC\",\"limit\":10000}}");
        let mut pieces = Vec::new();
        api::page(&client, &url, &ask, |piece| pieces.push(piece)).await?;
        let before = all.len();
        api::events(pieces.iter().cloned(), |event| all.push(event))?;
        if all.len() - before < 10_000 {
            break;
        }
        pages.push(pieces);
        from = all.iter().filter_map(Event::time).max().unwrap_or(now) + Duration::from_millis(1);
    }
    emulator.stop().await;
    let mut events = Vec::new();
    for pieces in &pages {
        api::events(pieces.iter().cloned(), |event| events.push(event))?;
    }
    let gzip = pages.iter().map(|pieces| recut(pieces)).collect();
    Ok(Captured { pages, gzip, events, now })
}

fn recut(pieces: &[Bytes]) -> Vec<Bytes> {
    let page: Vec<u8> = pieces.iter().flatten().copied().collect();
    page.chunks(GZIP_PIECE).map(Bytes::copy_from_slice).collect()
}

fn timed(work: impl FnOnce()) -> u64 {
    let begun = thread_nanos();
    work();
    thread_nanos() - begun
}

fn parse(pages: &[Vec<Bytes>]) -> u64 {
    timed(|| {
        for pieces in pages {
            api::events(pieces.iter().cloned(), |event| drop(black_box(event))).expect("it was parsed before");
        }
    })
}

fn fingerprint(captured: &Captured) -> u64 {
    let key = FingerprintKey([7; 16]);
    timed(|| {
        for event in &captured.events {
            black_box(key.fingerprint(&event.identity()));
        }
    })
}

fn digest(captured: &Captured) -> u64 {
    let mut digest = Digest::default();
    timed(|| {
        captured.events.iter().for_each(|event| digest.add(event));
        black_box(digest);
    })
}

fn admit(captured: &Captured) -> u64 {
    let mut state = State::new(captured.now);
    timed(|| {
        let mut bytes = 0;
        for (place, event) in captured.events.iter().enumerate() {
            black_box(state.plan.admit(&mut state.ledger, event, captured.now));
            bytes += event.bytes().len();
            if bytes >= BATCH_BYTES || (place + 1) % BATCH_RECORDS == 0 {
                bytes = 0;
                state.checkpoint();
            }
        }
    })
}

fn record(captured: &Captured) -> u64 {
    let organization = "5f0000000000000000000000".into();
    let events = captured.events.clone();
    timed(|| {
        let format = |event| raw::format(event, Delivery::Backfill, captured.now, &organization);
        let mut events = events.into_iter().map(format).peekable();
        while events.peek().is_some() {
            consume(&events.by_ref().take(BATCH_RECORDS).collect::<Vec<_>>());
        }
    })
}

/// Looks at everything that a sink looks at.
fn consume(records: &[Record]) {
    let instants = Instants::of(records);
    for record in records {
        black_box(record.key(Key::Actor));
        for header in record.headers_with(instants.text(record.ingested_at)) {
            black_box(header);
        }
    }
}

fn whole(captured: &Captured) -> u64 {
    let organization = "5f0000000000000000000000".into();
    let mut state = State::new(captured.now);
    timed(|| {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for pieces in &captured.pages {
            api::events(pieces.iter().cloned(), |event| {
                let Taken::New(delivery) = state.plan.admit(&mut state.ledger, &event, captured.now) else { return };
                bytes += event.bytes().len();
                batch.push(raw::format(event, delivery, captured.now, &organization));
                if bytes >= BATCH_BYTES || batch.len() >= BATCH_RECORDS {
                    bytes = 0;
                    state.checkpoint();
                    consume(&std::mem::take(&mut batch));
                }
            })
            .expect("it was parsed before");
            state.page_read();
        }
    })
}

/// A plan in the middle of a gap.
struct State {
    plan: Plan,
    ledger: Ledger,
    now: Time,
    pages: u32,
}

impl State {
    fn new(now: Time) -> State {
        let ledger = Ledger::begin(FingerprintKey([7; 16]), now, now - DAY * 2);
        // Comparing with the API would ask between the pages.
        let ages = Ages::of([]);
        let settings =
            Settings { interval: Duration::from_secs(15), page_size: 10_000, windows: 4, ages, retention: None };
        let mut state = State { plan: Plan::new(settings), ledger, now, pages: 0 };
        state.plan.next(&mut state.ledger, now);
        let end = PageEnd { limit: Some(10_000), elements: 0, cursor: None, sent_at: now };
        state.plan.page_read(&mut state.ledger, end, now);
        state.ask();
        state
    }

    fn ask(&mut self) {
        if let Ask::Interval { .. } = self.plan.next(&mut self.ledger, self.now) {
            self.plan.interval_refused();
            self.plan.next(&mut self.ledger, self.now);
        }
    }

    fn checkpoint(&mut self) {
        self.ledger.forget_settled(self.now, self.now);
        black_box(self.ledger.checkpoint());
    }

    fn page_read(&mut self) {
        self.pages += 1;
        let cursor = Some(format!("[{}]", self.pages));
        let end = PageEnd { limit: Some(10_000), elements: 10_000, cursor, sent_at: self.now };
        self.plan.page_read(&mut self.ledger, end, self.now);
        self.ask();
    }
}
