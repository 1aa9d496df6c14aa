//! `kafka`: the emulator → the released binary → real Kafka, exactly once and at least once, against librdkafka alone
//! with the same bytes, with and without transactions.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::api::{Api, Dataset};
use crate::bare::{self, Mode, Producer};
use crate::broker::{Broker, PARTITIONS};
use crate::process::{Process, Taken};
use crate::setup::{Out, Setup, ledger_of};
use crate::{Options, Outcome, row, table};

const EVENTS: u32 = 1_000_000;
const ROUNDS: usize = 3;

/// What a round measures, one after the other; each round begins with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Ours(Out),
    Alone(Mode),
    /// Pages that are thrown away: what the emulator can give at all.
    Download,
}

const SUBJECTS: [Subject; 5] = [
    Subject::Ours(Out::ExactlyOnce),
    Subject::Ours(Out::AtLeastOnce),
    Subject::Alone(Mode::Transactions),
    Subject::Alone(Mode::Plain),
    Subject::Download,
];
/// Places in [`SUBJECTS`].
const EXACTLY_ONCE: usize = 0;
const AT_LEAST_ONCE: usize = 1;
const TRANSACTIONS: usize = 2;
const PLAIN: usize = 3;
const DOWNLOAD: usize = 4;

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// Of our process: from its first request for a page until the last event can be read.
    wall_seconds: f64,
    /// Until that first request.
    start_seconds: f64,
    cpu_seconds: f64,
    broker_cpu: f64,
    emulator_cpu: f64,
    peak_bytes: u64,
    transactions: u64,
}

type Round = [Figures; SUBJECTS.len()];

/// Everything that a round needs.
struct Stage<'a> {
    broker: &'a Broker,
    api: &'a Api,
    dataset: &'a Dataset,
    folder: &'a Path,
    requests: String,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (events, counted) = (options.events(EVENTS), options.rounds(ROUNDS));
    for incompressible in [false, true] {
        let kind = if incompressible { "incompressible" } else { "compressible" };
        eprintln!("kafka: making {events} {kind} events");
        let days = events.div_ceil(100_000).max(1);
        let dataset =
            Dataset { days, later_days: 9, incompressible, cached_pages: events / 2_000 + 100, ..Dataset::of(events) };
        let api = Api::start(&dataset).await?;
        let requests = folder.path().join("requests").display().to_string();
        let stage = Stage { broker: &broker, api: &api, dataset: &dataset, folder: folder.path(), requests };
        let mut producer = stage.warm_up(kind).await?;
        let mut rounds = Vec::new();
        for number in 1..=counted {
            let mut round = Round::default();
            for turn in 0..SUBJECTS.len() {
                let place = (number + turn) % SUBJECTS.len();
                let topic = format!("bench-{kind}-{number}-{place}");
                round[place] = stage.measure(SUBJECTS[place], &topic, &mut producer).await?;
                eprintln!(
                    "kafka: {kind}, round {number} of {counted}: {}: {:.1} s",
                    words(SUBJECTS[place]),
                    round[place].wall_seconds
                );
            }
            rounds.push(round);
        }
        show(&rounds, producer.records as f64, kind);
    }
    Ok(())
}

