//! `run --until-caught-up`: when everything up to the beginning of the run is covered and committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::app::roster::{Opened, Roster};
use crate::app::tenure::Tenure;
use crate::clock::Time;
use crate::exit_code::ExitCode;
use crate::ledger::StreamKey;
use crate::telemetry::status::State;

/// How often a stream is asked whether it has given up.
const LOOK: Duration = Duration::from_millis(200);

/// What the run waits for.
#[derive(Debug, Clone, Copy)]
pub struct CatchUp {
    /// None waits for as long as it takes.
    pub timeout: Option<Duration>,
}

/// Ready once every stream of ours has caught up, one has given up, or the time is over; never where nobody asked.
pub(super) async fn wait(catch_up: Option<CatchUp>, roster: Roster, tenure: Arc<dyn Tenure>) -> ExitCode {
    let Some(CatchUp { timeout }) = catch_up else { return std::future::pending().await };
    let mut behind = Behind { roster, tenure, goals: BTreeMap::new() };
    let all = behind.all_caught_up();
    let caught_up = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, all).await.unwrap_or(false),
        None => all.await,
    };
    if caught_up {
        tracing::info!("caught up");
        return ExitCode::Done;
    }
    behind.name_the_blocked();
    ExitCode::Failed
}

struct Behind {
    roster: Roster,
    tenure: Arc<dyn Tenure>,
    /// Up to where each stream is to be covered: the server's time when we began.
    goals: BTreeMap<StreamKey, Time>,
}

impl Behind {
    /// False when a stream has given up.
    async fn all_caught_up(&mut self) -> bool {
        loop {
            let ours = self.ours();
            for stream in ours.iter().flatten() {
                // The earliest that was ever believed: the API's `Date` may prove to have been ahead.
                if let Some(now) = self.roster.opened(stream).and_then(|opened| opened.client.now()) {
                    let goal = self.goals.entry(stream.clone()).or_insert(now);
                    *goal = now.min(*goal);
                }
            }
            if ours.as_ref().is_some_and(|ours| ours.iter().all(|stream| self.has_caught_up(stream))) {
                return true;
            }
            if ours
                .iter()
                .flatten()
                .any(|stream| self.roster.opened(stream).is_some_and(|opened| has_given_up(&opened)))
            {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The streams that this replica owns; none before all of them are known.
    fn ours(&self) -> Option<Vec<StreamKey>> {
        let homes = self.tenure.ours()?;
        (self.roster.unresolved() == 0).then(|| self.roster.of_homes(|home| homes.contains(&home)))
    }

    fn has_caught_up(&self, stream: &StreamKey) -> bool {
        let covered = self.roster.opened(stream).and_then(|opened| *opened.covered.borrow());
        self.goals.get(stream).is_some_and(|goal| covered.is_some_and(|covered| covered >= *goal))
    }

    fn name_the_blocked(&self) {
        match self.roster.unresolved() {
            0 => {}
            1 => tracing::error!("not caught up: an account doesn't know its organization yet"),
            unresolved => tracing::error!("not caught up: {unresolved} accounts don't know their organizations yet"),
        }
        let homes = self.tenure.ours().unwrap_or_default();
        for stream in self.roster.of_homes(|home| homes.contains(&home)) {
            if self.has_caught_up(&stream) {
                continue;
            }
            let opened = self.roster.opened(&stream);
            let status = opened.as_ref().map(|opened| opened.status.borrow());
            let reason = status.as_ref().and_then(|status| status.reason.clone());
            let covered = status.as_ref().map_or(0.0, |status| status.covered_share) * 100.0;
            tracing::error!(
                %stream, covered = format!("{covered:.1} %"),
                "not caught up: {}", reason.unwrap_or_else(|| "still reading".to_owned())
            );
        }
    }
}

/// It has stopped with a fault.
fn has_given_up(stream: &Opened) -> bool {
    let status = stream.status.borrow();
    status.state == State::Stopped && status.reason.is_some()
}
