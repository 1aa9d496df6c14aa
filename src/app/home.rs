//! A home's life: its tenure begins, its streams run, they end together, it is released.
//!
//! # Invariants
//! Streams of a home run only between `begin` and `release`, so no two replicas run one stream.
//!
//! # Cancellation
//! Dropping [`Home::keep`] is a crash of its streams, which loses nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::app::account::Seat;
use crate::app::tenure::{End, Tenure};
use crate::app::{Error, Shared};
use crate::commit::Route;
use crate::retry::Schedule;
use crate::stream;

/// Rising pauses between tenures that were given up.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(30);
/// How often the watchdog hears that this loop turns.
const BEAT: Duration = Duration::from_secs(10);
/// A tenure of this length was no failure of its beginning.
const LASTING: Duration = Duration::from_secs(60);

pub(super) struct Home {
    pub number: u32,
    pub tenure: Arc<dyn Tenure>,
    pub seats: mpsc::UnboundedReceiver<Seat>,
    pub shared: Arc<Shared>,
    pub shutdown: watch::Receiver<bool>,
}

/// Why the streams of a home have ended.
enum Ended {
    ToldTo,
    Tenure(End),
    GivenUp(stream::Error),
}

impl Home {
    /// Runs the home's streams whenever it is ours, until told to end or until a fault that no waiting heals.
    pub async fn keep(mut self) -> Result<(), Error> {
        let mut seated = Vec::new();
        let mut pauses = Schedule::new(PAUSE.start, PAUSE.end);
        loop {
            let Some(route) = self.begin(&mut seated).await? else { return Ok(()) };
            let begun = crate::clock::uptime();
            let ended = self.run(&route, &mut seated).await;
            drop(route);
            self.tenure.release(self.number);
            let why = match ended? {
                Ended::ToldTo => return Ok(()),
                Ended::Tenure(End::Handover | End::Lost) => {
                    pauses.reset();
                    continue;
                }
                Ended::Tenure(End::Broken) => "nothing can be committed any more".to_owned(),
                Ended::GivenUp(error) => error.to_string(),
            };
            tracing::warn!(partition = self.number, "given up, to be taken over anew: {why}");
            if crate::clock::uptime().saturating_sub(begun) > LASTING {
                pauses.reset();
            }
            let mut shutdown = self.shutdown.clone();
            if stream::or_end(&mut shutdown, tokio::time::sleep(pauses.pause())).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits for a stream and for the tenure; none when told to end first.
    async fn begin(&mut self, seated: &mut Vec<Seat>) -> Result<Option<Arc<Route>>, Error> {
        let mut shutdown = self.shutdown.clone();
        while seated.is_empty() {
            match stream::or_end(&mut shutdown, self.seats.recv()).await {
                Some(Some(seat)) => seated.push(seat),
                // No account has a stream for this home, and none will.
                Some(None) => {
                    drop(shutdown.wait_for(|ends| *ends).await);
                    return Ok(None);
                }
                None => return Ok(None),
            }
        }
        stream::or_end(&mut shutdown, self.tenure.begin(self.number)).await.transpose()
    }

    async fn run(&mut self, route: &Arc<Route>, seated: &mut Vec<Seat>) -> Result<Ended, Error> {
        let (end, ends) = watch::channel(false);
        let mut streams = JoinSet::new();
        for seat in seated.iter() {
            streams.spawn(seat.run(&self.shared, route, &ends));
        }
        let mut shutdown = self.shutdown.clone();
        let pulse = self.shared.watchdog.listen(self.number);
        let mut beat = tokio::time::interval(BEAT);
        let ended = loop {
            tokio::select! {
                _ = beat.tick() => pulse.beat(),
                _ = shutdown.wait_for(|ends| *ends) => break Ended::ToldTo,
                end = self.tenure.over(self.number) => break Ended::Tenure(end),
                Some(seat) = self.seats.recv() => {
                    streams.spawn(seat.run(&self.shared, route, &ends));
                    seated.push(seat);
                }
                Some(ended) = streams.join_next() => match outcome(ended) {
                    Ok(()) => {}
                    Err(error) if error.gives_up() => break Ended::GivenUp(error),
                    Err(error) => return Err(error.into()),
                },
            }
        };
        end.send_replace(true);
        match ended {
            Ended::ToldTo | Ended::Tenure(End::Handover) => {
                // What doesn't end in time is dropped, as in a crash.
                let finish = async {
                    drain(&mut streams).await?;
                    self.tenure.finish(self.number).await;
                    Ok::<_, Error>(())
                };
                tokio::time::timeout(self.tenure.drain(), finish).await.unwrap_or(Ok(()))?;
            }
            Ended::Tenure(End::Lost | End::Broken) | Ended::GivenUp(_) => {}
        }
        streams.shutdown().await;
        Ok(ended)
    }
}

fn outcome(ended: Result<Result<(), stream::Error>, tokio::task::JoinError>) -> Result<(), stream::Error> {
    ended.unwrap_or_else(|error| Err(stream::Error::Task(error.to_string())))
}

/// Waits for all; one that gives up says nothing new.
async fn drain(streams: &mut JoinSet<Result<(), stream::Error>>) -> Result<(), stream::Error> {
    while let Some(ended) = streams.join_next().await {
        match outcome(ended) {
            Err(error) if !error.gives_up() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
