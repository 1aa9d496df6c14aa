//! An account at work: which organizations its key stands for, and a stream for each of them and each service.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::app::{Opened, Shared};
use crate::clock;
use crate::ledger::StreamKey;
use crate::retry::Schedule;
use crate::source::{Class, Client, Element, Error as SourceError, EventQuery};
use crate::stream::{self, Stream, Telemetry};
use crate::telemetry::metrics::AccountMetrics;
use crate::telemetry::status::{Latch, StreamStatus};

/// How far back an event is looked for that tells the key's organization.
const LOOK_BACK: Duration = Duration::from_secs(14 * 86_400);

pub(super) struct Account {
    pub name: String,
    pub client: Client,
    /// Empty: the key's own.
    pub organizations: Vec<String>,
    pub services: Vec<String>,
    pub telemetry: AccountMetrics,
}

impl Account {
    /// Runs the account's streams until told to end, or until one ends by itself.
    pub async fn serve(
        self,
        shared: Arc<Shared>,
        shutdown: watch::Receiver<bool>,
        opened: mpsc::UnboundedSender<Opened>,
    ) -> Result<(), stream::Error> {
        let mut latch = Some(shared.board.hold(format!("account {}: waiting for the API's first answer", self.name)));
        let mut ends = shutdown.clone();
        let organizations = tokio::select! {
            organizations = self.owners(&shared, &mut latch) => organizations,
            _ = ends.wait_for(|ends| *ends) => return Ok(()),
        };
        let mut streams = JoinSet::new();
        for organization in &organizations {
            for service in &self.services {
                let key = StreamKey { organization: organization.clone(), service: service.clone() };
                streams.spawn(self.open(key, &shared, &shutdown, &opened).run());
            }
        }
        drop((latch, opened));
        while let Some(ended) = streams.join_next().await {
            ended.map_err(|error| stream::Error::Task(error.to_string()))??;
        }
        Ok(())
    }

    fn open(
        &self,
        key: StreamKey,
        shared: &Arc<Shared>,
        shutdown: &watch::Receiver<bool>,
        opened: &mpsc::UnboundedSender<Opened>,
    ) -> Stream {
        let organization = shared.metrics.organization(&key.organization);
        let mut status = StreamStatus::starting(&self.name, &key.organization, &key.service);
        status.poll_interval_seconds = shared.settings.interval.as_secs_f64();
        let (status, shown) = watch::channel(status);
        let (covered, reached) = watch::channel(None);
        shared.board.stream(shown.clone());
        // Only a run that waits for it listens.
        let _ = opened.send(Opened { key: key.clone(), client: self.client.clone(), status: shown, covered: reached });
        let sinks = shared.route.sinks.iter().map(|sink| organization.sink(sink.name())).collect();
        let start = shared.start;
        Stream {
            key,
            client: self.client.clone(),
            names_organization: !self.organizations.is_empty(),
            settings: shared.settings,
            start: Arc::new(move |now| start.resolve(now)),
            route: shared.route.clone(),
            telemetry: Telemetry {
                metrics: shared.metrics.clone(),
                account: self.telemetry.clone(),
                organization,
                sinks,
                status,
                covered,
            },
            idle_save: shared.idle_save,
            shutdown: shutdown.clone(),
        }
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
            match self.owner().await {
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

    /// The one organization that the key lists, else the one that any recent event names.
    async fn owner(&self) -> Result<Option<String>, SourceError> {
        let listed = self.client.organizations().await;
        if let Ok([only]) = listed.as_deref() {
            return Ok(Some(only.id.clone()));
        }
        let query = EventQuery {
            service: "all".to_owned(),
            start: self.client.now().unwrap_or_else(clock::wall) - LOOK_BACK,
            end: None,
            limit: 1,
            search_after: None,
        };
        let mut page = self.client.events(None, &query).await?;
        while let Some(element) = page.next().await? {
            if let Element::Event(event) = element {
                return Ok(event.organization().map(str::to_owned));
            }
        }
        Ok(None)
    }
}
