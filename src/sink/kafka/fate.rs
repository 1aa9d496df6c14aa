//! What the client's word means: for a record, and for a transaction. The one place that knows.
//!
//! # Invariants
//! Pure. Where the client leaves it open whether a transaction was committed, the fate is [`Fate::Unknown`]: only the
//! ledger knows.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::line::{ABSENT, HELD};
use crate::record::Reason;

/// What an answer means for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFate {
    /// The brokers will never take it.
    Refused(Reason),
    /// A record of its batch was refused, maybe another: sent again, alone.
    Suspect,
    /// It fell with others, whose answers say why.
    Fell,
    /// Never sent: its topic is not there, or its batch would be too large.
    Held,
    /// Sent again, once the cause has healed.
    Again,
}

/// `alone`: the answer is meant for this very record.
pub fn record_fate(code: Code, alone: bool) -> RecordFate {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge if alone => RecordFate::Refused(Reason::TooLargeForSink),
        Code::InvalidRecord if alone => RecordFate::Refused(Reason::Refused),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord | Code::InvalidDifferentRecord => {
            RecordFate::Suspect
        }
        // Given back by the client: a transaction has failed and takes no more, or we purged it ourselves.
        Code::PurgeQueue | Code::PurgeInflight | Code::State => RecordFate::Fell,
        HELD | ABSENT => RecordFate::Held,
        _ => RecordFate::Again,
    }
}

/// Whether the record's topic can't be had, and it may go elsewhere.
pub fn is_of_topic(code: Code) -> bool {
    use Code::{InvalidTopic, TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, ABSENT | TopicAuthorizationFailed | UnknownTopicOrPartition | UnknownTopic | InvalidTopic)
}

/// Whether a topic has found it, or the batch that it came in, too large.
pub fn is_of_size(code: Code) -> bool {
    matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge)
}

/// What was asked of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Init,
    Begin,
    /// Records are on their way; only the producer itself can fail.
    Send,
    Commit,
    Abort,
}

/// The client's answer when it is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub code: Code,
    /// The producer is of no use any more.
    pub fatal: bool,
    /// What was asked goes on; asking again waits for it.
    pub retriable: bool,
    /// The transaction has failed and wants to be aborted.
    pub requires_abort: bool,
}

impl Said {
    pub(super) fn of(error: &KafkaError) -> Said {
        match error {
            KafkaError::Transaction(error) => Said {
                code: error.code(),
                fatal: error.is_fatal(),
                retriable: error.is_retriable(),
                requires_abort: error.txn_requires_abort(),
            },
            // rust-rdkafka flushes before a commit; what it waits for is still on its way.
            error => Said {
                code: error.rdkafka_error_code().unwrap_or(Code::Unknown),
                fatal: false,
                retriable: matches!(error, KafkaError::Flush(Code::OperationTimedOut)),
                requires_abort: false,
            },
        }
    }

    pub(super) fn fatal(code: Code) -> Said {
        Said { code, fatal: true, retriable: false, requires_abort: false }
    }
}

/// What an error means for the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The same is asked again.
    Ask,
    /// Nothing was committed and nothing will be: wait for what heals, then from the start.
    Again,
    /// The id has a newer owner, or the brokers ended a transaction that took too long.
    Fenced,
    /// Whether it was committed can't be known from here.
    Unknown,
}

/// In the order of its lines: the first that fits counts.
pub fn fate(step: Step, said: Said) -> Fate {
    match (step, said) {
        // The epoch is not ours any more. librdkafka folds both of the brokers' codes into its own; should one come
        // through unfolded, it means the same.
        (_, Said { code: Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch, .. }) => Fate::Fenced,
        // The brokers refuse the id, the rights, the timeout: nothing has begun, and someone can put it right.
        (Step::Init, Said { retriable: false, .. }) => Fate::Again,
        // Numbers that contradict the brokers', rights withdrawn, a state that can't be: this producer is lost, and
        // what it was about to commit may have been committed.
        (_, Said { fatal: true, .. }) => Fate::Unknown,
        // What was asked goes on inside the client. A commit may have been carried out: aborting could only be wrong.
        (Step::Init | Step::Commit | Step::Abort, Said { retriable: true, .. }) => Fate::Ask,
        // Said before the commit is sent: a record of it failed. Every other failure of a commit may come after it.
        (Step::Commit, Said { code: Code::Inconsistent, requires_abort: true, .. }) => Fate::Again,
        // A transaction that can't begin, can't be aborted or failed while it was committed.
        _ => Fate::Unknown,
    }
}
