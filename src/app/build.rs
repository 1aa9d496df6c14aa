//! From the configuration to the parts: the only reader of [`Config`].

use std::sync::Arc;
use std::time::Duration;

use crate::app::account::{Account, Share};
use crate::app::roster::Roster;
use crate::app::tenure::grouped::Grouped;
use crate::app::tenure::{Permanent, Tenure};
use crate::app::{App, Error, Shared};
use crate::cluster;
use crate::commit::{Burial, Route};
use crate::config::{self, Config};
use crate::control::{self, Control, blindness};
use crate::plan;
use crate::record;
use crate::server::{self, Server};
use crate::sink::file::{FileControlRecords, FileDeadLetters, FileSink};
use crate::sink::kafka::{self, KafkaControlRecords, KafkaDeadLetters, KafkaSink};
use crate::sink::stdout::StdoutSink;
use crate::sink::syslog::{self, SyslogSink};
use crate::sink::{ControlRecords, DeadLetters, Sink};
use crate::source::{Base, Client, KeySource, Limits, Options};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Store};
use crate::stream::{Faults, Room};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{Board, Replica};

/// How often a checkpoint that holds no event is saved.
const IDLE_SAVE: Duration = Duration::from_secs(60);
/// How long one try to reach the brokers may take.
const REACH: Duration = Duration::from_secs(10);

impl App {
    /// Opens everything that must be there before the first request: the listeners, the state, the sinks.
    ///
    /// `eager` saves every moved edge at once, for those who wait for it.
    pub async fn build(config: Config, eager: bool) -> Result<App, Error> {
        let (metrics, board) = (Metrics::new(), Board::new());
        // First of all, so that a taken port leaves no file behind.
        let server = bind(&config, &metrics, &board).await?;
        // Before the sinks: whoever holds the state holds them too.
        let store = match &config.state {
            config::State::Sqlite { path } => Some(SqliteStore::open(path)?),
            config::State::Kafka { .. } => None,
        };
        let kafka = kafka_settings(&config)?;
        let outlets = Outlets::open(&config, &kafka)?;
        outlets.report(&board);
        let sinks = outlets.sinks.clone();
        let control_records = outlets.control.clone();
        let tenure: Arc<dyn Tenure> = match store {
            Some(store) => permanent(store, outlets, &board),
            None => grouped(&config, &kafka, outlets, (&board, &metrics))?,
        };
        let troubled = tenure.clone();
        board.trouble("kafka", Arc::new(move || troubled.trouble()));
        let roster = Roster::default();
        if let config::State::Kafka { .. } = &config.state {
            let (tenure, roster) = (tenure.clone(), roster.clone());
            board.replica(Arc::new(move || Some(replica(&*tenure, &roster))));
        }
        let idle_save = if eager { Duration::ZERO } else { IDLE_SAVE };

        let accounts = config.accounts.into_iter().map(|account| open_account(account, &config.poll, &metrics));
        let accounts = accounts.collect::<Result<Vec<Account>, Error>>()?;
        accounts.iter().for_each(|account| board.account(account.usage()));
        let reached = kafka.filter(|_| !matches!(config.state, config::State::Kafka { .. }));
        let settings = plan::Settings {
            interval: config.poll.interval,
            page_size: config.poll.page_size,
            windows: config.poll.windows,
            ages: plan::Ages::of(config.verify.after),
            retention: config.verify.retention,
        };
        Ok(App {
            tenure,
            accounts,
            shared: Arc::new(Shared {
                control: control_records.as_ref().map(|_| control(&settings, &metrics)),
                metrics,
                board,
                settings,
                start: config.poll.start,
                roster,
                watchdog: crate::cluster::Watchdog::default(),
                room: Room::default(),
                idle_save,
            }),
            server,
            kafka: reached.into_iter().collect(),
            sinks,
            control_records,
        })
    }
}

fn control(settings: &plan::Settings, metrics: &Metrics) -> Control {
    Control::new(control::Options {
        // Hosts have their own processes, and containers their own host's name.
        replica: format!("{}/{}", host_name(), std::process::id()),
        // Where the plan goes on at the present, it leaves a gap behind.
        settings: blindness::Settings { threshold: settings.lagging(), overlap: plan::OVERLAP.end },
        metrics: metrics.clone(),
    })
}