impl Stage<'_> {
    /// Makes the emulator's pages, lets Java compile and learns what is asked for; nothing of it is counted.
    async fn warm_up(&self, kind: &str) -> Outcome<Producer> {
        let since = self.api.now().await?;
        let topic = format!("bench-{kind}-warm");
        eprintln!("kafka: {kind}, warming up");
        self.broker.create(&topic).await?;
        self.run_ours(Out::ExactlyOnce, &topic).await?;
        // Once it is counted, record by record, that what we compare is what was delivered.
        let (records, _) = self.broker.read_committed(&topic, PARTITIONS)?;
        self.clear(Out::ExactlyOnce, &topic).await?;
        std::fs::write(&self.requests, self.api.pages_since(since).await?)?;
        let mut producer = Producer::start(&self.api.url, &self.requests, &self.broker.bootstrap)?;
        if (records, producer.records) != (u64::from(self.dataset.events), u64::from(self.dataset.events)) {
            let counts = format!("jumpstream delivered {records} and librdkafka has {}", producer.records);
            return Err(format!("{counts} of {} events: no comparison", self.dataset.events).into());
        }
        self.alone(Mode::Plain, &format!("{topic}-alone"), &mut producer).await?;
        Ok(producer)
    }

    async fn measure(&self, subject: Subject, topic: &str, producer: &mut Producer) -> Outcome<Figures> {
        let (emulator, brokers) = (self.api.cpu_seconds()?, self.broker.cpu_seconds()?);
        let figures = match subject {
            Subject::Ours(out) => {
                self.broker.create(topic).await?;
                let figures = self.run_ours(out, topic).await?;
                self.clear(out, topic).await?;
                figures
            }
            Subject::Alone(mode) => self.alone(mode, topic, producer).await?,
            Subject::Download => Figures::of(bare::measure_download(&self.api.url, &self.requests).await?),
        };
        let emulator_cpu = self.api.cpu_seconds()? - emulator;
        Ok(Figures { emulator_cpu, broker_cpu: self.broker.cpu_seconds()? - brokers, ..figures })
    }

    async fn run_ours(&self, out: Out, topic: &str) -> Outcome<Figures> {
        let mut setup = Setup::of(self.api, self.broker, out, topic);
        setup.poll = format!("{{start: \"{}\", interval: 1s}}", self.dataset.start());
        // There is one stream; so each transaction has one mark in the ledger topic, by which they are counted.
        setup.partitions = 1;
        let (mut command, _) = setup.command(self.folder)?;
        let (since, begun) = (self.api.now().await?, Instant::now());
        let running = Process::start(command.arg("--until-caught-up").stdin(Stdio::null()))?;
        let running = tokio::spawn(running.wait(begun));
        // It goes on until a poll has covered the time it began at, an interval after the last event has arrived.
        let grown = self.broker.watch(topic, || running.is_finished()).await?;
        let (taken, status) = running.await??;
        if !status.success() {
            return Err(format!("jumpstream ended with {status}").into());
        }
        let start_seconds = self.api.first_page_since(since).await?;
        let transactions = match out {
            Out::ExactlyOnce => self.broker.markers(&ledger_of(topic), setup.partitions as i32)?,
            _ => 0,
        };
        let events = u64::from(self.dataset.events);
        // What ends a transaction takes an offset in each partition too.
        if !(events..=events + transactions * PARTITIONS as u64).contains(&grown.offsets) {
            return Err(format!("{} offsets for {events} events: no comparison", grown.offsets).into());
        }
        let wall_seconds = (grown.last - begun).as_secs_f64() - start_seconds;
        Ok(Figures { wall_seconds, start_seconds, transactions, ..Figures::of(taken) })
    }

    async fn alone(&self, mode: Mode, topic: &str, producer: &mut Producer) -> Outcome<Figures> {
        self.broker.create(topic).await?;
        let (taken, transactions) = producer.produce(mode, topic)?;
        let offsets = self.broker.count(topic)?;
        if !(producer.records..=producer.records + transactions * PARTITIONS as u64).contains(&offsets) {
            return Err(format!("librdkafka alone: {offsets} offsets for {} events", producer.records).into());
        }
        self.broker.delete(topic).await?;
        Ok(Figures { transactions, ..Figures::of(taken) })
    }

    async fn clear(&self, out: Out, topic: &str) -> Outcome<()> {
        self.broker.delete(topic).await?;
        match out {
            Out::ExactlyOnce => self.broker.delete(&ledger_of(topic)).await,
            _ => Ok(()),
        }
    }
}

impl Figures {
    fn of(Taken { wall_seconds, cpu_seconds, peak_bytes }: Taken) -> Figures {
        Figures { wall_seconds, cpu_seconds, peak_bytes, ..Figures::default() }
    }
}

