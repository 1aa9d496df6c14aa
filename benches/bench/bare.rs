//! What jumpstream is compared with: a client that throws pages away, and librdkafka alone.
//!
//! Each runs in a process of its own, so that its processor time is its own.

use std::io::{BufRead as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jumpstream::clock::Time;
use jumpstream::record::{Delivery, Key, Record, raw};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::process::{self, Process, Taken};
use crate::{Outcome, api};

pub const DOWNLOAD: &str = "download";
pub const PRODUCE: &str = "produce";

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

/// Produces what those pages hold, with librdkafka alone: the same values, keys and headers.
///
/// Everything is in memory before it says `ready`; it begins with the next line on standard input.
pub async fn produce(url: &str, requests: &str, broker: &str, topic: &str) -> Outcome<()> {
    let records = records(url, requests).await?;
    println!("ready {}", records.len());
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let (begun, cpu) = (Instant::now(), process::cpu_seconds(std::process::id())?);
    send_all(broker, topic, &records)?;
    let wall = begun.elapsed().as_secs_f64();
    println!("{wall} {}", process::cpu_seconds(std::process::id())? - cpu);
    Ok(())
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
fn send_all(broker: &str, topic: &str, records: &[Record]) -> Outcome<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("compression.type", "lz4");
    config.set("acks", "all").set("enable.idempotence", "true").set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create()?;
    for record in records {
        let mut message = BaseRecord::to(topic).payload(&record.value[..]).headers(headers(record));
        message.key = record.key(Key::Actor);
        while let Err((error, again)) = producer.send(message) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            message = again;
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

fn headers(record: &Record) -> OwnedHeaders {
    record.headers().fold(OwnedHeaders::new_with_capacity(8), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_bytes()) })
    })
}

/// [`download`] in a process of its own.
pub async fn measure_download(url: &str, requests: &str) -> Outcome<Taken> {
    process::run(own().args([DOWNLOAD, url, requests]).stdout(Stdio::null())).await
}

/// [`produce`] in a process of its own; `before` is called when it is ready. Gives its figures and how many it sent.
pub async fn measure_produce(
    url: &str,
    requests: &str,
    broker: &str,
    topic: &str,
    before: impl FnOnce() -> Outcome<()>,
) -> Outcome<(Taken, u64)> {
    let mut command = own();
    command.args([PRODUCE, url, requests, broker, topic]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process::start(&mut command)?;
    let mut answers = std::io::BufReader::new(process.0.stdout.take().ok_or("no pipe")?).lines();
    let mut line = || answers.next().ok_or("the producer ended early")?.map_err(|error| error.to_string());
    let count = line()?.trim_start_matches("ready ").parse()?;
    before()?;
    process.0.stdin.take().ok_or("no pipe")?.write_all(b"go\n")?;
    let figures = line()?;
    let (wall, cpu) = figures.split_once(' ').ok_or("no figures")?;
    let peak_bytes = process::memory(process.id(), "VmHWM").unwrap_or(0);
    Ok((Taken { wall_seconds: wall.parse()?, cpu_seconds: cpu.parse()?, peak_bytes }, count))
}

fn own() -> Command {
    Command::new(std::env::current_exe().expect("a process knows its program"))
}
