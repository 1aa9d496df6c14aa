//! What the client's word means, line by line.

use jumpstream::record::Reason;
use jumpstream::sink::kafka::fate::{Fate, RecordFate, Said, Step, fate, record_fate};
use rdkafka::error::RDKafkaErrorCode as Code;

const STEPS: [Step; 5] = [Step::Init, Step::Begin, Step::Send, Step::Commit, Step::Abort];

fn fatal(code: Code) -> Said {
    Said { code, fatal: true, retriable: false, requires_abort: false }
}

fn retriable(code: Code) -> Said {
    Said { code, fatal: false, retriable: true, requires_abort: false }
}

fn abortable(code: Code) -> Said {
    Said { code, fatal: false, retriable: false, requires_abort: true }
}

#[test]
fn fenced_is_fenced_at_every_step() {
    for step in STEPS {
        for code in [Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch] {
            assert_eq!(fate(step, fatal(code)), Fate::Fenced, "{step:?} {code:?}");
        }
    }
}

#[test]
fn what_goes_on_inside_the_client_is_asked_again() {
    for step in [Step::Init, Step::Commit, Step::Abort] {
        for code in [Code::OperationTimedOut, Code::ConcurrentTransactions, Code::State] {
            assert_eq!(fate(step, retriable(code)), Fate::Ask, "{step:?} {code:?}");
        }
    }
}

#[test]
fn an_id_that_the_brokers_refuse_is_tried_again_from_the_start() {
    for code in [Code::TransactionalIdAuthorizationFailed, Code::InvalidTransactionTimeout, Code::UnsupportedFeature] {
        assert_eq!(fate(Step::Init, fatal(code)), Fate::Again, "{code:?}");
    }
}

#[test]
fn a_commit_that_failed_is_sent_again_only_if_it_was_never_asked_for() {
    assert_eq!(fate(Step::Commit, abortable(Code::Inconsistent)), Fate::Again);
    for code in [Code::OperationTimedOut, Code::UnknownProducerId, Code::InvalidProducerIdMapping, Code::Unknown] {
        assert_eq!(fate(Step::Commit, abortable(code)), Fate::Unknown, "{code:?}");
    }
    assert_eq!(fate(Step::Commit, fatal(Code::Inconsistent)), Fate::Unknown);
}

#[test]
fn all_else_is_unknown() {
    for step in [Step::Begin, Step::Send, Step::Commit, Step::Abort] {
        for code in [Code::OutOfOrderSequenceNumber, Code::InvalidTransactionalState, Code::ClusterAuthorizationFailed]
        {
            assert_eq!(fate(step, fatal(code)), Fate::Unknown, "{step:?} {code:?}");
        }
    }
    assert_eq!(fate(Step::Begin, retriable(Code::Conflict)), Fate::Unknown);
    assert_eq!(fate(Step::Abort, abortable(Code::State)), Fate::Unknown);
}

#[test]
fn a_record_is_refused_only_by_an_answer_that_is_meant_for_it() {
    let too_large = RecordFate::Refused(Reason::TooLargeForSink);
    for (code, alone, together) in [
        (Code::MessageSizeTooLarge, too_large, RecordFate::Suspect),
        (Code::MessageBatchTooLarge, too_large, RecordFate::Suspect),
        (Code::InvalidRecord, RecordFate::Refused(Reason::Refused), RecordFate::Suspect),
        (Code::InvalidDifferentRecord, RecordFate::Suspect, RecordFate::Suspect),
        (Code::PurgeQueue, RecordFate::Fell, RecordFate::Fell),
        (Code::State, RecordFate::Fell, RecordFate::Fell),
        (Code::Application, RecordFate::Held, RecordFate::Held),
        (Code::MessageTimedOut, RecordFate::Again, RecordFate::Again),
        (Code::TopicAuthorizationFailed, RecordFate::Again, RecordFate::Again),
        (Code::InvalidTimestamp, RecordFate::Again, RecordFate::Again),
    ] {
        assert_eq!((record_fate(code, true), record_fate(code, false)), (alone, together), "{code:?}");
    }
}
