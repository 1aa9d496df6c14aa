//! What is asked of the client, on threads where one may wait, and why an answer takes long.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::BaseProducer;
use tokio::task::spawn_blocking;

use super::Transactions;
use crate::clock;
use crate::retry::Schedule;
use crate::sink::kafka::config::TRANSACTION_TIMEOUT;
use crate::sink::kafka::fate::Said;
use crate::sink::kafka::flight::Context;
use crate::sink::kafka::inspect::look;
use crate::sink::kafka::line::{LOOK, Line};
use crate::sink::trouble::Wait;

/// How long one call of the client may take before we look after it; what it waits for goes on inside the client.
pub(super) const TURN: Duration = Duration::from_secs(1);
/// How long nothing may be answered before we ask why.
const STALL: Duration = Duration::from_secs(5);
/// How long brokers that answer otherwise may leave a commit or an abort unanswered. By then the coordinator has ended
/// the transaction, or will not.
pub(super) const PATIENCE: Duration = TRANSACTION_TIMEOUT.saturating_mul(2);

/// What keeps a producer from its id, where that is no matter of connections.
pub(super) fn init_words(id: &str, timeout: Duration, code: Code) -> Option<String> {
    Some(match code {
        Code::ConcurrentTransactions => {
            format!("the brokers are still ending what the last owner of the transactional id {id} left open")
        }
        Code::TransactionalIdAuthorizationFailed => {
            format!("the brokers refuse the transactional id {id}; allow Write and Describe on it to this user")
        }
        Code::InvalidTransactionTimeout => format!(
            "the brokers refuse a transaction.timeout.ms of {}; raise their transaction.max.timeout.ms",
            timeout.as_millis()
        ),
        Code::UnsupportedFeature => "the brokers know no transactions; Kafka 2.5 or later is needed".to_owned(),
        Code::CoordinatorNotAvailable | Code::NotCoordinator | Code::CoordinatorLoadInProgress => format!(
            "the coordinator of the transactional id {id} isn't ready ({code}); start all brokers, and see that \
             __transaction_state has its replicas (transaction.state.log.min.isr)"
        ),
        _ => return None,
    })
}

/// Whether other credentials would be used by a new producer, after these were refused.
pub(super) async fn renewable(line: &Arc<Line>) -> bool {
    let refused = matches!(line.context.heard(), Some((Code::Authentication | Code::SSL, _)));
    let line = line.clone();
    refused && spawn_blocking(move || line.is_stale()).await.unwrap_or(false)
}

/// Asks the client, on a thread where one may wait.
pub(super) async fn ask(
    line: &Arc<Line>,
    call: impl FnOnce(&BaseProducer<Context>) -> KafkaResult<()> + Send + 'static,
) -> Result<(), (Said, String)> {
    let line = line.clone();
    let asked = spawn_blocking(move || call(line.producer()).map_err(|error| (Said::of(&error), error.to_string())));
    // A panic inside the client, or the end of the runtime: this producer is lost.
    asked.await.unwrap_or_else(|fault| Err((Said::fatal(Code::Fail), fault.to_string())))
}

/// Why the client is still at it; said, and asked of the brokers now and then.
pub(super) struct Doubt {
    pub what: &'static str,
    /// Since when brokers that can be reached have not answered.
    since: Duration,
    looked: Duration,
    pauses: Schedule,
}

impl Doubt {
    pub fn new(what: &'static str) -> Doubt {
        let now = clock::uptime();
        // A call may come back at once.
        let pauses = Schedule::new(Duration::from_millis(50), TURN);
        Doubt { what, since: now, looked: now, pauses }
    }

    pub fn is_over(&self) -> bool {
        clock::uptime().saturating_sub(self.since) > PATIENCE
    }

    pub async fn look(&mut self, owner: &Transactions, line: &Line, wait: &mut Wait<'_>) {
        let settings = owner.topics.settings();
        let now = clock::uptime();
        if let Some(text) = owner.heard(line) {
            wait.until(text);
        }
        if now.saturating_sub(self.looked) > STALL {
            let asked = settings.clone();
            match spawn_blocking(move || look(&asked, None, LOOK)).await.map(|found| found.brokers) {
                Ok(Err(fault)) => {
                    wait.until(fault);
                    self.since = clock::uptime();
                }
                _ => wait.until(format!(
                    "{} leave the {} of the transactional id {} unanswered, though they answer otherwise; look at \
                     __transaction_state and the brokers' log",
                    settings.brokers(),
                    self.what,
                    owner.id
                )),
            }
            self.looked = clock::uptime();
        }
        tokio::time::sleep(self.pauses.pause()).await;
    }
}
