//! The librdkafka properties that are set, each with what goes wrong without it, and those nobody else may set.
//!
//! # Invariants
//! No property of the user's can weaken a guarantee: what we own is refused, and what we tune gives way.

use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use secrecy::ExposeSecret as _;

use super::{Password, Sasl, Settings, Tls};
use crate::sink::Error;

/// What Kafka's brokers take by default (`message.max.bytes`), assumed where we may not ask.
pub(super) const DEFAULT_LIMIT: u64 = 1_048_588;
/// librdkafka's own `batch.size`, which leaves room for the framing below [`DEFAULT_LIMIT`].
pub(super) const BATCH_BYTES: u64 = 1_000_000;
/// Key, headers and framing of one record beside its value.
const HEADROOM: u64 = 64 * 1024;

/// Tuned for batches of 10,000 records of 1.2 KB; the user's `properties` come before them.
const TUNED: &[(&str, &str, &[&str])] = &[
    // Without it a batch crosses the network and lies on disk as it is: JSON shrinks to a fifth or less.
    ("compression.type", "lz4", &["compression.codec"]),
    // 0 sends the first record of a batch alone, and the sender is slower than the network; librdkafka's 5 ms would end
    // each batch, each small transaction too, with 5 ms of waiting.
    ("linger.ms", "2", &["queue.buffering.max.ms"]),
    // librdkafka's 100,000 cost up to 100 MB of its own memory for records and headers beside their bytes. Less than a
    // batch or a transaction, and its sender waits for the brokers before it has handed over the last record.
    ("queue.buffering.max.messages", "20000", &[]),
    // Without it a broker that vanished without closing its connection (a dead node) is noticed only by a timeout.
    ("socket.keepalive.enable", "true", &[]),
    // librdkafka's 60 s: for so long a request to a broker that hangs holds back its partition.
    ("socket.timeout.ms", "30000", &[]),
    // librdkafka's 10 s is how much longer an outage would last for us than for the broker.
    ("reconnect.backoff.max.ms", "2000", &[]),
    // Names us in the brokers' logs and quotas; without it we are "rdkafka".
    ("client.id", "jumpstream", &[]),
    // Else the client sends its own telemetry to a cluster that subscribes to it; nobody asked us to.
    ("enable.metrics.push", "false", &[]),
];

/// What a guarantee hangs on.
const GUARANTEES: &[(&str, &str)] = &[
    // Less, and a leader that dies after its answer takes acknowledged records with it.
    ("acks", "all"),
    // Without it a retry after a lost answer writes twice, and two retries in flight swap their order.
    ("enable.idempotence", "true"),
    // librdkafka drops a record after 5 min otherwise, as if an outage could not last longer. 0 is endless.
    ("message.timeout.ms", "0"),
    // Another partitioner than Java's would send one key to two partitions where a Java producer shares the topic.
    ("partitioner", "murmur2_random"),
    // A producer asks for the topic to be created by default, with the broker's partitions and replicas, not yours.
    ("allow.auto.create.topics", "false"),
];

/// How long the coordinator lets a transaction be open. More, and a dead owner's transaction hides from readers what
/// others commit behind it for so long; less, and a short absence of a broker ends one that would have come through.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// What a transaction hangs on, beside [`GUARANTEES`].
const TRANSACTIONAL: &[(&str, &str)] = &[
    // A connection that hangs must be found out in time to try another; librdkafka refuses more than the transaction's.
    ("socket.timeout.ms", "5000"),
    // A leader that answers "timed out" itself, sooner than that, would have a record sent again that it has.
    ("request.timeout.ms", "15000"),
    // Without it a connection may end unheard, and a failed transaction seem quiet (transaction.rs).
    ("log.connection.close", "true"),
];

/// Properties that `properties` may not hold, and what to use instead. A name that ends in `.` stands for all below it.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use brokers"),
    ("metadata.broker.list", "use brokers"),
    ("security.protocol", "use tls and sasl"),
    ("sasl.", "use sasl"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "use sasl"),
    ("ssl.ca.", "use tls.ca"),
    ("ssl.certificate.", "use tls.certificate"),
    ("ssl.key.", "use tls.key, a file that only jumpstream can read"),
    ("ssl.keystore.", "use tls.certificate and tls.key"),
    ("ssl.engine.", "use tls.certificate and tls.key"),
    ("ssl.providers", "use tls.certificate and tls.key"),
    ("https.ca.", "use tls.ca"),
    ("enable.ssl.certificate.verification", "use tls.ca: verification is not optional"),
    ("ssl.endpoint.identification.algorithm", "use tls.ca: verification is not optional"),
    ("acks", "leave it out: it is always all"),
    ("request.required.acks", "leave it out: it is always all"),
    ("enable.idempotence", "leave it out: it is always on"),
    ("enable.gapless.guarantee", "leave it out: a failed record is sent again"),
    ("max.in.flight", "leave it out: idempotence sets it"),
    ("max.in.flight.requests.per.connection", "leave it out: idempotence sets it"),
    ("queuing.strategy", "leave it out: idempotence sets it"),
    ("retries", "leave it out: retries are endless"),
    ("message.send.max.retries", "leave it out: retries are endless"),
    ("message.timeout.ms", "leave it out: a record is never dropped for its age"),
    ("delivery.timeout.ms", "leave it out: a record is never dropped for its age"),
    ("delivery.report.only.error", "leave it out: every acknowledgement is awaited"),
    ("transactional.id", "use delivery"),
    ("transaction.timeout.ms", "use delivery"),
    ("partitioner", "leave it out: it is Java's"),
    ("allow.auto.create.topics", "create the topic"),
    ("message.max.bytes", "raise max.message.bytes of the topic"),
    ("queue.buffering.max.kbytes", "use max_event_bytes"),
    ("topic.blacklist", "leave it out: it would hold records back for ever"),
    ("plugin.", "leave it out: no foreign code is loaded"),
    ("interceptors", "leave it out: no foreign code is loaded"),
    ("debug", "use log.level"),
    ("log_level", "use log.level"),
    ("log.queue", "use log.level"),
    ("test.", "leave it out: it is for librdkafka's own tests"),
];

