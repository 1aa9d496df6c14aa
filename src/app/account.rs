//! An account at work: which organizations its key stands for, and a stream for each of them and each service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::app::Shared;
use crate::app::roster::Opened;
use crate::app::tenure::Tenure;
use crate::commit::Route;
use crate::ledger::StreamKey;
use crate::retry::Schedule;
use crate::source::{Class, Client, Error as SourceError, Usage};
use crate::stream::{self, Faults, Stream, Telemetry};
use crate::telemetry::metrics::AccountMetrics;
use crate::telemetry::status::{AccountSource, AccountStatus, Latch, StreamStatus, Used};

pub(super) struct Account {
    pub name: String,
    pub client: Client,
    /// Empty: the key's own.
    pub organizations: Vec<String>,
    pub services: Vec<String>,
    pub telemetry: AccountMetrics,
    pub faults: Faults,
    pub share: Share,
}

/// How many of an account's streams there are, and how many run here: so much of its request limit is ours.
#[derive(Default)]
pub(super) struct Share {
    all: AtomicUsize,
    here: AtomicUsize,
}

/// A stream that runs wherever its home is.
pub(super) struct Seat {
    account: Arc<Account>,
    key: StreamKey,
}

/// Counts a stream as running here.
struct Running<'a>(&'a Seat, &'a Shared);

impl<'a> Running<'a> {
    fn begin(seat: &'a Seat, shared: &'a Shared) -> Running<'a> {
        seat.account.share.here.fetch_add(1, Ordering::Relaxed);
        seat.account.shared_limit();
        shared.metrics.set_streams_owned(shared.roster.running());
        Running(seat, shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Running(seat, shared) = self;
        seat.account.share.here.fetch_sub(1, Ordering::Relaxed);
        seat.account.shared_limit();
        shared.roster.close(&seat.key);
        shared.metrics.set_streams_owned(shared.roster.running());
    }
}

impl Account {
    /// Finds out the account's organizations and seats a stream for each of them and each service.
    pub async fn seat(self, shared: &Shared, tenure: &dyn Tenure, homes: &[mpsc::UnboundedSender<Seat>]) {
        let mut latch = Some(shared.board.hold(format!("account {}: waiting for the API's first answer", self.name)));
        let organizations = self.owners(shared, &mut latch).await;
        let account = Arc::new(self);
        account.share.all.store(organizations.len() * account.services.len(), Ordering::Relaxed);
        for organization in organizations {
            for service in &account.services {
                let key = StreamKey { organization: organization.clone(), service: service.clone() };
                let home = tenure.home_of(&key);
                shared.roster.seat(key.clone(), home);
                // A home that has ended no longer listens.
                let _ = homes[home as usize].send(Seat { account: account.clone(), key });
            }
        }
        shared.roster.account_resolved();
    }

    /// How much of its rate it uses, whenever that is asked.
    pub fn usage(&self) -> AccountSource {
        let (name, client) = (self.name.clone(), self.client.clone());
        Arc::new(move || {
            let Usage { over, live, gaps, verification } = client.usage();
            AccountStatus {
                name: name.clone(),
                requests_per_second: client.rate(),
                configured_requests_per_second: client.configured_rate(),
                used: Used { over_seconds: over.as_secs(), live, gaps, verification },
            }
        })
    }

    /// The replicas share one limit by the streams that they run.
    fn shared_limit(&self) {
        let (here, all) = (self.share.here.load(Ordering::Relaxed), self.share.all.load(Ordering::Relaxed));
        self.client.set_share(here.max(1) as f64 / all.max(1) as f64);
    }

    /// The organizations to read: those configured, else the key's own, asked for until it is known.
    ///
    /// An API that answers, if only to refuse us, would treat every other replica alike: that lets go of the latch.
    async fn owners(&self, shared: &Shared, latch: &mut Option<Latch>) -> Vec<String> {
        if !self.organizations.is_empty() {
            return self.organizations.clone();
        }
        let (say, said) = watch::channel(Some("its organization is not known yet".to_owned()));
        shared.board.trouble(format!("account {}", self.name), Arc::new(move || said.borrow().clone()));
        let mut schedule = Schedule::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            match self.client.owner().await {
                Ok(Some(organization)) => {
                    say.send_replace(None);
                    self.telemetry.set_credential_valid(true);
                    return vec![organization];
                }
                Ok(None) => {
                    *latch = None;
                    self.wait(&say, "no event tells the key's organization yet; name it in `organizations`");
                }
                Err(error) => {
                    let refused = matches!(error, SourceError::Unauthorized { .. } | SourceError::Credential(_));
                    if matches!(error.class(), Class::Credential | Class::Refused) {
                        *latch = None;
                    }
                    self.telemetry.set_credential_valid(!refused);
                    self.wait(&say, &error.to_string());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(schedule.pause()) => {}
                () = self.client.credential_changed() => {}
            }
        }
    }

    fn wait(&self, say: &watch::Sender<Option<String>>, why: &str) {
        let news = say.send_if_modified(|said| {
            let changed = said.as_deref() != Some(why);
            *said = Some(why.to_owned());
            changed
        });
        if news {
            tracing::warn!(account = self.name, "waiting: {why}");
        }
    }
}

impl Seat {
    /// Runs the stream on `route` until told to end.
    pub fn run(
        &self,
        shared: &Arc<Shared>,
        route: &Arc<Route>,
        ends: &watch::Receiver<bool>,
    ) -> impl Future<Output = Result<(), stream::Error>> + Send + use<> {
        let seat = Seat { account: self.account.clone(), key: self.key.clone() };
        let (shared, stream) = (shared.clone(), self.open(shared, route, ends));
        async move {
            let _running = Running::begin(&seat, &shared);
            stream.run().await
        }
    }

    fn open(&self, shared: &Shared, route: &Arc<Route>, ends: &watch::Receiver<bool>) -> Stream {
        let Seat { account, key } = self;
        let organization = shared.metrics.organization(&key.organization);
        let mut status = StreamStatus::starting(&account.name, &key.organization, &key.service);
        status.poll_interval_seconds = shared.settings.interval.as_secs_f64();
        let (status, shown) = watch::channel(status);
        let (covered, reached) = watch::channel(None);
        shared.board.stream(shown.clone());
        shared.roster.open(key.clone(), Opened { client: account.client.clone(), status: shown, covered: reached });
        let (start, client) = (shared.start, account.client.clone());
        let watch = shared.control.as_ref();
        let watch = watch.map(|control| control.watch(key.clone(), Box::new(move || client.now())));
        Stream {
            key: key.clone(),
            client: account.client.clone(),
            names_organization: !account.organizations.is_empty(),
            settings: shared.settings.clone(),
            start: Arc::new(move |now| start.resolve(now)),
            route: route.clone(),
            telemetry: Telemetry {
                metrics: shared.metrics.clone(),
                account: account.telemetry.clone(),
                faults: account.faults.clone(),
                sinks: route.sink_names().map(|name| organization.sink(name)).collect(),
                organization,
                status,
                covered,
                watch,
            },
            room: shared.room.clone(),
            idle_save: shared.idle_save,
            shutdown: ends.clone(),
        }
    }
}
