//! The row of the ledger topic: whether it is there, whole and ours.

use crate::app::ledgers;
use crate::config::Config;
use crate::store::kafka::{Found, Untaken};

use super::{Row, WITHIN, halves};

const NAME: &str = "state";

/// Asks for metadata and settings and reads a few records; writes nothing and joins nothing.
pub(super) async fn row(config: &Config) -> Row {
    let ledgers = match ledgers(config) {
        Ok(ledgers) => ledgers,
        Err(error) => return red(&error.to_string()),
    };
    match tokio::time::timeout(WITHIN, ledgers.look()).await {
        Ok(Ok(Found::Absent)) => Row::green(NAME, "the ledger topic is made at the first start, where we may"),
        Ok(Ok(Found::There { begun, warnings })) => match warnings.first() {
            Some(warning) => {
                let (finding, remedy) = halves(warning);
                Row::yellow(NAME, finding, remedy)
            }
            None if begun => Row::green(NAME, "the ledger topic holds ledgers"),
            None => Row::green(NAME, "the ledger topic is empty, as before a first start"),
        },
        Ok(Err(Untaken::Fatal(error))) => red(&error.to_string()),
        Ok(Err(Untaken::NotNow(why))) => red(&why),
        Err(_) => red("the brokers did not answer in time about the ledger topic; look at their log"),
    }
}

fn red(fault: &str) -> Row {
    let (finding, remedy) = halves(fault);
    Row::red(NAME, finding, remedy)
}