fn words(subject: Subject) -> &'static str {
    match subject {
        Subject::Ours(Out::ExactlyOnce) => "emulator → jumpstream → Kafka, exactly once",
        Subject::Ours(_) => "emulator → jumpstream → Kafka, at least once",
        Subject::Alone(Mode::Transactions) => "librdkafka alone → Kafka, in transactions",
        Subject::Alone(Mode::Plain) => "librdkafka alone → Kafka, without",
        Subject::Download => "emulator → a client that throws away",
    }
}

fn show(rounds: &[Round], events: f64, kind: &str) {
    let median = |figure: &dyn Fn(&Round) -> f64| table::median(rounds.iter().map(figure).collect());
    let mut rows = vec![row![
        "",
        "events/s",
        "÷ in transactions",
        "÷ without",
        "own CPU s/M",
        "broker CPU s/M",
        "emulator CPU s/M",
        "transactions",
        "peak MiB"
    ]];
    for (place, subject) in SUBJECTS.into_iter().enumerate() {
        let per_million =
            |figure: &dyn Fn(&Figures) -> f64| format!("{:.2}", median(&|round| figure(&round[place])) / events * 1e6);
        let ratio = |to: usize| format!("{:.2}", median(&|round| round[to].wall_seconds / round[place].wall_seconds));
        let transactions = median(&|round| round[place].transactions as f64);
        let is_ours = matches!(subject, Subject::Ours(_));
        rows.push(row![
            words(subject),
            table::thousands(events / median(&|round| round[place].wall_seconds)),
            ratio(TRANSACTIONS),
            ratio(PLAIN),
            per_million(&|figures| figures.cpu_seconds),
            if place == DOWNLOAD { "—".to_owned() } else { per_million(&|figures| figures.broker_cpu) },
            if is_ours || place == DOWNLOAD { per_million(&|figures| figures.emulator_cpu) } else { "—".to_owned() },
            if transactions > 0.0 { table::thousands(transactions) } else { "—".to_owned() },
            if is_ours {
                format!("{:.0}", median(&|round| round[place].peak_bytes as f64) / f64::from(1 << 20))
            } else {
                "—".to_owned()
            },
        ]);
    }
    let title = format!(
        "kafka: {} {kind} events, each figure the median of {} rounds, ratios round by round",
        table::thousands(events),
        rounds.len()
    );
    table::print(&title, &rows);
    // Of the processor: 4.5 s where librdkafka alone takes 1.9 s in transactions, and 7.5 s where it takes 4.3 s.
    let (ratio_goal, cpu_goal) = if kind == "compressible" { ("0.65", "2.4") } else { ("0.8", "1.7") };
    let all = |place: usize| move |round: &Round| round[place].start_seconds + round[place].wall_seconds;
    println!(
        "\n  goals, exactly once: ≥ {ratio_goal} of librdkafka in transactions, with ≤ {cpu_goal} times its own CPU: it is {:.2} times",
        median(&|round| round[EXACTLY_ONCE].cpu_seconds / round[TRANSACTIONS].cpu_seconds)
    );
    println!(
        "  events/s count from the first request for a page; the start before it takes {:.1} s exactly once, {:.1} s at \
         least once.\n  With it exactly once is {:.2} of librdkafka in transactions, at least once {:.2} of it without",
        median(&|round| round[EXACTLY_ONCE].start_seconds),
        median(&|round| round[AT_LEAST_ONCE].start_seconds),
        median(&|round| round[TRANSACTIONS].wall_seconds / all(EXACTLY_ONCE)(round)),
        median(&|round| round[PLAIN].wall_seconds / all(AT_LEAST_ONCE)(round)),
    );
    let share = |place: usize| median(&|round| round[place].emulator_cpu / all(place)(round) * 100.0);
    println!(
        "  the emulator takes {:.0} % of a core beside exactly once, {:.0} % beside at least once, {:.0} % at its ceiling",
        share(EXACTLY_ONCE),
        share(AT_LEAST_ONCE),
        share(DOWNLOAD),
    );
}
