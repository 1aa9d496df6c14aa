//! `kill -9` at any moment, with faults on and events coming: nothing is lost, and only the batch in flight comes twice.
//!
//! Most kills are aimed: they fall as soon as something of a batch can be seen, while its checkpoint isn't durable
//! yet. What one process wrote must then look like this: whatever a later process wrote again is the very end of it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock;
use jumpstream::emulator::{Emulator, Options};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::kafka::{Kafka, unique};
use crate::process::tally::{Tally, sha256};
use crate::process::{DEADLINE, EVENTS, Home, Settings, emulate};
use crate::random;
use crate::syslog_real::receiver::{Door, PLAIN, Receiver, Server};

/// Kills in `make test` and in `make prove`.
const SAMPLE: usize = 5;
const ALL: usize = 25;
/// So many of [`ALL`] must have left a repeat or a torn line, or the moments were not well chosen.
const BITE: usize = 5;
/// What the stream commits at once, at most.
const BATCH: usize = 10_000;
const PARTITIONS: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_file_lacks_nothing_and_repeats_only_what_was_in_flight() {
    for seed in random::seeds(1, 1) {
        let emulator = emulate(awkward(seed)).await;
        let home = Home::new(Settings { poll: POLL, ..Settings::of(&emulator) });
        let place = Place::File(home.path(EVENTS));
        kill_and_compare(&emulator, &home, place, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_topic_lacks_nothing_and_repeats_only_what_was_in_flight() {
    let Some(kafka) = Kafka::shared("kill -9 and Kafka").await else { return };
    for seed in random::seeds(1, 1) {
        let emulator = emulate(awkward(seed)).await;
        let topic = unique("killed");
        kafka.create_topic(&topic, PARTITIONS, &[]).await;
        let broker = kafka.bootstrap();
        let sinks = format!("[{{type: kafka, brokers: [\"{broker}\"], topic: {topic}, delivery: at_least_once}}]");
        let home = Home::new(Settings { poll: POLL, sinks: &sinks, ..Settings::of(&emulator) });
        let watch = ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
        kill_and_compare(&emulator, &home, Place::Topic { kafka, topic, watch }, seed).await;
    }
}

/// By TCP too: what was sent when a process dies, its system still sends.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_syslog_receiver_lacks_nothing_and_is_repeated_only_what_was_in_flight() {
    let doors = [Door::Relp, Door::Tls, Door::Tcp, Door::RelpTls];
    for door in if random::is_prove() { &doors[..] } else { &doors[..2] } {
        for seed in random::seeds(1, 1) {
            let Some(receiver) = Receiver::start(Server::Rsyslog, "kill -9 and syslog", PLAIN).await else { return };
            let emulator = emulate(awkward(seed)).await;
            // The largest event is larger than a message may be by default.
            let sinks = format!("[{}]", receiver.sink(*door, ", max_message_bytes: 900000"));
            let home = Home::new(Settings { poll: POLL, sinks: &sinks, ..Settings::of(&emulator) });
            println!("{door:?}:");
            let place = Place::Receiver { receiver: Box::new(receiver), door: *door };
            kill_and_compare(&emulator, &home, place, seed).await;
        }
    }
}

const POLL: &str = "{interval: 1s, start: 2h, page_size: 5000}";

/// Events keep coming, with every fault that passes by itself.
pub fn awkward(seed: u64) -> Options {
    Options {
        seed,
        events: 20_000,
        span: "1h".parse().unwrap(),
        rate: 400.0,
        ties: 0.05,
        duplicates: 0.01,
        late_share: 0.05,
        late_max: "5s".parse().unwrap(),
        gzip: true,
        fault_share: 0.08,
        slow_body: "1s".parse().unwrap(),
        ..Options::default()
    }
}

/// Where the events go.
enum Place {
    File(PathBuf),
    Topic { kafka: &'static Kafka, topic: String, watch: BaseConsumer },
    Receiver { receiver: Box<Receiver>, door: Door },
}

/// What one process wrote into one file or partition, in order.
pub type Lane = Vec<String>;

impl Place {
    /// Grows with what is delivered.
    fn length(&self) -> u64 {
        match self {
            Place::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            // One partition is answered faster than three.
            Place::Topic { topic, watch, .. } => watch.fetch_watermarks(topic, 0, DEADLINE).unwrap().1 as u64,
            Place::Receiver { receiver, .. } => receiver.length(),
        }
    }

    /// How many lines there are when all that a process has sent is there.
    async fn lines(&self, home: &Home) -> usize {
        match self {
            Place::File(_) => home.lines(EVENTS).len(),
            Place::Topic { .. } => 0,
            Place::Receiver { receiver, door } => {
                receiver.await_quiet(*door).await;
                receiver.count()
            }
        }
    }

    fn is_torn(&self) -> bool {
        match self {
            Place::File(path) => std::fs::read(path).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n')),
            Place::Topic { .. } | Place::Receiver { .. } => false,
        }
    }

    /// Everything delivered, and the same by the process that wrote it and by lane.
    async fn delivered(&self, home: &Home, lives: &[Life]) -> (Vec<String>, HashMap<(usize, i32), Lane>) {
        let mut lanes: HashMap<(usize, i32), Lane> = HashMap::new();
        let mut all = Vec::new();
        let mut take = |lines: Vec<String>| {
            for (at, line) in lines.into_iter().enumerate() {
                let life = lives.iter().take_while(|life| life.lines <= at).count();
                lanes.entry((life, 0)).or_default().push(sha256(&line));
                all.push(line);
            }
        };
        match self {
            Place::File(_) => take(home.lines(EVENTS)),
            Place::Receiver { receiver, door } => {
                receiver.await_quiet(*door).await;
                let (received, foreign) = receiver.received();
                assert_eq!(foreign, 0, "lines that are no messages");
                take(received.into_iter().map(|got| got.text).collect());
            }
            Place::Topic { kafka, topic, .. } => {
                for message in kafka.read_all(topic).await {
                    // The producer's own clock, which is ours: a process stamps nothing before it was started.
                    let stamp = message.timestamp.unwrap();
                    let life = lives.iter().take_while(|life| life.next_began < stamp).count();
                    lanes.entry((life, message.partition)).or_default().push(sha256(message.text()));
                    all.push(message.text().to_owned());
                }
            }
        }
        (all, lanes)
    }
}

/// How a process ended that was killed.
struct Life {
    /// Whole lines in the file.
    lines: usize,
    torn: bool,
    /// When its successor was started, in milliseconds since 1970.
    next_began: i64,
}

async fn kill_and_compare(emulator: &Emulator, home: &Home, place: Place, seed: u64) {
    let kills = if random::is_prove() { ALL } else { SAMPLE };
    let mut rng = Rng::with_seed(seed);
    let mut lives = Vec::new();
    for _ in 0..kills {
        live_and_die(home, &place, &mut rng).await;
        lives.push(Life {
            lines: place.lines(home).await,
            torn: place.is_torn(),
            next_began: clock::wall().as_millis(),
        });
    }
    let until = emulator.now();
    home.catch_up().await;

    let (all, lanes) = place.delivered(home, &lives).await;
    let tally = Tally::of(&emulator.truth(Some(until)), &emulator.truth(None), &all);
    assert_eq!((tally.lost, tally.foreign), (0, 0), "{tally:?}, seed {seed}");
    let repeats = repeats(&lanes, kills);
    let bitten = (0..kills).filter(|life| repeats[*life] > 0 || lives[*life].torn).count();
    let torn = lives.iter().filter(|life| life.torn).count();
    println!(
        "{kills} kills, seed {seed}: {} events, lost {}, delivered again {}; {bitten} kills left a repeat or a torn \
         line ({torn} torn), the largest batch in flight had {} events",
        tally.true_events,
        tally.lost,
        tally.repeated,
        repeats.iter().max().unwrap()
    );
    if random::is_prove() && random::chosen_seed().is_none() {
        assert!(bitten >= BITE, "only {bitten} of {kills} kills left a repeat or a torn line: the test did not bite");
    }
}

/// Starts a process and kills it: mostly as soon as something of a batch is there, else at any moment.
async fn live_and_die(home: &Home, place: &Place, rng: &mut Rng) {
    let before = tokio::task::block_in_place(|| place.length());
    let mut process = home.start(&[]);
    if rng.f32() < 0.7 {
        let flight = Duration::from_micros(rng.u64(0..1_000));
        tokio::task::block_in_place(|| {
            let deadline = clock::uptime() + DEADLINE;
            // Without a pause: what is seen late is committed.
            while place.length() <= before {
                assert!(clock::uptime() < deadline, "nothing was delivered:\n{}", process.log());
                std::thread::sleep(Duration::from_micros(100));
            }
            std::thread::sleep(flight);
        });
    } else {
        tokio::time::sleep(Duration::from_millis(rng.u64(50..3_000))).await;
    }
    assert!(process.is_running(), "it ended by itself:\n{}", process.log());
    process.kill();
}

/// By process, how many of its events were delivered again by a later one.
///
/// # Panics
/// Where they aren't the very end of what it wrote to its lanes, are more than a batch, or it wrote one twice itself.
pub fn repeats(lanes: &HashMap<(usize, i32), Lane>, kills: usize) -> Vec<usize> {
    let mut later: HashSet<&str> = HashSet::new();
    let mut repeats = vec![0; kills + 1];
    for life in (0..=kills).rev() {
        let own: Vec<&Lane> = lanes.iter().filter(|((each, _), _)| *each == life).map(|(_, lane)| lane).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        for event in own.iter().copied().flatten() {
            assert!(seen.insert(event), "process {life} delivered an event twice by itself");
        }
        for lane in own {
            let again: Vec<bool> = lane.iter().map(|event| later.contains(event.as_str())).collect();
            let first = again.iter().position(|again| *again).unwrap_or(again.len());
            assert!(again[first..].iter().all(|again| *again), "process {life}: not only its last batch came again");
            repeats[life] += again.len() - first;
        }
        assert!(repeats[life] <= BATCH, "process {life}: {} events came again, more than a batch", repeats[life]);
        later.extend(seen);
    }
    repeats
}

#[test]
fn a_repeat_from_before_the_last_batch_is_seen() {
    let lane = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect::<Lane>();
    let of = |first: &[&str], second: &[&str]| HashMap::from([((0, 0), lane(first)), ((1, 0), lane(second))]);
    assert_eq!(repeats(&of(&["a", "b", "c"], &["b", "x", "c"]), 1), [2, 0]);
    assert!(std::panic::catch_unwind(|| repeats(&of(&["a", "b", "c"], &["b", "x"]), 1)).is_err());
    assert!(std::panic::catch_unwind(|| repeats(&of(&["a", "a"], &[]), 1)).is_err());
}
