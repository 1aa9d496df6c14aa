//! Records on their way: what the producer still owes an answer for, and what it heard from the brokers meanwhile.
//!
//! # Invariants
//! The producer's thread only counts here; it never waits, sends or logs above `debug`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::oneshot;

use super::{Settings, Tokens};
use crate::clock;
use crate::sink::trouble::quote;

/// A record that failed: its place in the delivered slice and the client's word for why.
pub(super) type Failure = (usize, RDKafkaErrorCode);

/// Of a flight's answers the first so many are looked at for where they landed, and then each such.
const LOOKED_AT: (usize, usize) = (1_000, 256);

/// Shared by the producer, whose callbacks fill it, and those who wait.
#[derive(Debug, Default, Clone)]
pub(super) struct Context {
    state: Arc<Mutex<State>>,
    tokens: Option<Tokens>,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    flights: HashMap<u32, Open>,
    /// The last trouble with a connection since a record was acknowledged.
    heard: Option<(RDKafkaErrorCode, String)>,
    /// When the client last complained of a connection or a request.
    unrest: Option<Duration>,
    renumbers: bool,
    /// Topics that the transaction may not write to.
    denied: Vec<String>,
    /// The last offset that was looked at, by topic and partition.
    landed: HashMap<String, HashMap<i32, i64>>,
    /// Topics that were found to have begun anew, and not been told of.
    anew: Vec<String>,
}

#[derive(Debug, Default)]
struct Open {
    /// Records without an answer, those not yet sent included, and one more until all are sent.
    open: usize,
    acknowledged: usize,
    failures: Vec<Failure>,
    landed: Option<oneshot::Sender<Vec<Failure>>>,
}

/// One round of records. Dropped before it has landed, its answers are counted and forgotten.
pub(super) struct Flight {
    context: Context,
    number: u32,
    /// Those that have not been handed to the producer, and one more until all are sent.
    left: usize,
}

impl Context {
    /// For a client of these settings.
    pub(super) fn of(settings: &Settings) -> Context {
        Context { tokens: settings.tokens(), ..Context::default() }
    }

    /// A new flight of so many records, and where its failures arrive once every record of it has an answer.
    pub(super) fn flight(&self, records: usize) -> (Flight, oneshot::Receiver<Vec<Failure>>) {
        let (landed, answer) = oneshot::channel();
        let mut state = self.state();
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        state.flights.insert(number, Open { open: records + 1, landed: Some(landed), ..Open::default() });
        (Flight { context: self.clone(), number, left: records + 1 }, answer)
    }

    /// The last trouble with a connection; none since a record was acknowledged.
    pub(super) fn heard(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.state().heard.clone()
    }

    /// How long ago the client last complained of a connection or a request; none if it never did.
    pub(super) fn unrest(&self) -> Option<Duration> {
        self.state().unrest.map(|last| clock::uptime().saturating_sub(last))
    }

    /// What was complained of so far was before anything was sent.
    pub(super) fn calm(&self) {
        self.state().unrest = None;
    }

