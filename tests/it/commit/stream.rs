//! The real stream against the emulator, its future dropped at any moment and begun anew from the same store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use jumpstream::clock::{self, Time};
use jumpstream::emulator::{self, Emulator, Kind, Truth};
use jumpstream::event::Event;
use jumpstream::ledger::StreamKey;
use jumpstream::plan::{Ages, Settings};
use jumpstream::record::Record;
use jumpstream::sink::{self, Refused, Sink};
use jumpstream::source::{Base, Client, KeySource, Options};
use jumpstream::stream::{Faults, Room, Stream, Telemetry};
use jumpstream::telemetry::metrics::Metrics;
use jumpstream::telemetry::status::StreamStatus;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::timeout;

use super::route;
use super::world::World;
use crate::random;

const SAMPLE: u64 = 8;
const ALL: u64 = 600;
const AT_ONCE: usize = 8;
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a life may take to crash.
const PATIENCE: Duration = Duration::from_secs(2);
const HISTORY: u32 = 600;

/// One life of a stream: its future, and what it tells.
pub(super) struct Life {
    pub stream: Stream,
    pub end: watch::Sender<bool>,
    pub status: watch::Receiver<StreamStatus>,
    pub covered: watch::Receiver<Option<Time>>,
}

pub(super) fn life(emulator: &Emulator, key_file: &std::path::Path, world: &Arc<World>, page_size: u32) -> Life {
    let base = Base::Endpoint { url: emulator.url(), insecure: false };
    let options = Options { requests_per_second: 10_000.0, ..Options::new(base, KeySource::File(key_file.into())) };
    let metrics = Metrics::new();
    let organization = emulator.organizations()[0].clone();
    let (end, shutdown) = watch::channel(false);
    let (status, shown) = watch::channel(StreamStatus::starting("main", &organization, "all"));
    let (covered, reached) = watch::channel(None);
    let telemetry = Telemetry {
        account: metrics.account("main"),
        organization: metrics.organization(&organization),
        sinks: Vec::new(),
        metrics,
        status,
        covered,
        watch: None,
        faults: Faults::default(),
    };
    let stream = Stream {
        key: StreamKey { organization, service: "all".to_owned() },
        client: Client::new(options).unwrap(),
        names_organization: false,
        settings: Settings {
            interval: Duration::from_secs(1),
            page_size,
            windows: 3,
            ages: Ages::default(),
            retention: None,
        },
        start: Arc::new(|now| now - Duration::from_secs(2 * 3_600)),
        route: Arc::new(route(world, 1, true, false)),
        telemetry,
        room: Room::default(),
        idle_save: Duration::ZERO,
        shutdown,
    };
    Life { stream, end, status: shown, covered: reached }
}

pub(super) async fn emulator(seed: u64, options: emulator::Options) -> (Emulator, tempfile::NamedTempFile) {
    // A second installation is refused, and nothing is lost by that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let span = "1h".parse().unwrap();
    let emulator = emulator::start(emulator::Options { seed, events: HISTORY, span, ..options }).await.unwrap();
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "jca_emulator").unwrap();
    (emulator, key)
}

