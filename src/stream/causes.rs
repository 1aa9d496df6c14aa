//! What an error keeps a stream from reading by: as a control record says it, and in the fewer words that a gap has.

use crate::control::blindness::Reason;
use crate::ledger::Cause;
use crate::source::{Class, Error as SourceError, Phase};

/// As a control record says it.
pub fn reason(error: &SourceError) -> Reason {
    match (error, error.class()) {
        (SourceError::RateLimited { .. }, _) => Reason::Throttled,
        (SourceError::Unlicensed { .. }, _) => Reason::Unlicensed,
        (_, Class::Credential) => Reason::KeyRefused,
        (_, Class::Refused) => Reason::RequestsRefused,
        (SourceError::Unreachable { .. } | SourceError::Tls { .. }, _)
        | (SourceError::Timeout { phase: Phase::Connect | Phase::Answer, .. }, _) => Reason::ApiUnreachable,
        _ => Reason::ApiFailing,
    }
}

/// As a gap says it.
pub fn cause(error: &SourceError) -> Cause {
    match reason(error) {
        Reason::KeyRefused => Cause::KeyRefused,
        Reason::Throttled => Cause::Throttled,
        Reason::Unlicensed | Reason::RequestsRefused => Cause::RequestsRefused,
        Reason::SinkBlocked => Cause::SinkBlocked,
        Reason::ApiUnreachable | Reason::ApiFailing => Cause::ApiFailing,
        Reason::Down | Reason::Stopped | Reason::Behind | Reason::Retention => Cause::NotRunningOrUnknown,
    }
}
