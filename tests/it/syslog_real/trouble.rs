//! Whatever happens to the receiver and on the way to it: by RELP nothing is lost, ever; by TCP and TLS at most what had
//! been acknowledged a moment before, and how much that is is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock;
use jumpstream::record::Record;
use jumpstream::sink::Sink;

use super::certificate::Flaw;
use super::impostor::impostor;
use super::receiver::{Door, PLAIN, Receiver, Server, Wish};
use super::way::{Mode, Way};
use super::{awkward, deliver, open};
use crate::process::eventually;
use crate::random;

/// Disturbances in `make test` and in `make prove`.
const SAMPLE: usize = 7;
const ALL: usize = 100;
/// Events are delivered so many at once, in the sample and in the proof,
const BATCH: usize = 50;
const LARGE_BATCH: usize = 400;
/// so often.
const BEAT: Duration = Duration::from_millis(40);
/// What was acknowledged may be lost so long before its receiver dies: it was still in its memory or in the sockets'.
const MEMORY: Duration = Duration::from_secs(5);
/// And so long after we have seen it dead, since an acknowledgement may be told late on a busy machine.
const LATE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Disturbance {
    /// SIGTERM, and started again.
    Restart,
    /// SIGKILL, and started again.
    Kill,
    /// Frozen for a while.
    Pause,
    /// The connection is reset in the middle of a frame.
    Reset,
    /// Nothing goes through for a while, and no connection ends.
    Silence,
    /// Connections are refused for a while.
    Refused,
    /// Another takes its place, whose certificate has expired or is for another name.
    Expired,
    OtherName,
}

use Disturbance::*;

/// A delivery that was acknowledged.
struct Batch {
    first: usize,
    returned: Duration,
}

/// When a disturbance was ordered and when its effect was there.
struct Moment {
    kind: Disturbance,
    begun: Duration,
    done: Duration,
}

struct Sender {
    over: Arc<AtomicBool>,
    batches: Arc<Mutex<Vec<Batch>>>,
    task: tokio::task::JoinHandle<usize>,
}

impl Sender {
    /// Delivers one batch after the other until told that it is over, and one more.
    fn start(sink: Arc<dyn Sink>, seed: u64) -> Sender {
        let (over, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (until, log) = (over.clone(), batches.clone());
        let task = tokio::spawn(async move {
            let (mut rng, mut first) = (Rng::with_seed(seed), 0);
            let batch = if random::is_prove() { LARGE_BATCH } else { BATCH };
            let mut beat = tokio::time::interval(BEAT);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let last = until.load(Ordering::SeqCst);
                let records: Vec<Record> =
                    (first..first + batch).map(|number| awkward::event(number, 400, &mut rng)).collect();
                assert_eq!(deliver(&*sink, &records).await, []);
                log.lock().unwrap().push(Batch { first, returned: clock::uptime() });
                first += batch;
                if last {
                    return first;
                }
                beat.tick().await;
            }
        });
        Sender { over, batches, task }
    }

    fn count(&self) -> usize {
        self.batches.lock().unwrap().len()
    }

    /// Waits until it has got through again.
    async fn goes_on(&self) {
        let before = self.count();
        eventually("deliveries go on", async || (self.count() > before + 1).then_some(())).await;
    }
}

/// One run: what became of each event.
struct Run<'a> {
    receiver: &'a Receiver,
    door: Door,
    way: Way,
    sink: Arc<dyn Sink>,
    seed: u64,
    /// The ports of those who have no right to be there.
    impostors: Option<[u16; 2]>,
}