async fn bind(config: &Config, metrics: &Metrics, board: &Board) -> Result<Server, Error> {
    let token = config.page.token.as_ref().map(config::Secret::read).transpose()?;
    let options =
        server::Options { listen: config.server.listen.to_string(), page: config.page.listen.to_string(), token };
    Ok(Server::bind(options, metrics.clone(), board.clone()).await?)
}

fn open_account(account: config::Account, poll: &config::Poll, metrics: &Metrics) -> Result<Account, Error> {
    let telemetry = metrics.account(&account.name);
    let observed = telemetry.clone();
    let client = Client::new(Options {
        account: account.name.clone(),
        requests_per_second: account.requests_per_second,
        limits: Limits { max_event_bytes: poll.max_event_bytes, ..Limits::default() },
        on_request: Arc::new(move |endpoint, outcome| observed.request(endpoint, outcome)),
        ..source_options(&account)
    })?;
    Ok(Account {
        name: account.name,
        client,
        organizations: account.organizations,
        services: account.services,
        telemetry,
        faults: Faults::default(),
        share: Share::default(),
    })
}

/// Where an account's API is and where its key.
pub(crate) fn source_options(account: &config::Account) -> Options {
    // Plain http was allowed or refused when the configuration was read.
    let base = |url: &str| Base::Endpoint { url: url.to_owned(), insecure: true };
    let key = match &account.api_key {
        config::Secret::File(path) => KeySource::File(path.clone()),
        config::Secret::Env(name) => KeySource::Env(name.clone()),
    };
    let mut options = Options::new(base(account.site.api()), key);
    options.organizations = Some(base(account.site.console()));
    options
}

/// The Kafka sink whose cluster has the ledger or the dead letters, if any: the one of `delivery: exactly_once` first.
pub(super) fn kafka_settings(config: &Config) -> Result<Option<kafka::Settings>, Error> {
    let mut sinks: Vec<&config::Kafka> = config
        .sinks
        .iter()
        .filter_map(|sink| match sink {
            config::Sink::Kafka(kafka) => Some(kafka),
            _ => None,
        })
        .collect();
    sinks.sort_by_key(|kafka| !kafka.exactly_once);
    let Some(sink) = sinks.first() else { return Ok(None) };
    let mut settings = kafka_sink_settings(sink, config.poll.max_event_bytes)?;
    if let config::State::Kafka { topic, .. } = &config.state {
        settings.ledger = Some(topic.clone());
    }
    Ok(Some(settings))
}

fn replica(tenure: &dyn Tenure, roster: &Roster) -> Replica {
    Replica {
        partitions: tenure.ours().unwrap_or_default().into_iter().collect(),
        of_partitions: tenure.homes(),
        streams: roster.running(),
        of_streams: roster.seats(),
    }
}

/// The ledger topic of a configuration that keeps its state in Kafka.
pub(crate) fn ledgers(config: &Config) -> Result<store::kafka::Ledgers, Error> {
    let (config::State::Kafka { topic, partitions, .. }, Some(settings)) = (&config.state, kafka_settings(config)?)
    else {
        // The configuration lets no such state through.
        let fault = "the state is not in Kafka, or there is no sink of `delivery: exactly_once`".to_owned();
        return Err(store::Error::Client { topic: String::new(), fault }.into());
    };
    let dead_letters = match &config.dead_letter {
        Some(config::DeadLetter::Topic(topic)) => Some(topic.clone()),
        _ => None,
    };
    let options = store::kafka::Options { settings, topic: topic.clone(), partitions: *partitions, dead_letters };
    Ok(store::kafka::Ledgers::new(options))
}

/// All streams are ours for as long as we live.
fn permanent(store: SqliteStore, outlets: Outlets, board: &Board) -> Arc<dyn Tenure> {
    let Outlets { sinks, dead_letters, .. } = outlets;
    let store: Arc<dyn Store> = Arc::new(store);
    let troubled = store.clone();
    board.trouble("state", Arc::new(move || troubled.trouble()));
    let dead_letters = dead_letters.map(Burial::Before);
    Arc::new(Permanent(Arc::new(Route { sinks, dead_letters, store, transaction: None })))
}

