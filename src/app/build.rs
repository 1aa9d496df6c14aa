//! From the configuration to the parts: the only reader of [`Config`].

use std::sync::Arc;
use std::time::Duration;

use crate::app::account::{Account, Share};
use crate::app::roster::Roster;
use crate::app::tenure::Permanent;
use crate::app::{App, Error, Shared};
use crate::commit::{Burial, Route};
use crate::config::{self, Config};
use crate::plan;
use crate::server::{self, Server};
use crate::sink::file::{FileDeadLetters, FileSink};
use crate::sink::kafka::{self, KafkaDeadLetters, KafkaSink};
use crate::sink::stdout::StdoutSink;
use crate::sink::{DeadLetters, Sink};
use crate::source::{Base, Client, KeySource, Limits, Options};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::stream::Faults;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::Board;

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
        let config::State::Sqlite { path } = &config.state;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path)?);
        let kafka = kafka_settings(&config)?;
        let sinks = sinks(&config, &kafka)?;
        let dead_letters = dead_letters(&config, &kafka)?;
        for sink in &sinks {
            let sink = sink.clone();
            board.trouble(sink.name(), Arc::new(move || sink.trouble()));
        }
        if let Some(dead_letters) = dead_letters.clone() {
            board.trouble("dead letters", Arc::new(move || dead_letters.trouble()));
        }
        let troubled = store.clone();
        board.trouble("state", Arc::new(move || troubled.trouble()));

        let accounts = config.accounts.into_iter().map(|account| open_account(account, &config.poll, &metrics));
        let route = Arc::new(Route { sinks, dead_letters: dead_letters.map(Burial::Before), store, transaction: None });
        Ok(App {
            tenure: Arc::new(Permanent(route)),
            accounts: accounts.collect::<Result<_, Error>>()?,
            shared: Arc::new(Shared {
                metrics,
                board,
                settings: plan::Settings { interval: config.poll.interval, page_size: config.poll.page_size },
                start: config.poll.start,
                roster: Roster::default(),
                idle_save: if eager { Duration::ZERO } else { IDLE_SAVE },
            }),
            server,
            kafka: kafka.into_iter().collect(),
        })
    }
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

fn kafka_settings(config: &Config) -> Result<Option<kafka::Settings>, Error> {
    let sink = config.sinks.iter().find_map(|sink| match sink {
        config::Sink::Kafka(kafka) => Some(kafka),
        _ => None,
    });
    sink.map(|sink| kafka_sink_settings(sink, config.poll.max_event_bytes)).transpose()
}

/// A Kafka sink's settings, its password read.
pub(crate) fn kafka_sink_settings(sink: &config::Kafka, max_record_bytes: u64) -> Result<kafka::Settings, Error> {
    let sasl = sink.sasl.as_ref().map(|sasl| {
        let password = match &sasl.password {
            config::Secret::File(path) => kafka::Password::File(path.clone()),
            secret => kafka::Password::Text(secret.read()?),
        };
        Ok::<_, Error>(kafka::Sasl { mechanism: kafka::Mechanism::Plain, username: sasl.username.clone(), password })
    });
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
        sasl: sasl.transpose()?,
        properties: sink.properties.clone(),
        ledger: None,
        max_record_bytes,
    })
}

fn sinks(config: &Config, kafka: &Option<kafka::Settings>) -> Result<Vec<Arc<dyn Sink>>, Error> {
    let open = |sink: &config::Sink| -> Result<Arc<dyn Sink>, Error> {
        Ok(match (sink, kafka) {
            (config::Sink::Kafka(sink), _) => {
                Arc::new(KafkaSink::new(kafka_sink_settings(sink, config.poll.max_event_bytes)?)?)
            }
            (config::Sink::File(file), _) => Arc::new(FileSink::open(&file.path)?),
            (config::Sink::Stdout, _) => Arc::new(StdoutSink::new()?),
        })
    };
    config.sinks.iter().map(open).collect()
}

fn dead_letters(config: &Config, kafka: &Option<kafka::Settings>) -> Result<Option<Arc<dyn DeadLetters>>, Error> {
    Ok(match (&config.dead_letter, kafka) {
        (Some(config::DeadLetter::File(path)), _) => Some(Arc::new(FileDeadLetters::open(path)?)),
        (Some(config::DeadLetter::Topic(topic)), Some(kafka)) => {
            let settings = kafka::Settings { topic: topic.clone(), ..kafka.clone() };
            Some(Arc::new(KafkaDeadLetters::new(settings)?))
        }
        // The configuration lets no topic through without a Kafka sink.
        (Some(config::DeadLetter::Topic(_)), None) | (None, _) => None,
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
