//! What an error keeps a stream from reading by, in the words of a gap.

use jumpstream::ledger::Cause;
use jumpstream::source::Error;
use jumpstream::stream::causes::cause;

#[test]
fn each_error_is_a_cause_of_its_own() {
    let message = String::new;
    for (error, expected) in [
        (Error::Unauthorized { message: message(), remedy: "" }, Cause::KeyRefused),
        (Error::Credential(message()), Cause::KeyRefused),
        (Error::RateLimited { status: 429, retry_after: None, message: message() }, Cause::Throttled),
        (Error::Unlicensed { message: message() }, Cause::RequestsRefused),
        (Error::Server { status: 500, retry_after: None, message: message() }, Cause::ApiFailing),
    ] {
        assert_eq!(cause(&error), expected, "{error}");
    }
}
