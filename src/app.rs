//! Wiring and lifecycle: configuration → parts → tasks → drain.
//!
//! # Invariants
//! The configuration is consumed to build the parts; nothing reads it again. Nothing here touches an event.
//!
//! # Cancellation
//! Dropping [`App::run`] is a crash, which loses nothing: what was not committed is read again.

mod account;
mod build;
mod catch_up;
mod home;
mod progress;
pub(crate) mod replay;
mod roster;
mod tenure;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::control::Control;
use crate::exit_code::ExitCode;
use crate::server::Server;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::Board;
use crate::{clock, cluster, server, sink, source, store, stream};
use account::{Account, Seat};
use home::Home;
use roster::Roster;
use tenure::Tenure;

pub use build::syslog_settings;
pub(crate) use build::{kafka_sink_settings, ledgers, source_options};
pub use catch_up::CatchUp;

/// How long the streams may take to commit what they have once the process is told to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the sinks may take to leave in good order.
const LEAVE: Duration = Duration::from_secs(3);

/// Everything that runs, built and not yet started.
pub struct App {
    accounts: Vec<Account>,
    tenure: Arc<dyn Tenure>,
    shared: Arc<Shared>,
    server: Server,
    kafka: Vec<sink::kafka::Settings>,
    /// All but that of a transaction.
    sinks: Vec<Arc<dyn sink::Sink>>,
    /// Where [`Shared::control`] writes.
    control_records: Option<Arc<dyn sink::ControlRecords>>,
}

/// What every stream uses.
struct Shared {
    roster: Roster,
    watchdog: cluster::Watchdog,
    metrics: Metrics,
    board: Board,
    settings: crate::plan::Settings,
    start: crate::config::Start,
    room: stream::Room,
    control: Option<Control>,
    idle_save: Duration,
}

/// Why the parts could not be built, or what ended them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(transparent)]
    Sink(#[from] sink::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error("the thread that keeps our place in the group has ended; start again")]
    Membership,
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(transparent)]
    Stream(#[from] stream::Error),
    #[error(transparent)]
    Secret(#[from] crate::config::secret::Error),
}

impl Error {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Store(error) if error.wants_a_decision() => ExitCode::Configuration,
            _ => ExitCode::Failed,
        }
    }
}

impl App {
    /// Runs until a signal ends it, or until it has caught up where that is asked for. Shows its progress.
    pub async fn run(self, catch_up: Option<CatchUp>) -> ExitCode {
        let (roster, tenure, board) = (self.shared.roster.clone(), self.tenure.clone(), self.board());
        let over = async move {
            match catch_up {
                Some(catch_up) => catch_up::wait(catch_up, roster, tenure, board, told_to_end()).await,
                None => {
                    told_to_end().await;
                    ExitCode::Done
                }
            }
        };
        let progress = progress::show(self.board());
        self.run_until(async move {
            // The bar goes when this future does, before the drain speaks.
            tokio::select! {
                code = over => code,
                never = progress => match never {},
            }
        })
        .await
    }

    /// Where the parts report; it stays true while the app runs.
    pub fn board(&self) -> Board {
        self.shared.board.clone()
    }

    /// Runs until `end` is ready, whose exit code it gives, or until a fault ends it. Says nothing but its log.
    pub async fn run_until(self, end: impl Future<Output = ExitCode>) -> ExitCode {
        let (ends, shutdown) = watch::channel(false);
        let signals = Signals::listen();
        let (mut homes, seats) = self.homes(&shutdown);
        let mut side = JoinSet::new();
        for account in self.accounts {
            self.shared.roster.expect_account();
            let (shared, tenure, seats) = (self.shared.clone(), self.tenure.clone(), seats.clone());
            side.spawn(async move { account.seat(&shared, &*tenure, &seats).await });
        }
        drop(seats);
        for settings in self.kafka {
            side.spawn(build::reach(settings, self.shared.board.clone()));
        }
        if let Ok((server, page)) = self.server.addresses() {
            // Says which ports were taken where the configuration left that open.
            tracing::info!(%server, %page, "listening");
        }
        let control = self.shared.control.clone();
        let writing = self.control_records.zip(control.clone()).map(|(records, control)| {
            let kept = control.clone();
            side.spawn(async move { kept.keep().await });
            tokio::spawn(async move { control.write(&*records).await })
        });
        let mut shutdown = shutdown;
        let serving = tokio::spawn(self.server.run(async move { drop(shutdown.wait_for(|ends| *ends).await) }));

        let code = tokio::select! {
            code = end => code,
            code = first_fault(&mut homes) => code,
            partition = self.shared.watchdog.stuck() => {
                tracing::error!(partition, "a partition's loop stands still; leaving it to another replica");
                ExitCode::Failed
            }
        };
        ends.send_replace(true);
        side.abort_all();
        let (code, left) = drain(homes, &signals, code).await;
        self.tenure.leave().await;
        let leave = join_all(self.sinks.iter().map(|sink| sink.close()));
        let told = async {
            if let Some(control) = &control {
                flush(control, &signals, left).await
            }
        };
        // A receiver that doesn't answer is left all the same.
        let _ = futures::join!(tokio::time::timeout(LEAVE, leave), told);
        writing.inspect(|writing| writing.abort());
        serving.abort();
        code
    }

