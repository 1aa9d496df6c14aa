//! `run --until-caught-up`: when everything up to the beginning of the run is covered and committed.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::app::Opened;
use crate::clock::Time;
use crate::exit_code::ExitCode;
use crate::telemetry::status::State;

/// How often a stream is asked whether it has given up.
const LOOK: Duration = Duration::from_millis(200);

/// What the run waits for.
#[derive(Debug, Clone, Copy)]
pub struct CatchUp {
    /// None waits for as long as it takes.
    pub timeout: Option<Duration>,
}

/// Ready once every stream has caught up, has given up, or the time is over; never where nobody asked.
pub(super) async fn wait(
    catch_up: Option<CatchUp>,
    streams: mpsc::UnboundedReceiver<Opened>,
    accounts: usize,
) -> ExitCode {
    let Some(CatchUp { timeout }) = catch_up else { return std::future::pending().await };
    let mut behind = Behind { arriving: Some(streams), streams: Vec::new() };
    let all = behind.all_caught_up();
    let caught_up = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, all).await.unwrap_or(false),
        None => all.await,
    };
    if caught_up {
        tracing::info!("caught up");
        return ExitCode::Done;
    }
    behind.name_the_blocked(accounts);
    ExitCode::Failed
}

struct Behind {
    /// None once every account has opened its streams.
    arriving: Option<mpsc::UnboundedReceiver<Opened>>,
    streams: Vec<(Opened, Option<Time>)>,
}

impl Behind {
    /// False when a stream has given up.
    async fn all_caught_up(&mut self) -> bool {
        loop {
            while let Some(arriving) = &mut self.arriving {
                match arriving.try_recv() {
                    Ok(stream) => self.streams.push((stream, None)),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => self.arriving = None,
                }
            }
            for (stream, goal) in &mut self.streams {
                // The earliest that was ever believed: the API's `Date` may prove to have been ahead.
                *goal = [*goal, stream.client.now()].into_iter().flatten().min();
            }
            if self.arriving.is_none() && self.streams.iter().all(has_caught_up) {
                return true;
            }
            if self.streams.iter().any(|(stream, _)| has_given_up(stream)) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn name_the_blocked(&self, accounts: usize) {
        if self.arriving.is_some() {
            tracing::error!("not caught up: not all of {accounts} accounts know their organization yet");
        }
        for (stream, _) in self.streams.iter().filter(|stream| !has_caught_up(stream)) {
            let status = stream.status.borrow();
            let reason = status.reason.clone().unwrap_or_else(|| "still reading".to_owned());
            tracing::error!(
                stream = %stream.key, covered = format!("{:.1} %", status.covered_share * 100.0),
                "not caught up: {reason}"
            );
        }
    }
}

fn has_caught_up((stream, goal): &(Opened, Option<Time>)) -> bool {
    goal.is_some_and(|goal| stream.covered.borrow().is_some_and(|covered| covered >= goal))
}

/// It has stopped with a fault.
fn has_given_up(stream: &Opened) -> bool {
    let status = stream.status.borrow();
    status.state == State::Stopped && status.reason.is_some()
}