/// The streams are the group's to give.
fn grouped(
    config: &Config,
    kafka: &Option<kafka::Settings>,
    outlets: Outlets,
    (board, metrics): (&Board, &Metrics),
) -> Result<Arc<dyn Tenure>, Error> {
    let (ledgers, settings) = (ledgers(config)?, kafka.clone());
    let (topic, partitions, group) = match &config.state {
        config::State::Kafka { topic, partitions, group } => (topic.clone(), *partitions, group.clone()),
        config::State::Sqlite { .. } => Default::default(),
    };
    let tokens = settings.as_ref().and_then(kafka::Settings::tokens);
    let client = move || match &settings {
        Some(settings) => settings.client().map_err(|fault| fault.to_string()),
        None => Err("there is no Kafka sink".to_owned()),
    };
    Ok(Arc::new(Grouped {
        ledgers,
        partitions,
        sinks: outlets.sinks,
        dead_letters: outlets.dead_letters,
        dead_letters_within: matches!(config.dead_letter, Some(config::DeadLetter::Topic(_))),
        client: Arc::new(client),
        tokens: tokens.map(|tokens| -> cluster::TokenSource { Arc::new(move || tokens.next()) }),
        topic,
        group,
        board: board.clone(),
        metrics: metrics.clone(),
        state: Default::default(),
    }))
}

/// A Kafka sink's settings, its password read.
pub(crate) fn kafka_sink_settings(sink: &config::Kafka, max_record_bytes: u64) -> Result<kafka::Settings, Error> {
    let tls = sink.tls.as_ref().map(|tls| kafka::Tls {
        ca: tls.ca.clone(),
        certificate: tls.client.as_ref().map(|client| client.certificate.clone()),
        key: tls.client.as_ref().map(|client| client.key.clone()),
    });
    Ok(kafka::Settings {
        brokers: sink.brokers.clone(),
        topic: sink.topic.clone(),
        key: sink.key,
        tls,
        sasl: sink.sasl.as_ref().map(kafka_sasl).transpose()?,
        properties: sink.properties.clone(),
        ledger: None,
        max_record_bytes,
    })
}

fn kafka_sasl(sasl: &config::Sasl) -> Result<kafka::Sasl, Error> {
    // A file is read again by those who use it.
    let password = |secret: &config::Secret| {
        Ok::<_, Error>(match secret {
            config::Secret::File(path) => kafka::Password::File(path.clone()),
            secret => kafka::Password::Text(secret.read()?),
        })
    };
    Ok(match sasl {
        config::Sasl::Password { mechanism, username, password: secret } => kafka::Sasl::Password {
            mechanism: match mechanism {
                config::Mechanism::Plain => kafka::Mechanism::Plain,
                config::Mechanism::ScramSha256 => kafka::Mechanism::ScramSha256,
                config::Mechanism::ScramSha512 => kafka::Mechanism::ScramSha512,
            },
            username: username.clone(),
            password: password(secret)?,
        },
        config::Sasl::Token { endpoint, client_id, client_secret, scope, ca } => {
            kafka::Sasl::Token(kafka::OAuth::new(kafka::Grant {
                token_endpoint: endpoint.clone(),
                client_id: client_id.clone(),
                client_secret: password(client_secret)?,
                scope: scope.clone(),
                ca: ca.clone(),
            }))
        }
    })
}

/// A syslog sink's settings, for whoever opens one by itself too, as tests and benches do.
pub fn syslog_settings(sink: &config::Syslog) -> syslog::Settings {
    let client = sink.tls.client.as_ref().map(|client| (client.certificate.clone(), client.key.clone()));
    syslog::Settings {
        addresses: sink.addresses.clone(),
        format: record::syslog::Settings {
            protocol: sink.protocol,
            oversize: sink.oversize,
            facility: sink.facility,
            hostname: sink.hostname.clone().unwrap_or_else(host_name),
            app_name: sink.app_name.clone(),
            enterprise_number: sink.enterprise_number,
        },
        newline: sink.newline,
        max_message_bytes: sink.max_message_bytes,
        window: sink.window,
        tls: syslog::Tls { ca: sink.tls.ca.clone(), client, server_name: sink.server_name.clone() },
        deadlines: syslog::Deadlines::default(),
    }
}

