//! What jumpstream is compared with: a client that throws pages away, and librdkafka alone.
//!
//! Each runs in a process of its own, so that its processor time is its own.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jumpstream::app::syslog_settings;
use jumpstream::clock::Time;
use jumpstream::config::{self, Config, Environment};
use jumpstream::record::{Delivery, Key, Record, raw};
use jumpstream::sink::Sink as _;
use jumpstream::sink::syslog::SyslogSink;
use jumpstream::store::kafka::{TRANSACTION_BYTES, TRANSACTION_RECORDS};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::process::{self, Process, Taken};
use crate::setup::ledger_of;
use crate::{Outcome, api};

pub const DOWNLOAD: &str = "download";
pub const PRODUCE: &str = "produce";
pub const DELIVER: &str = "deliver";
/// For everything that the brokers are asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for the pages that the file `requests` names, one after the other, and throws them away.
pub async fn download(url: &str, requests: &str) -> Outcome<()> {
    let (requests, client) = (std::fs::read_to_string(requests)?, api::client()?);
    let (mut bytes, mut pieces) = (0, 0);
    for request in requests.lines() {
        api::page(&client, url, request, |piece| {
            bytes += piece.len();
            pieces += 1;
        })
        .await?;
    }
    println!("{bytes} {pieces}");
    Ok(())
}

/// How librdkafka alone is to produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In transactions as large as the largest of jumpstream.
    Transactions,
    Plain,
}

/// Produces what those pages hold, with librdkafka alone: the same values, keys and headers.
///
/// Everything is in memory before it says how much that is. Then each line on standard input, a mode and a topic, is
/// answered with the seconds and the seconds of processor time that it took, and the number of transactions.
pub async fn produce(url: &str, requests: &str, broker: &str) -> Outcome<()> {
    let records = records(url, requests).await?;
    println!("{}", records.len());
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (mode, topic) = line.split_once(' ').ok_or("no topic")?;
        let (begun, cpu) = (Instant::now(), process::cpu_seconds(std::process::id())?);
        let transactions = match mode {
            "Transactions" => send_in_transactions(broker, topic, &records)?,
            _ => send_plain(broker, topic, &records)?,
        };
        let wall = begun.elapsed().as_secs_f64();
        println!("{wall} {} {transactions}", process::cpu_seconds(std::process::id())? - cpu);
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Delivers what those pages hold to a syslog sink, from memory: the sink by itself.
///
/// As [`produce`]; a line is the number of records that are delivered at once and the sink's part of a configuration,
/// and is answered with seconds, seconds of processor time, and how long a delivery took at the median and at p99.
pub async fn deliver(url: &str, requests: &str) -> Outcome<()> {
    let records = records(url, requests).await?;
    println!("{}", records.len());
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (batch, sink) = line.split_once(' ').ok_or("no sink")?;
        let sink = syslog_sink(sink)?;
        let (begun, cpu) = (Instant::now(), process::cpu_seconds(std::process::id())?);
        let mut deliveries = Vec::new();
        for batch in records.chunks(batch.parse()?) {
            let delivery = Instant::now();
            if let Some(refused) = sink.deliver(batch).await?.first() {
                return Err(format!("a record is refused: {}", refused.explanation).into());
            }
            deliveries.push(delivery.elapsed().as_secs_f64());
        }
        let wall = begun.elapsed().as_secs_f64();
        let cpu = process::cpu_seconds(std::process::id())? - cpu;
        sink.close().await;
        deliveries.sort_by(f64::total_cmp);
        let quantile = |share: f64| deliveries[((deliveries.len() - 1) as f64 * share) as usize];
        println!("{wall} {cpu} {} {}", quantile(0.5), quantile(0.99));
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn syslog_sink(sink: &str) -> Outcome<SyslogSink> {
    let text =
        format!("accounts: [{{region: us, api_key: {{file: key}}}}]\nsinks: [{sink}]\ndead_letter: {{file: dead}}\n");
    let (config, _) = Config::parse("bench", &text, &Environment::default()).map_err(|faults| faults.to_string())?;
    match config.sinks.first() {
        Some(config::Sink::Syslog(sink)) => Ok(SyslogSink::new(syslog_settings(sink))),
        _ => Err(format!("no syslog sink: {sink}").into()),
    }
}

async fn records(url: &str, requests: &str) -> Outcome<Vec<Record>> {
    let client = api::client()?;
    let (mut records, organization) = (Vec::new(), "organization".into());
    for request in std::fs::read_to_string(requests)?.lines() {
        let mut pieces = Vec::new();
        api::page(&client, url, request, |piece| pieces.push(piece)).await?;
        let record = |event| records.push(raw::format(event, Delivery::Backfill, Time::default(), &organization));
        api::events(pieces, record)?;
    }
    Ok(records)
}

/// librdkafka as it comes, with what jumpstream promises (`acks`, idempotence) and its compression.
fn config(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("compression.type", "lz4");
    config.set("acks", "all").set("enable.idempotence", "true").set("partitioner", "murmur2_random");
    config
}

fn send_plain(broker: &str, topic: &str, records: &[Record]) -> Outcome<u64> {
    let producer: BaseProducer<Refused> = config(broker).create_with_context(Refused::default())?;
    records.iter().try_for_each(|record| send(&producer, topic, record, None))?;
    producer.flush(PATIENCE)?;
    producer.context().outcome()
}

/// What was given up of what was sent: a transaction says so when it is committed, a plain producer only here.
#[derive(Default)]
struct Refused(Mutex<Option<KafkaError>>);

impl Refused {
    fn outcome(&self) -> Outcome<u64> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.map_or(Ok(0), |error| Err(format!("librdkafka alone gave a record up: {error}").into()))
    }
}

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

/// A transaction is full as one of jumpstream's is.
fn send_in_transactions(broker: &str, topic: &str, records: &[Record]) -> Outcome<u64> {
    let producer: BaseProducer = config(broker).set("transactional.id", format!("{topic}-alone")).create()?;
    producer.init_transactions(PATIENCE)?;
    // Records of an exactly-once sink say which ledger they were written with.
    let ledger = ledger_of(topic);
    let mut rest = records;
    let mut transactions = 0;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let fits = bytes < TRANSACTION_BYTES;
            bytes += record.value.len();
            fits
        };
        let (some, others) = rest.split_at(rest.iter().take(TRANSACTION_RECORDS).take_while(fits).count());
        producer.begin_transaction()?;
        some.iter().try_for_each(|record| send(&producer, topic, record, Some(&ledger)))?;
        producer.commit_transaction(PATIENCE)?;
        transactions += 1;
        rest = others;
    }
    Ok(transactions)
}