/// What to use instead of a property that is ours; none where the user may set it.
pub fn refusal(property: &str) -> Option<&'static str> {
    let ours = |name: &str| if name.ends_with('.') { property.starts_with(name) } else { property == name };
    // Callbacks and pointers are no text; only these have a `_` in their names.
    if property.ends_with("_cb") {
        return Some("leave it out: it is no text");
    }
    REFUSED.iter().find(|(name, _)| ours(name)).map(|(_, instead)| *instead)
}

/// The client that only asks: metadata and limits. No record can leave it.
pub(super) fn client(settings: &Settings) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::new();
    // What librdkafka logs reaches us as events; at this level nothing is repeated every second of an outage.
    config.set_log_level(RDKafkaLogLevel::Info);
    for (property, value, aliases) in TUNED {
        if !aliases.iter().any(|alias| settings.properties.contains_key(*alias)) {
            config.set(*property, *value);
        }
    }
    for (property, value) in &settings.properties {
        if let Some(instead) = refusal(property) {
            return Err(Error::Kafka(format!("properties: {property} can't be set here; {instead}")));
        }
        config.set(property, value);
    }
    config.set("bootstrap.servers", settings.brokers.join(","));
    config.set("allow.auto.create.topics", "false");
    secure(&mut config, settings)?;
    Ok(config)
}

/// The producer: at least once, in order, as long as it takes.
///
/// `batch_bytes` bounds a batch before its compression. It must not be larger than the topic's limit: librdkafka
/// doesn't split a batch that the broker finds too large, and all its records fail for the size of their sum.
/// A record above it is sent alone in its own batch, so the broker judges that very record as compressed.
pub(super) fn producer(settings: &Settings, batch_bytes: u64) -> Result<ClientConfig, Error> {
    let mut config = client(settings)?;
    for (property, value) in GUARANTEES {
        config.set(*property, *value);
    }
    let own = settings.properties.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH_BYTES);
    config.set("batch.size", batch_bytes.min(own).to_string());
    // librdkafka's 1 MB refuses a record by its size before compression; the broker is to judge it instead.
    let largest = settings.max_record_bytes + HEADROOM;
    config.set("message.max.bytes", largest.clamp(DEFAULT_LIMIT, 1_000_000_000).to_string());
    // librdkafka's 1 GiB is no back-pressure at all; less than the largest record, and that one would never fit.
    config.set("queue.buffering.max.kbytes", (largest / 1024 + 8 * 1024).to_string());
    Ok(config)
}

/// The producer of transactions under `id`, each open for at most `timeout`. Batches are as large as the topics allow:
/// 16 MiB over six partitions are three to each.
pub(super) fn transactional(
    settings: &Settings,
    batch_bytes: u64,
    id: &str,
    timeout: Duration,
) -> Result<ClientConfig, Error> {
    let mut config = producer(settings, batch_bytes)?;
    for (property, value) in TRANSACTIONAL {
        config.set(*property, *value);
    }
    config.set("transactional.id", id);
    config.set("transaction.timeout.ms", timeout.as_millis().to_string());
    // Records that time out make librdkafka begin new numbers after the abort, and nothing else does (transaction.rs).
    // It must be sooner than the coordinator's own end of the transaction, after which we could not even abort.
    config.set("message.timeout.ms", (timeout * 2 / 3).as_millis().to_string());
    // The largest record and a whole transaction beside it.
    config.set("queue.buffering.max.kbytes", ((settings.max_record_bytes + (32 << 20)) / 1024).to_string());
    Ok(config)
}

fn secure(config: &mut ClientConfig, settings: &Settings) -> Result<(), Error> {
    let protocol = match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    // Without it tls and sasl would be configured and silently not used.
    config.set("security.protocol", protocol);
    if let Some(tls) = &settings.tls {
        encrypt(config, tls);
    }
    if let Some(sasl) = &settings.sasl {
        // Without it librdkafka takes Kerberos.
        config.set("sasl.mechanism", sasl.mechanism());
    }
    if let Some(Sasl::Password { username, password, .. }) = &settings.sasl {
        config.set("sasl.username", username);
        let password = password.read().map_err(|fault| Error::Open { target: "sasl.password".into(), fault })?;
        config.set("sasl.password", password.expose_secret());
    }
    Ok(())
}

fn encrypt(config: &mut ClientConfig, tls: &Tls) {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    // librdkafka's OpenSSL is linked in and knows no path of this system: `probe` looks where distributions keep roots.
    config.set("ssl.ca.location", tls.ca.as_deref().map_or("probe".into(), path));
    if let Some(certificate) = &tls.certificate {
        config.set("ssl.certificate.location", path(certificate));
    }
    if let Some(key) = &tls.key {
        config.set("ssl.key.location", path(key));
    }
    // Both are librdkafka's defaults today; without them anyone on the way could read and take our records.
    config.set("enable.ssl.certificate.verification", "true");
    config.set("ssl.endpoint.identification.algorithm", "https");
}

impl Password {
    /// The password as it is now; an error is a sentence.
    pub(super) fn read(&self) -> Result<secrecy::SecretString, String> {
        match self {
            Password::Text(text) => Ok(text.clone()),
            Password::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).into())
                .map_err(|fault| format!("reading {}: {fault}", path.display())),
        }
    }
}