impl<'a> Run<'a> {
    async fn new(receiver: &'a Receiver, door: Door, seed: u64) -> Run<'a> {
        let way = Way::to(receiver.port(door)).await;
        let sink = open(&receiver.sink_at(door, way.port(), ""));
        let impostors = match door {
            Door::Tls | Door::RelpTls => {
                let flawed = [Flaw::Expired, Flaw::OtherName].map(|flaw| receiver.authority.flawed(flaw));
                Some([impostor(&flawed[0]).await, impostor(&flawed[1]).await])
            }
            _ => None,
        };
        Run { receiver, door, way, sink, seed, impostors }
    }

    async fn disturb(&self, kind: Disturbance, sender: &Sender, rng: &mut Rng) -> Moment {
        let pause = Duration::from_millis(rng.u64(50..800));
        let begun = clock::uptime();
        let mut done = None;
        match kind {
            Restart | Kill => {
                if kind == Kill {
                    self.receiver.kill().await
                } else {
                    self.receiver.terminate().await
                }
                done = Some(clock::uptime());
                self.receiver.start_again().await;
            }
            Pause => {
                self.receiver.pause().await;
                tokio::time::sleep(pause).await;
                self.receiver.unpause().await;
            }
            Reset => {
                self.way.cut_after(rng.u64(1..30_000));
                eventually("the way is cut", async || self.way.is_cut().then_some(())).await;
            }
            Silence => {
                self.way.set(Mode::Stopped);
                tokio::time::sleep(pause).await;
                self.way.set(Mode::Open);
            }
            Refused => {
                self.way.set(Mode::Closed);
                done = Some(clock::uptime());
                tokio::time::sleep(pause).await;
                self.way.set(Mode::Open);
            }
            Expired | OtherName => self.impersonate(kind).await,
        }
        let done = done.unwrap_or_else(clock::uptime);
        sender.goes_on().await;
        Moment { kind, begun, done }
    }

    /// Until it was turned away.
    async fn impersonate(&self, kind: Disturbance) {
        let impostors = self.impostors.expect("there are some where TLS is spoken");
        self.way.lead(impostors[usize::from(kind == OtherName)]);
        let said = eventually("the sink turns the impostor away", async || {
            self.sink.trouble().filter(|text| text.to_lowercase().contains("certificate"))
        });
        println!("{kind:?}: {}", said.await);
        self.way.lead(self.receiver.port(self.door));
    }

    /// Gives how many events were sent, and the disturbances with what each of them cost.
    async fn go(self, kinds: &[Disturbance], count: usize) -> Outcome {
        let mut rng = Rng::with_seed(self.seed);
        let sender = Sender::start(self.sink.clone(), self.seed);
        sender.goes_on().await;
        let mut moments = Vec::new();
        for number in 0..count {
            // Each kind at least once, where there are so many.
            let kind = if number < kinds.len() { kinds[number] } else { kinds[rng.usize(..kinds.len())] };
            moments.push(self.disturb(kind, &sender, &mut rng).await);
        }
        sender.over.store(true, Ordering::SeqCst);
        let sent = sender.task.await.unwrap();
        // The sink's last connection closes, and the receiver reads what is left.
        drop(self.sink);
        self.way.set(Mode::Closed);
        self.receiver.await_quiet(self.door).await;
        let (received, torn) = self.receiver.received();
        let mut copies = vec![0_usize; sent];
        for got in &received {
            let number: String = got.parameter("event-id").unwrap().chars().take_while(char::is_ascii_digit).collect();
            copies[number.parse::<usize>().unwrap()] += 1;
        }
        Outcome { sent, copies, torn, batches: std::mem::take(&mut sender.batches.lock().unwrap()), moments }
    }
}

struct Outcome {
    sent: usize,
    /// Of each event, by its number.
    copies: Vec<usize>,
    torn: usize,
    batches: Vec<Batch>,
    moments: Vec<Moment>,
}

impl Outcome {
    fn lost(&self) -> impl Iterator<Item = usize> {
        (0..self.sent).filter(|number| self.copies[*number] == 0)
    }

    fn repeated(&self) -> usize {
        self.copies.iter().map(|copies| copies.saturating_sub(1)).sum()
    }

    /// What each kind has cost.
    ///
    /// # Panics
    /// Where an event is lost that no disturbance explains: one that was acknowledged after it, or long before it.
    fn cost(&self) -> BTreeMap<Disturbance, Vec<usize>> {
        let mut cost: HashMap<usize, usize> = HashMap::new();
        for number in self.lost() {
            let batch = self.batches.iter().rfind(|batch| batch.first <= number).unwrap();
            let explains = |moment: &Moment, late: Duration| {
                let breaks = !matches!(moment.kind, Pause | Silence);
                breaks && (moment.begun.saturating_sub(MEMORY)..moment.done + late).contains(&batch.returned)
            };
            // The first that came after the acknowledgement, as far as we can tell which that is.
            let place = [Duration::ZERO, LATE]
                .iter()
                .find_map(|late| self.moments.iter().position(|moment| explains(moment, *late)));
            let place = place.unwrap_or_else(|| {
                panic!("event {number} is lost, acknowledged at {:?}, and nothing explains it", batch.returned)
            });
            *cost.entry(place).or_default() += 1;
        }
        let mut by_kind: BTreeMap<Disturbance, Vec<usize>> = BTreeMap::new();
        for (place, moment) in self.moments.iter().enumerate() {
            by_kind.entry(moment.kind).or_default().push(cost.get(&place).copied().unwrap_or(0));
        }
        by_kind
    }