fn send<C: ProducerContext<DeliveryOpaque = ()>>(
    producer: &BaseProducer<C>,
    topic: &str,
    record: &Record,
    ledger: Option<&str>,
) -> Outcome<()> {
    let mut message = BaseRecord::to(topic).payload(&record.value[..]).headers(headers(record, ledger));
    message.key = record.key(Key::Actor);
    while let Err((error, again)) = producer.send(message) {
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        producer.poll(Duration::from_millis(10));
        message = again;
    }
    Ok(())
}

fn headers(record: &Record, ledger: Option<&str>) -> OwnedHeaders {
    let headers = record.headers().fold(OwnedHeaders::new_with_capacity(8), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_bytes()) })
    });
    match ledger {
        Some(ledger) => headers.insert(Header { key: "ledger", value: Some(ledger) }),
        None => headers,
    }
}

/// [`download`] in a process of its own.
pub async fn measure_download(url: &str, requests: &str) -> Outcome<Taken> {
    process::run(own().args([DOWNLOAD, url, requests]).stdout(Stdio::null())).await
}

/// [`produce`] in a process of its own.
pub struct Producer {
    /// How many records it holds.
    pub records: u64,
    process: Process,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Producer {
    pub fn start(url: &str, requests: &str, broker: &str) -> Outcome<Producer> {
        let mut command = own();
        command.args([PRODUCE, url, requests, broker]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let orders = process.0.stdin.take().ok_or("no pipe")?;
        let mut answers = BufReader::new(process.0.stdout.take().ok_or("no pipe")?).lines();
        let records = answers.next().ok_or("the producer ended early")??.parse()?;
        Ok(Producer { records, process, orders, answers })
    }

    /// What it took to produce all of it, and in how many transactions.
    pub fn produce(&mut self, mode: Mode, topic: &str) -> Outcome<(Taken, u64)> {
        writeln!(self.orders, "{mode:?} {topic}")?;
        let figures = self.answers.next().ok_or("the producer ended early")??;
        let mut figures = figures.split_whitespace();
        let mut figure = || figures.next().ok_or("a figure is missing");
        let (wall_seconds, cpu_seconds, transactions) = (figure()?.parse()?, figure()?.parse()?, figure()?.parse()?);
        // All records are in its memory, whoever sends them.
        let peak_bytes = process::memory(self.process.id(), "VmHWM").unwrap_or(0);
        Ok((Taken { wall_seconds, cpu_seconds, peak_bytes }, transactions))
    }
}

fn own() -> Command {
    Command::new(std::env::current_exe().expect("a process knows its program"))
}
