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
mod progress;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::commit::Route;
use crate::exit_code::ExitCode;
use crate::ledger::StreamKey;
use crate::server::Server;
use crate::sink;
use crate::store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{Board, StreamStatus};
use crate::{clock, server, source, stream};
use account::Account;

pub use catch_up::CatchUp;

/// How long the streams may take to commit what they have once the process is told to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Everything that runs, built and not yet started.
pub struct App {
    accounts: Vec<Account>,
    shared: Arc<Shared>,
    server: Server,
    kafka: Vec<sink::kafka::Settings>,
}

/// What every stream uses.
struct Shared {
    route: Arc<Route>,
    metrics: Metrics,
    board: Board,
    settings: crate::plan::Settings,
    start: crate::config::Start,
    idle_save: Duration,
}

/// A stream that has been opened, as the lifecycle sees it.
struct Opened {
    key: StreamKey,
    client: source::Client,
    status: watch::Receiver<StreamStatus>,
    covered: watch::Receiver<Option<clock::Time>>,
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
    Server(#[from] server::Error),
    #[error(transparent)]
    Secret(#[from] crate::config::secret::Error),
}

impl App {
    /// Runs until a signal ends it, or until it has caught up where that is asked for. Shows its progress.
    pub async fn run(self, catch_up: Option<CatchUp>) -> ExitCode {
        let (opened, streams) = mpsc::unbounded_channel();
        let count = self.accounts.len();
        let mut progress = JoinSet::new();
        progress.spawn(progress::show(self.board()));
        let end = async move {
            // Goes when this future does, before the drain speaks.
            let _progress = progress;
            tokio::select! {
                () = first_signal() => told_to_end(),
                code = catch_up::wait(catch_up, streams, count) => code,
            }
        };
        self.serve(opened, end).await
    }

    /// Runs until `end` is ready, whose exit code it gives, or until a fault ends it. Says nothing but its log.
    pub async fn run_until(self, end: impl Future<Output = ExitCode>) -> ExitCode {
        let (opened, _) = mpsc::unbounded_channel();
        self.serve(opened, end).await
    }

    /// Where the parts report; it stays true while the app runs.
    pub fn board(&self) -> Board {
        self.shared.board.clone()
    }

    async fn serve(self, opened: mpsc::UnboundedSender<Opened>, until: impl Future<Output = ExitCode>) -> ExitCode {
        let (end, shutdown) = watch::channel(false);
        let mut accounts = JoinSet::new();
        for account in self.accounts {
            accounts.spawn(account.serve(self.shared.clone(), shutdown.clone(), opened.clone()));
        }
        drop(opened);
        let side =
            self.kafka.into_iter().map(|settings| tokio::spawn(build::reach(settings, self.shared.board.clone())));
        let side: Vec<_> = side.collect();
        let ended = {
            let mut shutdown = shutdown.clone();
            async move { drop(shutdown.wait_for(|ends| *ends).await) }
        };
        if let Ok((server, page)) = self.server.addresses() {
            // Says which ports were taken where the configuration left that open.
            tracing::info!(%server, %page, "listening");
        }
        let serving = tokio::spawn(self.server.run(ended));

        let code = tokio::select! {
            code = until => code,
            code = first_fault(&mut accounts) => code,
        };
        end.send_replace(true);
        side.iter().for_each(|task| task.abort());
        let code = drain(accounts, code).await;
        serving.abort();
        code
    }
}

/// Lets every stream commit what it has, within the deadline; a second signal ends the process at once.
async fn drain(mut accounts: JoinSet<Result<(), stream::Error>>, code: ExitCode) -> ExitCode {
    let all = async { while accounts.join_next().await.is_some() {} };
    tokio::select! {
        () = all => code,
        () = tokio::time::sleep(DRAIN) => {
            tracing::warn!("a sink still waits after {DRAIN:?}; what it did not acknowledge is delivered after the next start");
            code
        }
        () = first_signal() => ExitCode::Failed,
    }
}

/// The first SIGTERM or SIGINT.
pub(crate) async fn first_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn told_to_end() -> ExitCode {
    tracing::info!("told to end: committing what is in flight");
    ExitCode::Done
}

/// Ready when a stream has ended by itself, which only a fault that meets all of them brings about.
async fn first_fault(accounts: &mut JoinSet<Result<(), stream::Error>>) -> ExitCode {
    while let Some(ended) = accounts.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!("{error}");
                return ExitCode::Failed;
            }
            Err(error) => {
                tracing::error!("a task ended: {error}");
                return ExitCode::Failed;
            }
        }
    }
    std::future::pending().await
}
