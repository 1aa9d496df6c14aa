//! `run --until-caught-up`: when everything up to the beginning of the run is covered and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::app::roster::{Opened, Roster};
use crate::app::tenure::Tenure;
use crate::clock::Time;
use crate::cluster;
use crate::exit_code::ExitCode;
use crate::ledger::StreamKey;
use crate::telemetry::status::{Board, State};

/// How often a stream is asked whether it has given up.
const LOOK: Duration = Duration::from_millis(200);
/// For so many looks nothing may change where others have a part.
const LOOKS: u32 = (cluster::MISSED.as_millis() / LOOK.as_millis()) as u32;
/// Of many streams that are behind only so many are named.
const NAMED: usize = 5;

/// What the run waits for.
#[derive(Debug, Clone, Copy)]
pub struct CatchUp {
    /// None waits for as long as it takes.
    pub timeout: Option<Duration>,
}

/// Ready once every stream of ours has caught up, one has given up, the time is over, or `told` is ready. Only the
/// first is what was asked for: whoever started it must not take the others for completeness.
pub(super) async fn wait(
    CatchUp { timeout }: CatchUp,
    roster: Roster,
    tenure: Arc<dyn Tenure>,
    board: Board,
    told: impl Future<Output = ()>,
) -> ExitCode {
    let mut behind =
        Behind { roster, tenure, board, goals: BTreeMap::new(), reached: BTreeSet::new(), share: Share::default() };
    let too_late = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        caught_up = behind.all_caught_up() => match caught_up {
            true => return behind.caught_up(),
            false => "not caught up",
        },
        () = too_late => "not caught up",
        () = told => "ended before it had caught up",
    };
    for why in behind.why() {
        tracing::error!("{ended}: {why}");
    }
    ExitCode::Failed
}

struct Behind {
    roster: Roster,
    tenure: Arc<dyn Tenure>,
    board: Board,
    /// Up to where each stream is to be covered: the server's time when we began.
    goals: BTreeMap<StreamKey, Time>,
    /// The streams that have come so far: what becomes due for comparing later is another run's.
    reached: BTreeSet<StreamKey>,
    share: Share,
}

/// Homes whose streams have caught up, and how often just these were seen to be ours.
#[derive(Default)]
struct Share {
    homes: BTreeSet<u32>,
    looks: u32,
}

impl Behind {
    /// False when a stream has given up.
    async fn all_caught_up(&mut self) -> bool {
        loop {
            // Without any there is nothing to say of: the group has not given us one yet, or has struck us off.
            let homes = self.tenure.ours().unwrap_or_default();
            let streams = self.streams_of(&homes);
            for stream in &streams {
                self.look(stream);
            }
            let known = !homes.is_empty() && self.roster.unresolved() == 0;
            if !known || !streams.iter().all(|stream| self.reached.contains(stream)) {
                self.share = Share::default();
            } else if self.are_our_share(&homes) {
                return true;
            }
            if streams.iter().any(|stream| self.roster.opened(stream).is_some_and(|opened| has_given_up(&opened))) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Notes up to where the stream is to be covered, and whether it is.
    fn look(&mut self, stream: &StreamKey) {
        let Some(opened) = self.roster.opened(stream) else { return };
        // The earliest that was ever believed: the API's `Date` may prove to have been ahead.
        if let Some(now) = opened.client.now() {
            let goal = self.goals.entry(stream.clone()).or_insert(now);
            *goal = now.min(*goal);
        }
        let covered = *opened.covered.borrow();
        if self.goals.get(stream).is_some_and(|goal| covered.is_some_and(|covered| covered >= *goal)) {
            self.reached.insert(stream.clone());
        }
    }

    /// Whether these homes are all, or have stayed ours until the others have shown that they have the rest: not a dead
    /// member whom nobody has missed yet, so that nobody reads what it seems to own.
    ///
    /// Counts looks: a clock goes on while we stand still.
    fn are_our_share(&mut self, homes: &BTreeSet<u32>) -> bool {
        let all = self.tenure.homes();
        if homes.len() == all as usize {
            return true;
        }
        if self.share.homes != *homes {
            let wait = cluster::MISSED.as_secs();
            tracing::info!(
                "caught up with {} of {all} partitions; waiting {wait} s for what else may become ours",
                homes.len()
            );
            self.share = Share { homes: homes.clone(), looks: 0 };
        }
        self.share.looks += 1;
        self.share.looks > LOOKS
    }

    fn streams_of(&self, homes: &BTreeSet<u32>) -> Vec<StreamKey> {
        self.roster.of_homes(|home| homes.contains(&home))
    }

    /// Everything is covered, and what was due has been compared with the API.
    fn caught_up(&self) -> ExitCode {
        let homes = self.tenure.ours().unwrap_or_default();
        let mut missing = 0;
        for stream in self.roster.of_homes(|home| homes.contains(&home)) {
            let of_stream =
                self.roster.opened(&stream).map_or(0, |opened| opened.status.borrow().compared.missing_events);
            if of_stream > 0 {
                tracing::error!(
                    "{stream}: the API counts {of_stream} events that it does not show; status says of which time"
                );
            }
            missing += of_stream;
        }
        tracing::info!("caught up");
        if missing > 0 { ExitCode::Missing } else { ExitCode::Done }
    }

    /// What it waits for, as `/readyz` says it, and the streams that wait for nothing but are not there yet.
    fn why(&self) -> Vec<String> {
        let mut why = self.board.waits();
        let homes = self.tenure.ours().unwrap_or_default();
        let streams = self.roster.of_homes(|home| homes.contains(&home)).into_iter();
        let reading: Vec<String> = streams
            .filter(|stream| !self.reached.contains(stream))
            .filter_map(|stream| self.reading(&stream))
            .collect();
        if !reading.is_empty() {
            let more = reading.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            why.push(format!("still reading {}{more}", reading[..reading.len().min(NAMED)].join(", ")));
        }
        if why.is_empty() {
            why.push(match homes.is_empty() {
                true => "no partition is this replica's".to_owned(),
                false => "the streams are not known yet".to_owned(),
            });
        }
        why
    }

    /// How far a stream is; none where it says itself why it goes no further.
    fn reading(&self, stream: &StreamKey) -> Option<String> {
        let Some(opened) = self.roster.opened(stream) else { return Some(format!("{stream} (not begun)")) };
        let status = opened.status.borrow();
        let covered = status.covered_share * 100.0;
        status.reason.is_none().then(|| format!("{stream} ({covered:.1} % of the time)"))
    }
}

/// It has stopped with a fault.
fn has_given_up(stream: &Opened) -> bool {
    let status = stream.status.borrow();
    status.state == State::Stopped && status.reason.is_some()
}