    /// A transaction begins.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.renumbers = false;
        state.denied.clear();
    }

    /// The topics that the brokers don't let into the transaction; the records that were to go there only fall.
    pub(super) fn denied(&self) -> Vec<String> {
        self.state().denied.clone()
    }

    /// Topics in which a record has landed before an earlier one, since this was last asked: they were deleted and made
    /// again, or lost what was acknowledged.
    pub(super) fn begun_anew(&self) -> Vec<String> {
        std::mem::take(&mut self.state().anew)
    }

    /// Whether the client has said that the failed transaction's abort will begin new numbers.
    pub(super) fn renumbers(&self) -> bool {
        self.state().renumbers
    }

    /// Offsets of one producer's records ascend, for as long as its topic is the same one.
    fn look(state: &mut State, message: &BorrowedMessage<'_>) {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        // A record that was acknowledged twice has none.
        if offset < 0 {
            return;
        }
        let known = state.landed.get_mut(topic);
        let begins_anew = known.is_some_and(|known| known.get(&partition).is_some_and(|last| offset <= *last));
        if begins_anew {
            state.landed.remove(topic);
            state.anew.push(topic.to_owned());
        }
        match state.landed.get_mut(topic) {
            Some(known) => drop(known.insert(partition, offset)),
            None => drop(state.landed.insert(topic.to_owned(), HashMap::from([(partition, offset)]))),
        }
    }

    fn land(state: &mut State, number: u32, records: usize) {
        let Some(flight) = state.flights.get_mut(&number) else { return };
        flight.open -= records;
        if flight.open == 0 {
            let flight = state.flights.remove(&number);
            if let Some(Open { landed: Some(landed), failures, .. }) = flight {
                // Nobody listens any more: the delivery was dropped.
                let _ = landed.send(failures);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// What the producer carries for the record at `index` and gives back with its answer.
    pub(super) fn ticket(&self, index: usize) -> usize {
        const { assert!(usize::BITS == 64, "a ticket holds a flight and an index of 32 bits each") };
        (self.number as usize) << 32 | index
    }

    /// The producer has taken one more record and owes its answer, which may have come already. Takes no lock: it is
    /// said for every record, while the producer's thread counts answers.
    pub(super) fn taken(&mut self) {
        self.left -= 1;
    }

    /// The record at `index` never left: an answer of our own.
    pub(super) fn fail(&mut self, index: usize, code: RDKafkaErrorCode) {
        self.left -= 1;
        let mut state = self.context.state();
        if let Some(flight) = state.flights.get_mut(&self.number) {
            flight.failures.push((index, code));
        }
        Context::land(&mut state, self.number, 1);
    }

    /// All are sent, or no more will be: the flight lands with its last answer.
    pub(super) fn sent(&mut self) {
        let left = std::mem::take(&mut self.left);
        if left > 0 {
            Context::land(&mut self.context.state(), self.number, left);
        }
    }

    /// How many records the brokers have acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.context.state().flights.get(&self.number).map_or(0, |flight| flight.acknowledged)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.sent();
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.tokens.as_ref().ok_or("no runtime to buy a token on")?.next()?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{}", quote(text));
        let mut state = self.state();
        match facility {
            _ if matches!(level, RDKafkaLogLevel::Debug) => {}
            // A transaction failed. Said nowhere else; were it ever said in other words, we would only be too careful.
            "TXNERR" => state.renumbers |= text.contains("requires epoch bump"),
            // `Failed to add partition "topic" [0] to transaction: …`: a definite answer too.
            "ADDPARTS" if text.contains("authorization failed") => {
                state.denied.extend(text.split('"').nth(1).map(str::to_owned));
            }
            "ADDPARTS" if text.contains("not attempted") => {}
            // The coordinator isn't ready to give us an epoch.
            "GETPID" => {}
            _ => state.unrest = Some(clock::uptime()),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        tracing::debug!(target: "librdkafka", ?code, "{}", quote(reason));
        let mut state = self.state();
        state.unrest = Some(clock::uptime());
        // That all are down says less than why the last one was refused.
        let refused = matches!(
            state.heard,
            Some((RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL | RDKafkaErrorCode::Resolve, _))
        );
        if !(refused && code == RDKafkaErrorCode::AllBrokersDown) {
            state.heard = Some((code, quote(reason)));
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let (number, index) = ((ticket >> 32) as u32, ticket & u32::MAX as usize);
        let mut state = self.state();
        if result.is_ok() {
            state.heard = None;
        }
        let mut acknowledged = 0;
        if let Some(flight) = state.flights.get_mut(&number) {
            match result {
                Ok(_) => flight.acknowledged += 1,
                Err((error, _)) => {
                    flight.failures.push((index, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)));
                }
            }
            acknowledged = flight.acknowledged;
        }
        if let Ok(message) = result
            && (acknowledged <= LOOKED_AT.0 || acknowledged.is_multiple_of(LOOKED_AT.1))
        {
            Context::look(&mut state, message);
        }
        Context::land(&mut state, number, 1);
    }
}
