//! From the configuration to a replay's parts.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OnceCell, watch};

use crate::app::Error;
use crate::app::build::{kafka_settings, open_sink, source_options};
use crate::clock::Time;
use crate::config::{self, Config};
use crate::ledger::StreamKey;
use crate::record::DeadLetter;
use crate::replay::{Outlets, Replay, Stream, Subject};
use crate::retry::Schedule;
use crate::sink::file::FileDeadLetters;
use crate::sink::kafka::{self, KafkaDeadLetters, KafkaSink};
use crate::sink::{self, DeadLetters, Sink};
use crate::source::{Class, Client, Limits, Options};
use crate::stream::or_end;

/// What is asked for.
pub(crate) struct Wanted {
    pub range: Range<Time>,
    /// Empty: all that are configured.
    pub organizations: Vec<String>,
    pub services: Vec<String>,
    /// A sink's type, topic or path.
    pub sink: Option<String>,
    /// Of each account's request rate, over 0 to 1.
    pub rate_share: f64,
}

/// What is asked for and configured.
pub(crate) struct Chosen {
    wanted: Wanted,
    config: Config,
    accounts: Vec<Account>,
    sinks: Vec<config::Sink>,
}

struct Account {
    name: String,
    api: String,
    client: Client,
    /// Empty: the key's own.
    organizations: Vec<String>,
    services: Vec<String>,
    requests_per_second: f64,
}

impl Chosen {
    /// What of the configuration is meant; asks nobody yet.
    ///
    /// # Errors
    /// A sentence where it names none of what is asked for.
    pub fn new(config: Config, wanted: Wanted) -> Result<Chosen, Unchosen> {
        let sinks: Vec<config::Sink> = config
            .sinks
            .iter()
            .filter(|sink| wanted.sink.as_ref().is_none_or(|name| sink.is_called(name)))
            .cloned()
            .collect();
        if sinks.is_empty() {
            let targets: Vec<String> = config.sinks.iter().map(config::Sink::target).collect();
            let name = wanted.sink.unwrap_or_default();
            return Err(Unchosen::NotThere(format!("no sink is called {name:?}; there are: {}", targets.join(", "))));
        }
        let nobody = |reads: &dyn Fn(&config::Account) -> bool| !config.accounts.iter().any(reads);
        for id in &wanted.organizations {
            if nobody(&|account| account.organizations.is_empty() || meant(&account.organizations, id)) {
                return Err(Unchosen::NotThere(format!("no account of the configuration reads organization {id:?}")));
            }
        }
        for service in &wanted.services {
            if nobody(&|account| reads(account, service)) {
                return Err(Unchosen::NotThere(format!("no account of the configuration reads service {service:?}")));
            }
        }
        let mut accounts = Vec::new();
        for account in &config.accounts {
            let ids = account.organizations.iter().filter(|id| meant(&wanted.organizations, id));
            let organizations: Vec<String> = ids.cloned().collect();
            let services: Vec<String> = match wanted.services.is_empty() {
                true => account.services.clone(),
                false => wanted.services.iter().filter(|service| reads(account, service)).cloned().collect(),
            };
            // An account that names no organization may have any.
            if !services.is_empty() && organizations.is_empty() == account.organizations.is_empty() {
                accounts.push(Account::open(account, organizations, services, &config.poll, wanted.rate_share)?);
            }
        }
        Ok(Chosen { wanted, config, accounts, sinks })
    }

    /// The streams of all accounts; asks for the organizations of keys that none is configured for, for as long as it
    /// takes. None when told to end first.
    pub async fn replay(&self, shutdown: watch::Receiver<bool>) -> Option<Replay> {
        let mut accounts = Vec::new();
        for account in &self.accounts {
            let names_organization = !account.organizations.is_empty();
            let organizations = match names_organization {
                true => account.organizations.clone(),
                false => vec![or_end(&mut shutdown.clone(), account.owner()).await?],
            };
            let meant = organizations.iter().filter(|id| meant(&self.wanted.organizations, id));
            let streams = meant.flat_map(|organization| {
                account.services.iter().map(|service| Stream {
                    key: StreamKey { organization: organization.clone(), service: service.clone() },
                    client: account.client.clone(),
                    names_organization,
                })
            });
            accounts.push(streams.collect());
        }
        let range = self.wanted.range.clone();
        Some(Replay { range, page_size: self.config.poll.page_size, accounts, shutdown })
    }