    /// Every home at work, and where its streams are seated.
    fn homes(
        &self,
        shutdown: &watch::Receiver<bool>,
    ) -> (JoinSet<Result<(), Error>>, Vec<mpsc::UnboundedSender<Seat>>) {
        let mut homes = JoinSet::new();
        let seats = (0..self.tenure.homes()).map(|number| {
            let (seat, seats) = mpsc::unbounded_channel();
            let (tenure, shared) = (self.tenure.clone(), self.shared.clone());
            homes.spawn(Home { number, tenure, seats, shared, shutdown: shutdown.clone() }.keep());
            seat
        });
        let seats = seats.collect();
        let (tenure, shutdown) = (self.tenure.clone(), shutdown.clone());
        homes.spawn(async move { tenure.keep(shutdown).await });
        (homes, seats)
    }
}

/// Lets every stream commit what it has, within the deadline; a second signal ends the process at once. Gives what is
/// left of the deadline for the rest.
async fn drain(mut homes: JoinSet<Result<(), Error>>, signals: &Signals, code: ExitCode) -> (ExitCode, Duration) {
    let begun = clock::uptime();
    let all = async { while homes.join_next().await.is_some() {} };
    tokio::select! {
        () = all => (code, DRAIN.saturating_sub(clock::uptime() - begun).max(LEAVE)),
        // Each home keeps to its own deadline; one that doesn't is dropped.
        () = tokio::time::sleep(DRAIN + DRAIN / 5) => (code, LEAVE),
        () = signals.second() => {
            tracing::warn!("ended at once: the batch in flight comes again");
            (ExitCode::Failed, Duration::ZERO)
        }
    }
}

/// Lets what was told of the streams be written; a second signal ends that.
async fn flush(control: &Control, signals: &Signals, patience: Duration) {
    tokio::select! {
        _ = tokio::time::timeout(patience, control.written()) => {}
        () = signals.second() => {}
    }
    if control.waiting() > 0 {
        tracing::warn!(
            records = control.waiting(),
            "control records are left unwritten: their file or topic takes none"
        );
    }
}

/// Counts the signals to end from its beginning on, so that a second one is heard however soon it follows the first.
pub(crate) struct Signals {
    count: watch::Receiver<u32>,
    _listening: JoinSet<()>,
}

impl Signals {
    pub fn listen() -> Signals {
        let (sender, count) = watch::channel(0);
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut both = Both::listen();
            loop {
                both.next().await;
                sender.send_modify(|count| *count += 1);
            }
        });
        Signals { count, _listening: listening }
    }

    /// Ready at the second, which may have come already.
    pub async fn second(&self) {
        if self.count.clone().wait_for(|count| *count >= 2).await.is_err() {
            std::future::pending().await
        }
    }
}

/// SIGTERM and SIGINT.
struct Both(Option<(Signal, Signal)>);

impl Both {
    fn listen() -> Both {
        Both(signal(SignalKind::terminate()).ok().zip(signal(SignalKind::interrupt()).ok()))
    }

    /// Never ready where the system lets nobody listen.
    async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// The first SIGTERM or SIGINT from now on.
pub(crate) async fn first_signal() {
    Both::listen().next().await;
}

async fn told_to_end() {
    first_signal().await;
    tracing::info!(
        "told to end: committing what is in flight, {} s at most; a second Ctrl-C ends at once",
        DRAIN.as_secs()
    );
}

/// Ready when a stream has ended by itself, which only a fault that meets all of them brings about.
async fn first_fault(homes: &mut JoinSet<Result<(), Error>>) -> ExitCode {
    while let Some(ended) = homes.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!("{error}");
                return error.exit_code();
            }
            Err(error) => {
                tracing::error!("a task ended: {error}");
                return ExitCode::Failed;
            }
        }
    }
    std::future::pending().await
}
