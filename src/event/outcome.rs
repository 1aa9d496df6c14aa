//! How what happened ended: the few fields that say so, in the forms in which the API shows them.

use super::Event;
use super::json::Walk;

/// How it ended, as far as the event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    Failure,
    /// It doesn't say.
    Unknown,
}

impl Event {
    /// `success` where it is true or false; else success where `sso_token_success` is true; else failure where
    /// `error_message` is text that is not empty or `error_code` a number other than 0.
    ///
    /// Single sign-on has no `success`, and a `sso_token_success` that is false without an error is a step on the way,
    /// as the question for a second factor is; LDAP has a code.
    pub fn outcome(&self) -> Outcome {
        let (mut success, mut token, mut error) = (None, false, false);
        // It was walked when it was read, so it is an object.
        let _ = Walk::new(self.bytes()).object(|walk, key| {
            let place = key.place(&["success", "sso_token_success", "error_message", "error_code"]);
            let value = &self.bytes()[walk.value()?.place];
            match place {
                Some(0) => success = truth(value).or(success),
                Some(1) => token = value == b"true",
                Some(2) => error |= value.len() > 2 && value[0] == b'"',
                Some(3) => error |= is_other_than_zero(value),
                _ => {}
            }
            Ok(())
        });
        match (success, token, error) {
            (Some(true), ..) | (None, true, _) => Outcome::Success,
            (Some(false), ..) | (None, false, true) => Outcome::Failure,
            (None, false, false) => Outcome::Unknown,
        }
    }
}

fn truth(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn is_other_than_zero(value: &[u8]) -> bool {
    let is_number = value.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit());
    is_number && value.iter().any(|digit| (b'1'..=b'9').contains(digit))
}