/// This machine's, as far as a message can hold it; `-` is RFC 5424's for none.
fn host_name() -> String {
    let system = rustix::system::uname();
    let name: String = system.nodename().to_string_lossy().chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".into() } else { name }
}

/// What events, dead letters and control records go to beside a transaction.
struct Outlets {
    sinks: Vec<Arc<dyn Sink>>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    control: Option<Arc<dyn ControlRecords>>,
}

impl Outlets {
    fn open(config: &Config, kafka: &Option<kafka::Settings>) -> Result<Outlets, Error> {
        let apart = config.sinks.iter().filter(|sink| !sink.is_exactly_once());
        let sinks = apart.map(|sink| open_sink(sink, config.poll.max_event_bytes)).collect::<Result<_, _>>()?;
        Ok(Outlets { sinks, dead_letters: dead_letters(config, kafka)?, control: control_records(config, kafka)? })
    }

    /// So that everybody sees what they wait for.
    fn report(&self, board: &Board) {
        for sink in &self.sinks {
            let sink = sink.clone();
            board.trouble(sink.name(), Arc::new(move || sink.trouble()));
        }
        if let Some(dead_letters) = self.dead_letters.clone() {
            board.trouble("dead letters", Arc::new(move || dead_letters.trouble()));
        }
        if let Some(control) = self.control.clone() {
            board.trouble("control records", Arc::new(move || control.trouble()));
        }
    }
}

/// A sink by itself, outside of any transaction.
pub(super) fn open_sink(sink: &config::Sink, max_event_bytes: u64) -> Result<Arc<dyn Sink>, Error> {
    Ok(match sink {
        config::Sink::Kafka(sink) => Arc::new(KafkaSink::new(kafka_sink_settings(sink, max_event_bytes)?)?),
        config::Sink::Syslog(sink) => Arc::new(SyslogSink::new(syslog_settings(sink))),
        config::Sink::File(file) => Arc::new(FileSink::open(&file.path)?),
        config::Sink::Stdout => Arc::new(StdoutSink::new()?),
    })
}

/// Where dead letters go, unless that is within the transaction.
fn dead_letters(config: &Config, kafka: &Option<kafka::Settings>) -> Result<Option<Arc<dyn DeadLetters>>, Error> {
    Ok(match (&config.dead_letter, kafka, &config.state) {
        (Some(config::DeadLetter::File(path)), _, _) => Some(Arc::new(FileDeadLetters::open(path)?)),
        (Some(config::DeadLetter::Topic(topic)), Some(kafka), config::State::Sqlite { .. }) => {
            let settings = kafka::Settings { topic: topic.as_str().into(), ..kafka.clone() };
            Some(Arc::new(KafkaDeadLetters::new(settings)?))
        }
        // The configuration lets no topic through without a Kafka sink.
        (Some(config::DeadLetter::Topic(_)), _, _) | (None, _, _) => None,
    })
}

/// Where control records go: by a producer of their own, which no transaction holds up.
fn control_records(config: &Config, kafka: &Option<kafka::Settings>) -> Result<Option<Arc<dyn ControlRecords>>, Error> {
    Ok(match (&config.control, kafka) {
        (Some(config::Control::File(path)), _) => Some(Arc::new(FileControlRecords::open(path)?)),
        (Some(config::Control::Topic(topic)), Some(kafka)) => {
            let settings = kafka::Settings { topic: topic.as_str().into(), ..kafka.clone() };
            Some(Arc::new(KafkaControlRecords::new(settings)?))
        }
        // The configuration lets no topic through without a Kafka sink.
        (Some(config::Control::Topic(_)), None) | (None, _) => None,
    })
}

/// Holds the process not ready until the brokers have answered once.
pub(super) async fn reach(settings: kafka::Settings, board: Board) {
    let latch = board.hold("kafka: no broker has answered yet");
    loop {
        match kafka::inspect(&settings, REACH).await.brokers {
            Ok(_) => return,
            Err(why) => latch.say(format!("kafka: no broker has answered yet: {why}")),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
