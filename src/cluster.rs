//! Which partitions of the ledger topic are this replica's: membership in a Kafka consumer group.
//!
//! Nothing is consumed: the group is used for what it is best at, giving each partition to one member and noticing
//! within seconds when that member is gone. A partition changes hands in this order:
//!
//! ```text
//!  group        Revoked          unassigned                  Assigned
//!  old owner       └─ drains ─ released ┘                       │
//!  new owner                                                    └─ confirm ─ take-over ─ streams
//! ```
//!
//! # Invariants
//! Knows partitions and generations, nothing of ledgers, streams or sinks. Guarantees nothing by itself: a paused
//! process believes in what it held until it is told otherwise, so whoever writes must be fenced by its successor, and
//! must ask [`Membership::confirm`] before it fences others. One thread polls and never waits for anything else; a
//! callback only sends. A partition is not given back before its owner has let go of it, or [`DRAIN`] is over.

mod context;
mod holding;
mod member;
mod pulse;
mod session;
mod standing;

use std::sync::Arc;
use std::sync::mpsc as inbox;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{mpsc, oneshot};

use member::{Command, Member};
pub use pulse::{Pulse, STUCK, Watchdog};
use standing::Standing;

/// How long a revoked partition may drain; then it is given back unasked, and its owner is fenced by the next one.
///
/// Less than the session timeout: while a partition drains, the client hears of a lost session only afterwards.
pub const DRAIN: Duration = Duration::from_secs(5);
/// For how long at most a dead member seems to own something: the coordinator misses it when its session is over (6 s),
/// and then waits for those that don't come to the rebalance (15 s).
pub const MISSED: Duration = Duration::from_secs(25);
/// How long [`Membership::confirm`] waits for the coordinator: longer than a rebalance in which another member drains.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long [`Membership::leave`] waits for the coordinator's answer.
const LEAVE: Duration = Duration::from_secs(5);

/// Gives a token, or says why there is none.
pub type TokenSource = Arc<dyn Fn() -> Result<OAuthToken, String> + Send + Sync>;

/// The group, and the way to it.
pub struct Options {
    /// Brokers, TLS and SASL as a client's configuration, made anew for each client since the files behind it may
    /// have changed; a fault is a sentence.
    pub client: Box<dyn Fn() -> Result<ClientConfig, String> + Send>,
    /// What gives the client its tokens, where it wants any (OAUTHBEARER); called on the thread that polls.
    pub tokens: Option<TokenSource>,
    pub topic: String,
    pub group: String,
}

/// What the group says. The order counts: a partition that is assigned twice was given up in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Ours from now on, after [`Membership::confirm`]. Empty where a rebalance brought nothing: the first one, empty
    /// or not, says that the group has admitted us.
    Assigned(Vec<u32>),
    /// Ours until [`Membership::released`], within [`DRAIN`]: the group waits for it.
    Revoked(Vec<u32>),
    /// Not ours any more, maybe since long: to be dropped at once, nothing is to be released.
    Lost(Vec<u32>),
}

/// Why the group can't be joined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("joining group {group}: {fault}")]
    Client { group: String, fault: String },
    #[error("starting the thread that polls: {0}")]
    Thread(std::io::Error),
}

/// Why a partition may not be taken over now. As long as it is not revoked or lost, trying again may succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    #[error("partition {0} is not assigned to this replica")]
    NotAssigned(u32),
    #[error("the group's coordinator refuses this replica as the owner of partition {partition} ({code})")]
    Refused { partition: u32, code: RDKafkaErrorCode },
    #[error("the group's coordinator has not answered for 10 s whether partition {0} is ours; look at the brokers")]
    Unanswered(u32),
}

/// This replica's place in the group. Dropped, it leaves the group without waiting for that.
pub struct Membership {
    commands: inbox::Sender<Command>,
    standing: Arc<Standing>,
}

impl Membership {
    /// Joins in the background, for as long as it takes. What the group says comes in order; the end of it is the end
    /// of the membership.
    ///
    /// # Errors
    /// What no waiting heals: a property or a file is wrong.
    pub fn join(options: Options) -> Result<(Membership, mpsc::UnboundedReceiver<Change>), Error> {
        let (changes, said) = mpsc::unbounded_channel();
        let (commands, inbox) = inbox::channel();
        let standing = Arc::new(Standing::new(&options.topic, &options.group));
        Member::start(options, commands.clone(), inbox, changes, standing.clone())?;
        Ok((Membership { commands, standing }, said))
    }

    /// The owner of `partition` has committed or aborted everything and lets go. Heard only after a
    /// [`Change::Revoked`]; the owner's successor in this process must not begin before this was called.
    pub fn released(&self, partition: u32) {
        self.tell(Command::Released(partition));
    }

    /// Whether the coordinator accepts us as the owner of `partition` at this moment: it takes an offset commit from
    /// us under the present generation. To be asked before every `init_transactions`; one question at a time for each
    /// partition. Takes as long as a rebalance under way, 10 s at most.
    ///
    /// Dropping it changes nothing.
    pub async fn confirm(&self, partition: u32) -> Result<(), NotOurs> {
        let (answer, asked) = oneshot::channel();
        self.tell(Command::Confirm(partition, answer));
        match tokio::time::timeout(CONFIRM, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NotOurs::NotAssigned(partition)),
            Err(_) => Err(NotOurs::Unanswered(partition)),
        }
    }

    /// Leaves the group, so that the others need not wait for the session's end. To be called after the drain: what is
    /// still held is given back at once. Returns when the coordinator has answered, after 5 s at the latest.
    ///
    /// Dropping it leaves the group all the same, unless the process ends first.
    pub async fn leave(&self) {
        let (answer, left) = oneshot::channel();
        self.tell(Command::Leave(Some(answer)));
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!("the group's coordinator has not answered our leaving; it gives our partitions away in 6 s");
        }
    }

    /// Why the group has not admitted us; none while we are a member, whatever may ail its partitions.
    pub fn trouble(&self) -> Option<String> {
        self.standing.trouble()
    }

    fn tell(&self, command: Command) {
        // The thread has ended: whoever waits for its answer sees that by the dropped command.
        let _ = self.commands.send(command);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.tell(Command::Leave(None));
    }
}