    /// What its progress file is good for.
    pub fn subject(&self, replay: &Replay) -> Subject {
        Subject {
            from: self.wanted.range.start.to_string(),
            to: self.wanted.range.end.to_string(),
            accounts: self.accounts.iter().map(|account| format!("{} at {}", account.name, account.api)).collect(),
            sinks: self.targets(),
            streams: replay.streams().map(|stream| stream.key.to_string()).collect(),
        }
    }

    /// Where events go.
    pub fn targets(&self) -> Vec<String> {
        self.sinks.iter().map(config::Sink::target).collect()
    }

    /// Requests a second that it may send, all accounts together.
    pub fn requests_per_second(&self) -> f64 {
        let all: f64 = self.accounts.iter().map(|account| account.requests_per_second).sum();
        // As one writes it.
        (all * self.wanted.rate_share * 1_000.0).round() / 1_000.0
    }

    /// Opens the sinks, outside of any transaction.
    ///
    /// What goes to the topic of an exactly-once sink names its ledger all the same: that is how a lost ledger is told
    /// from one that never was.
    pub fn open(&self) -> Result<Outlets, Error> {
        let max_event_bytes = self.config.poll.max_event_bytes;
        let kafka = kafka_settings(&self.config)?;
        let open = |sink: &config::Sink| -> Result<Arc<dyn Sink>, Error> {
            match kafka.clone().filter(|_| sink.is_exactly_once()) {
                Some(settings) => Ok(Arc::new(KafkaSink::new(settings)?)),
                None => open_sink(sink, max_event_bytes),
            }
        };
        let sinks = self.sinks.iter().map(open).collect::<Result<_, _>>()?;
        let dead_letters: Option<Arc<dyn DeadLetters>> = match (&self.config.dead_letter, kafka) {
            (Some(config::DeadLetter::File(path)), _) => Some(Arc::new(Beside::of(path))),
            (Some(config::DeadLetter::Topic(topic)), Some(settings)) => {
                let settings = kafka::Settings { topic: topic.as_str().into(), ..settings };
                Some(Arc::new(KafkaDeadLetters::new(settings)?))
            }
            // The configuration lets no topic through without a Kafka sink.
            (Some(config::DeadLetter::Topic(_)), None) | (None, _) => None,
        };
        Ok(Outlets { sinks, dead_letters })
    }
}

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unchosen {
    #[error("{0}")]
    NotThere(String),
    #[error(transparent)]
    Part(#[from] Error),
}

/// Whether an id is among those wanted, of which none means all.
fn meant(wanted: &[String], id: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| one.eq_ignore_ascii_case(id))
}

/// Whether the account reads the service, by itself or with all others.
fn reads(account: &config::Account, service: &str) -> bool {
    account.services.iter().any(|own| own == "all" || own == service)
}

impl Account {
    fn open(
        account: &config::Account,
        organizations: Vec<String>,
        services: Vec<String>,
        poll: &config::Poll,
        share: f64,
    ) -> Result<Account, Error> {
        let client = Client::new(Options {
            account: account.name.clone(),
            requests_per_second: account.requests_per_second,
            limits: Limits { max_event_bytes: poll.max_event_bytes, ..Limits::default() },
            ..source_options(account)
        })?;
        client.set_share(share);
        Ok(Account {
            name: account.name.clone(),
            api: account.site.api().to_owned(),
            client,
            organizations,
            services,
            requests_per_second: account.requests_per_second,
        })
    }

    /// The key's own organization, asked for until it is known.
    async fn owner(&self) -> String {
        let mut pauses = Schedule::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut said = String::new();
        loop {
            let (why, is_credential) = match self.client.owner().await {
                Ok(Some(organization)) => return organization,
                Ok(None) => ("no event tells the key's organization; name it in `organizations`".to_owned(), false),
                Err(error) => (error.to_string(), error.class() == Class::Credential),
            };
            if why != said {
                tracing::warn!(account = self.name, "waiting: {why}");
                said = why;
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.pause()) => {}
                () = self.client.credential_changed(), if is_credential => {}
            }
        }
    }
}

/// Dead letters in a file beside the configured one, which a running instance holds; made with the first of them.
struct Beside {
    path: PathBuf,
    file: OnceCell<FileDeadLetters>,
}

impl Beside {
    fn of(path: &Path) -> Beside {
        let mut name = path.as_os_str().to_owned();
        name.push(".replay");
        Beside { path: name.into(), file: OnceCell::new() }
    }
}

#[async_trait]
impl DeadLetters for Beside {
    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), sink::Error> {
        let file = self.file.get_or_try_init(async || FileDeadLetters::open(&self.path)).await?;
        file.bury(letters).await
    }

    fn trouble(&self) -> Option<String> {
        self.file.get().and_then(DeadLetters::trouble)
    }
}
