//! The thread that is the member: one client after the other, until it is told to leave.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::session::{Client, End, Session};
use super::standing::Standing;
use super::{Change, Error, NotOurs, Options};
use crate::clock;

/// Between a client that broke and the next one.
const PAUSE: Duration = Duration::from_secs(5);

/// What the thread is told.
pub(super) enum Command {
    Released(u32),
    Confirm(u32, oneshot::Sender<Result<(), NotOurs>>),
    /// What came of an offset commit.
    Committed {
        partition: u32,
        attempt: u64,
        outcome: Result<(), RDKafkaErrorCode>,
    },
    Leave(Option<oneshot::Sender<()>>),
}

/// What outlives a client.
pub(super) struct Member {
    pub options: Options,
    /// For those who answer later; so the inbox has no end but [`Command::Leave`].
    pub commands: Sender<Command>,
    pub inbox: Receiver<Command>,
    pub changes: mpsc::UnboundedSender<Change>,
    pub standing: Arc<Standing>,
}

impl Member {
    /// Makes the first client, so that a wrong property is found at once, and starts the thread.
    pub(super) fn start(
        options: Options,
        commands: Sender<Command>,
        inbox: Receiver<Command>,
        changes: mpsc::UnboundedSender<Change>,
        standing: Arc<Standing>,
    ) -> Result<(), Error> {
        let client = Client::open(&options).map_err(|fault| Error::Client { group: options.group.clone(), fault })?;
        let member = Member { options, commands, inbox, changes, standing };
        let thread = std::thread::Builder::new().name("membership".to_owned());
        thread.spawn(move || member.run(client)).map_err(Error::Thread)?;
        Ok(())
    }

    fn run(self, first: Client) {
        let mut client = Ok(first);
        loop {
            let end = match client {
                Ok(client) => Session::new(&self, client).run(),
                Err(fault) => End::Broken(fault),
            };
            match end {
                End::Left => return,
                End::Refused => {}
                End::Broken(fault) => self.standing.failed(fault),
            }
            if self.pause() {
                return;
            }
            client = Client::open(&self.options);
        }
    }

    pub(super) fn say(&self, change: Change) {
        match &change {
            Change::Assigned(partitions) if partitions.is_empty() => tracing::debug!("a rebalance brought nothing"),
            Change::Assigned(partitions) => tracing::info!(?partitions, "assigned by the group"),
            Change::Revoked(partitions) => tracing::info!(?partitions, "asked back by the group"),
            Change::Lost(partitions) => tracing::warn!(?partitions, "lost to the group"),
        }
        self.tell(change);
    }

    /// Without a word in the log.
    pub(super) fn tell(&self, change: Change) {
        // Nobody listens any more: the membership is about to be dropped.
        let _ = self.changes.send(change);
    }

    /// True when told to leave meanwhile. Nothing is held, so there is nothing else to be told.
    fn pause(&self) -> bool {
        let end = clock::uptime() + PAUSE;
        loop {
            match self.inbox.recv_timeout(end.saturating_sub(clock::uptime())) {
                Ok(Command::Leave(_)) => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}