    fn say(&self, server: Server, door: Door, seed: u64) {
        println!(
            "{server:?} {door:?}, seed {seed}: {} disturbances, {} events, lost {}, delivered again {}, torn lines {}",
            self.moments.len(),
            self.sent,
            self.lost().count(),
            self.repeated(),
            self.torn
        );
        for (kind, lost) in self.cost() {
            let (all, most) = (lost.iter().sum::<usize>(), lost.iter().max().unwrap());
            let hit = lost.iter().filter(|lost| **lost > 0).count();
            println!(
                "  {server:?} {door:?} {kind:?}: {} times, {hit} of them lost something, {all} events, at most {most}",
                lost.len()
            );
        }
    }
}

const ON_ANY_WAY: [Disturbance; 6] = [Restart, Kill, Pause, Reset, Silence, Refused];
const ON_TLS: [Disturbance; 8] = [Restart, Kill, Pause, Reset, Silence, Refused, Expired, OtherName];

async fn disturbed(server: Server, wish: Wish, doors: &[Door]) {
    let name = format!("{server:?} disturbed");
    // The proof is one for each door; a sample is shared by them.
    let count = if random::is_prove() { ALL } else { SAMPLE };
    for (place, door) in doors.iter().enumerate() {
        for seed in random::seeds(1, 1) {
            let Some(receiver) = Receiver::start(server, &name, wish).await else { return };
            let run = Run::new(&receiver, *door, seed).await;
            let kinds = if run.impostors.is_some() { &ON_TLS[..] } else { &ON_ANY_WAY[..] };
            let mut kinds = kinds.to_vec();
            // So that a short run has other kinds each time.
            Rng::with_seed(seed + place as u64).shuffle(&mut kinds);
            let outcome = run.go(&kinds, count / if random::is_prove() { 1 } else { doors.len().min(2) }).await;
            outcome.say(server, *door, seed);
            if matches!(door, Door::Relp | Door::RelpTls) {
                assert_eq!(outcome.lost().count(), 0, "{door:?}, seed {seed}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_relp_nothing_is_lost_whatever_happens_to_the_receiver() {
    disturbed(Server::Rsyslog, PLAIN, &[Door::Relp, Door::RelpTls]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tcp_and_tls_rsyslog_loses_at_most_what_it_had_acknowledged_and_not_written() {
    disturbed(Server::Rsyslog, PLAIN, &[Door::Tcp, Door::Tls]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tcp_and_tls_syslog_ng_loses_at_most_what_it_had_acknowledged_and_not_written() {
    disturbed(Server::SyslogNg, PLAIN, &[Door::Tcp, Door::Tls]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_of_the_receiver_costs_time_and_no_event() {
    let wish = Wish { slow: true, ..PLAIN };
    let Some(receiver) = Receiver::start(Server::Rsyslog, "a slow disk", wish).await else { return };
    let count = if random::is_prove() { 100_000 } else { 4_000 };
    let mut so_far = 0;
    for door in [Door::Tcp, Door::Tls, Door::Relp, Door::RelpTls] {
        let sink = open(&receiver.sink(door, ""));
        let mut rng = Rng::with_seed(7);
        for first in (0..count).step_by(1_000) {
            let records: Vec<Record> =
                (first..first + 1_000).map(|number| awkward::event(number, 400, &mut rng)).collect();
            assert_eq!(deliver(&*sink, &records).await, [], "{door:?}");
        }
        so_far += count;
        receiver.await_count(so_far).await;
        let (received, foreign) = receiver.received();
        assert_eq!((received.len(), foreign), (so_far, 0), "{door:?}");
        println!("a slow disk, {door:?}: {count} events, lost 0");
    }
}

/// What the guide warns of: RELP's acknowledgement says that rsyslog has the message, wherever it has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_rsyslog_acknowledges_out_of_its_memory_dies_with_it() {
    let wish = Wish { direct: false, ..PLAIN };
    let Some(receiver) = Receiver::start(Server::Rsyslog, "a queue in memory", wish).await else { return };
    let sink = open(&receiver.sink(Door::Relp, ""));
    let mut rng = Rng::with_seed(11);
    let records: Vec<Record> = (0..2_000).map(|number| awkward::event(number, 400, &mut rng)).collect();
    assert_eq!(deliver(&*sink, &records).await, []);
    receiver.kill().await;
    let written = receiver.count();
    println!("a queue in memory: 2,000 events acknowledged by RELP, {} lost with the server", 2_000 - written);
    assert!(written < 2_000, "it lost nothing: the guide's warning is not shown");
}