fn hash(value: &Bytes) -> String {
    Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs one life to its end: until all before `goal` is covered and committed.
async fn catch_up(life: Life, goal: Time) -> StreamStatus {
    let Life { stream, end, status, mut covered } = life;
    let told = async {
        let reached = covered.wait_for(|covered| covered.is_some_and(|covered| covered >= goal)).await.is_ok();
        end.send_replace(true);
        reached
    };
    let (ended, reached) = timeout(DEADLINE, async { tokio::join!(stream.run(), told) })
        .await
        .unwrap_or_else(|_| panic!("it does not catch up: {:?}", status.borrow()));
    ended.unwrap();
    assert!(reached);
    status.borrow().clone()
}

/// Asserts that all the API showed of the time before `goal` is in the sink, and nothing that it never showed.
fn judge(note: &str, emulator: &Emulator, world: &World, goal: Time, in_flight: &BTreeMap<String, u64>) {
    let truth: Vec<Truth> = emulator.truth(None);
    let mut came = BTreeMap::<String, u64>::new();
    world.values(0).iter().for_each(|value| *came.entry(hash(value)).or_default() += 1);
    for Truth { sha256, timestamp, .. } in &truth {
        let wanted = Time::parse(timestamp).is_some_and(|time| time < goal);
        let count = came.get(sha256).copied().unwrap_or(0);
        assert!(!wanted || count > 0, "{note}: the event of {timestamp} is lost");
        let allowed = 1 + in_flight.get(sha256).copied().unwrap_or(0);
        assert!(count <= allowed, "{note}: the event of {timestamp} came {count} times, {allowed} allowed");
    }
    let known: BTreeSet<&String> = truth.iter().map(|truth| &truth.sha256).collect();
    assert!(came.keys().all(|hash| known.contains(hash)), "{note}: an event that the API never showed");
}

async fn run(seed: u64) -> (u64, u64, u64) {
    let mut rng = Rng::with_seed(seed);
    let options = emulator::Options {
        rate: 20.0,
        duplicates: 0.1,
        burst: rng.u32(..60),
        future: rng.u32(..4),
        no_limit_header: rng.u8(..4) == 0,
        fault_share: if rng.bool() { 0.0 } else { 0.03 },
        faults: vec![Kind::InternalError, Kind::CutBody, Kind::EmptyBody, Kind::WrongCount],
        ..emulator::Options::default()
    };
    let (emulator, key) = emulator(seed, options).await;
    let world = World::new();
    world.trouble(Rng::with_seed(rng.u64(..)), 15);
    let page_size = rng.u32(5..60);
    let (mut crashes, mut failures) = (0, 0);
    let mut in_flight = BTreeMap::<String, u64>::new();
    // Without room each batch is a few events.
    let room = Room::of(if rng.bool() { 0 } else { 1 << 20 });
    for _ in 0..rng.u32(4..12) {
        let Life { mut stream, end: _end, .. } = life(&emulator, key.path(), &world, page_size);
        stream.room = room.clone();
        tokio::select! {
            // What has caught up has little left that could crash.
            () = async { drop(timeout(PATIENCE, world.crash(rng.u32(1..150))).await) } => crashes += 1,
            ended = stream.run() => {
                assert!(ended.is_err(), "seed {seed}: it ended without being told to");
                failures += 1;
            }
        }
        world.unsettled().iter().for_each(|value| *in_flight.entry(hash(value)).or_default() += 1);
    }
    world.calm();
    let goal = clock::wall();
    catch_up(life(&emulator, key.path(), &world, page_size), goal).await;
    judge(&format!("seed {seed}"), &emulator, &world, goal, &in_flight);
    let repeats = world.values(0).len() - world.values(0).iter().map(hash).collect::<BTreeSet<_>>().len();
    (crashes, failures, repeats as u64)
}

#[tokio::test]
async fn a_stream_dropped_at_any_moment_loses_nothing_and_repeats_what_was_in_flight() {
    let seeds: Vec<u64> = random::seeds(SAMPLE, ALL).collect();
    let (mut crashes, mut failures, mut repeats) = (0, 0, 0);
    for some in seeds.chunks(AT_ONCE) {
        for (crashed, failed, repeated) in futures::future::join_all(some.iter().map(|seed| run(*seed))).await {
            crashes += crashed;
            failures += failed;
            repeats += repeated;
        }
    }
    println!("{crashes} crashes, {failures} failed commits, {repeats} repeats");
    if random::chosen_seed().is_none() {
        assert!(crashes > 5 && failures > 5 && repeats > 0, "nothing happened");
    }
}

/// Takes everything and never says that it has.
#[derive(Default)]
struct Hole {
    /// Of the records of each batch that came.
    sizes: Mutex<Vec<Vec<usize>>>,
}

#[async_trait]
impl Sink for Hole {
    fn name(&self) -> &'static str {
        "hole"
    }

    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, sink::Error> {
        self.sizes.lock().unwrap().push(records.iter().map(|record| record.value.len()).collect());
        std::future::pending().await
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn streams_whose_sink_waits_share_the_room_and_each_has_a_batch() {
    const STREAMS: usize = 20;
    const ROOM: usize = 512 << 10;
    let (emulator, key) = emulator(1, emulator::Options { rate: 20.0, ..emulator::Options::default() }).await;
    let (hole, room) = (Arc::new(Hole::default()), Room::of(ROOM));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let Life { mut stream, end, .. } = life(&emulator, key.path(), &World::new(), 1_000);
        let route = Arc::get_mut(&mut stream.route).unwrap();
        (route.sinks, stream.room) = (vec![hole.clone() as Arc<dyn Sink>], room.clone());
        running.spawn(async move { (stream.run().await, end) });
    }
    // The first batch of each is small; what it gathers behind it wants room.
    let all_came = async {
        while hole.sizes.lock().unwrap().len() < STREAMS || room.left() > ROOM / 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, all_came).await.expect("no stream waits for another's room, and all is used");
    let sizes = hole.sizes.lock().unwrap().concat();
    let (held, largest, free) = (sizes.iter().sum::<usize>(), *sizes.iter().max().unwrap(), 32 << 10);
    println!("{STREAMS} batches hold {held} bytes");
    assert!(held <= ROOM + STREAMS * (free + largest), "more than there is room for");
    running.shutdown().await;
    let given_back = async {
        while room.left() < ROOM {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, given_back).await.expect("a batch that is gone keeps no room");
}

#[tokio::test]
async fn counting_that_always_fails_holds_no_gap_up() {
    let (emulator, key) = emulator(1, emulator::Options::default()).await;
    let order = r#"{"kind":"internal_error","count":100000,"path":"/events/interval"}"#;
    let url = format!("{}/_emulator/faults", emulator.url());
    reqwest::Client::new().post(url).body(order).send().await.unwrap().error_for_status().unwrap();
    let world = World::new();
    let goal = clock::wall();
    catch_up(life(&emulator, key.path(), &world, 100), goal).await;
    judge("no counting", &emulator, &world, goal, &BTreeMap::new());
}

#[tokio::test]
async fn what_a_poll_brings_is_delivered_though_the_edge_stands_still() {
    let (emulator, key) = emulator(1, emulator::Options { rate: 20.0, ..emulator::Options::default() }).await;
    let world = World::new();
    let Life { stream, end, mut covered, .. } = life(&emulator, key.path(), &world, 1_000);
    let reading = tokio::spawn(stream.run());
    timeout(DEADLINE, covered.wait_for(Option::is_some)).await.expect("it catches up").unwrap();
    // The API's clock turns out to be behind: until it has passed the edge again, no poll covers anything.
    let url = format!("{}/_emulator/settings", emulator.url());
    let behind = reqwest::Client::new().post(url).body(r#"{"date_offset":"-110s"}"#);
    behind.send().await.unwrap().error_for_status().unwrap();
    // Nine answers later every sample is of the new kind.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let then = clock::wall();
    let newest = || {
        let times = world.values(0).into_iter().rev().take(50).filter_map(|value| Event::parse(value).ok()?.time());
        times.max().unwrap_or_default()
    };
    let delivered = async {
        while newest() < then {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(20), delivered).await.expect("the newest events are delivered");
    end.send_replace(true);
    timeout(DEADLINE, reading).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn gap_events_are_those_of_gaps_and_duplicates_those_that_the_ledger_had() {
    let (emulator, key) = emulator(1, emulator::Options { rate: 20.0, ..emulator::Options::default() }).await;
    let world = World::new();
    let opened = clock::wall();
    let status = catch_up(life(&emulator, key.path(), &world, 1_000), opened + Duration::from_secs(3)).await;
    assert!(status.delivered.live >= 20, "{status:?}");
    // The first poll looks back a minute, so that much of the history is no gap's.
    let older = |age: u64| {
        let before = opened - Duration::from_secs(age);
        emulator.truth(None).iter().filter(|truth| Time::parse(&truth.timestamp).unwrap() < before).count() as u64
    };
    assert!((older(62)..=older(55)).contains(&status.gap_events_read), "{} {status:?}", older(60));
    assert_eq!(status.gap_events_expected, None, "where there is no gap nothing is expected");
    // Polls overlap by a minute, so each of the first seconds' events is seen again.
    let delivered = world.values(0).len() as u64;
    assert_eq!(delivered, status.delivered.live + status.delivered.late + status.delivered.backfill);
    assert!(status.duplicates > 0);
}
