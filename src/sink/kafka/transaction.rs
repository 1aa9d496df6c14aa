//! Messages in transactions: all of one become visible together, or none; one producer under one id, for one owner.
//!
//! # Invariants
//! Knows no ledger, stream or group. Only [`Transactions::open`] takes the id over. Nothing is committed that was not
//! acknowledged whole, and no producer goes on after a transaction whose records may have reached the brokers
//! without our knowing: they could take the next ones for repeats and drop them.
//!
//! # Cancellation
//! Dropping `commit` is the crash of this owner: its transaction may have been committed, and the producer is gone.

mod asking;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use tokio::sync::Mutex;

use super::config::{self, TRANSACTION_TIMEOUT};
use super::fate::{Fate, RecordFate, Said, Step, fate, is_of_topic, record_fate};
use super::flight::Failure;
use super::inspect::{sentence, tells};
use super::line::{Line, Outgoing};
use super::topics::Topics;
use crate::clock;
use crate::retry::Schedule;
use crate::sink::trouble::{Trouble, Wait, quote};
use crate::sink::{Error, Refused};
use asking::{Doubt, PATIENCE, TURN, ask, init_words, renewable};

/// Beyond the 30 s in which the client says the same of a broker only once.
const QUIET: Duration = Duration::from_secs(60);

/// One transactional producer.
pub struct Transactions {
    id: String,
    topics: Arc<Topics>,
    usual: Vec<String>,
    /// How long a transaction may be open.
    timeout: Duration,
    /// Taken out while a transaction is open, so that what a dropped commit leaves behind is used by nobody.
    line: Mutex<Option<Arc<Line>>>,
    trouble: Trouble,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// It was aborted: the brokers refuse these and would refuse them again. The rest wants another commit.
    Refused(Vec<Refused>),
}

/// How far a transaction came that doesn't wait for topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    Ended(Outcome),
    /// It was aborted: the topics of these can't be had now. The rest wants another commit.
    Aside(Vec<usize>),
}

/// This producer is of no use any more. Whether its last transaction was committed, only the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("another owner has the transactional id {id}, or the brokers ended a transaction of it that took too long")]
    Fenced { id: String },
    /// [`Transactions::open`] did not come through in time. Nothing was begun.
    #[error("no transactional producer {id} so far: {why}")]
    Away { id: String, why: String },
    #[error("the transactional producer {id} can't go on: {why}")]
    Unknown { id: String, why: String },
}

impl Transactions {
    /// Checks the settings; no broker is asked before [`Self::open`]. `usual` are topics that will be written to: no
    /// batch is made larger than they take.
    pub fn new(topics: Arc<Topics>, id: impl Into<String>, usual: Vec<String>) -> Result<Transactions, Error> {
        let id = id.into();
        config::transactional(topics.settings(), config::BATCH_BYTES, &id, TRANSACTION_TIMEOUT)?;
        let trouble = Trouble::new(format!("kafka transactions {id}"));
        Ok(Transactions { id, topics, usual, timeout: TRANSACTION_TIMEOUT, line: Mutex::default(), trouble })
    }

    /// The same, whose transactions may be open for so long; the brokers' `transaction.max.timeout.ms` bounds it.
    pub fn lasting(self, timeout: Duration) -> Transactions {
        Transactions { timeout, ..self }
    }

    /// What it is waiting for at this moment; none when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.text()
    }

    /// A part in what it waits for, for one who has put messages aside.
    pub fn wait(&self) -> Wait<'_> {
        self.trouble.wait()
    }

    /// The topics that it writes to: their limits, and what they will surely refuse.
    pub fn topics(&self) -> &Arc<Topics> {
        &self.topics
    }

    /// Takes the id over with a new producer: what an older owner left open is aborted, and it can never commit again.
    ///
    /// `commit` gives it up when the files of its credentials change.
    ///
    /// Only for those who have made sure a moment ago that the id is theirs, therefore no longer than `within`
    /// (overstepped by a few seconds where brokers are silent). Dropped, it may still have taken the id over.
    pub async fn open(&self, within: Duration) -> Result<(), Lost> {
        let mut slot = self.line.lock().await;
        *slot = None;
        let mut wait = self.trouble.wait();
        let mut pauses = Schedule::new(Duration::from_millis(100), Duration::from_secs(5));
        let deadline = clock::uptime() + within;
        loop {
            let why = match self.start(deadline, &mut wait).await? {
                Ok(line) => {
                    *slot = Some(line);
                    wait.over();
                    return Ok(());
                }
                Err(why) => why,
            };
            wait.until(&why);
            if clock::uptime() >= deadline {
                return Err(Lost::Away { id: self.id.clone(), why });
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    /// Writes all messages in one transaction.
    ///
    /// Waits for what heals: a transaction that failed is aborted and sent again, a commit without an answer is asked
    /// for again. One at a time; a second call waits for the first.
    pub async fn commit<'a>(
        &self,
        count: usize,
        message: impl Fn(usize) -> Outgoing<'a> + Sync,
    ) -> Result<Outcome, Lost> {
        loop {
            if let Attempt::Ended(outcome) = self.attempt(count, &message, None).await? {
                return Ok(outcome);
            }
        }
    }

    /// As [`Self::commit`], but gives back the messages whose topics can't be had, where topics come of a template, so
    /// that the others need not wait for them. Why is `aside`'s to say from then on.
    pub async fn commit_or_set_aside<'a>(
        &self,
        count: usize,
        message: impl Fn(usize) -> Outgoing<'a> + Sync,
        aside: &mut Wait<'_>,
    ) -> Result<Attempt, Lost> {
        self.attempt(count, &message, Some(aside)).await
    }

    async fn attempt<'a>(
        &self,
        count: usize,
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        aside: Option<&mut Wait<'_>>,
    ) -> Result<Attempt, Lost> {
        let mut slot = self.line.lock().await;
        let line = slot.take().ok_or_else(|| self.unknown("none is open"))?;
        if self.is_outdated(&line).await {
            return Err(self.unknown("its credentials were replaced, and a new one uses the new ones"));
        }
        let mut wait = self.trouble.wait();
        let all: Vec<usize> = (0..count).collect();
        let aside = aside.filter(|_| self.topics.settings().topic.is_template());
        let attempt = self.settle(&line, &all, message, &mut wait, aside).await?;
        if let Attempt::Ended(_) = attempt {
            wait.over();
        }
        *slot = Some(line);
        Ok(attempt)
    }

    /// Whether other credentials have come that a producer can be made of.
    async fn is_outdated(&self, line: &Arc<Line>) -> bool {
        line.is_outdated().await
            && match self.make(line.batch_bytes) {
                Ok(_) => true,
                Err(fault) => {
                    tracing::warn!("the new credentials for {} are not used: {fault}", self.id);
                    false
                }
            }
    }

    fn make(&self, batch_bytes: u64) -> Result<Line, String> {
        let config = config::transactional(self.topics.settings(), batch_bytes, &self.id, self.timeout);
        Line::open(&self.topics, &config.map_err(|fault| fault.to_string())?, batch_bytes)
    }

    /// A producer that has the id; the inner error is what to wait for.
    async fn start(&self, deadline: Duration, wait: &mut Wait<'_>) -> Result<Result<Arc<Line>, String>, Lost> {
        let mut unlearnt = None;
        for topic in &self.usual {
            if let Err(fault) = self.topics.learn(topic).await {
                unlearnt = Some(fault.to_string());
                break;
            }
        }
        let line = match self.make(self.topics.batch_bytes()) {
            Ok(line) => Arc::new(line),
            Err(fault) => return Ok(Err(fault)),
        };
        self.meet(&line).await;
        let mut doubt = Doubt::new("init");
        loop {
            let Err((said, words)) = ask(&line, |producer| producer.init_transactions(TURN)).await else {
                line.context.calm();
                return Ok(Ok(line));
            };
            match fate(Step::Init, said) {
                Fate::Fenced => return Err(self.fenced()),
                Fate::Ask if clock::uptime() < deadline && !renewable(&line).await => {
                    match init_words(&self.id, self.timeout, said.code) {
                        Some(text) => wait.until(text),
                        None => doubt.look(self, &line, wait).await,
                    }
                }
                _ => {
                    let text = init_words(&self.id, self.timeout, said.code).or_else(|| self.heard(&line)).or(unlearnt);
                    return Ok(Err(text.unwrap_or_else(|| self.words(said.code, &words))));
                }
            }
        }
    }

    /// Waits until a broker answers, or a moment: a client that knows none looks for the coordinator only every half
    /// second (librdkafka 2.12), in which nobody owns what is taken over.
    async fn meet(&self, line: &Arc<Line>) {
        let Some(topic) = self.usual.first().cloned() else { return };
        // Whatever is wrong shows at the next step.
        let _ = ask(line, move |producer| producer.client().fetch_metadata(Some(&topic), TURN).map(drop)).await;
    }

    /// Until the transaction is committed, or refused, or some of it put aside.
    async fn settle<'a>(
        &self,
        line: &Arc<Line>,
        all: &[usize],
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        wait: &mut Wait<'_>,
        mut aside: Option<&mut Wait<'_>>,
    ) -> Result<Attempt, Lost> {
        let mut pauses = Schedule::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            self.begin(line).await?;
            let failures = self.fly(line, all, message, wait).await?;
            if failures.is_empty() && self.end(line, Step::Commit, wait).await? {
                return Ok(Attempt::Ended(Outcome::Committed));
            }
            self.abort(line, &failures, wait).await?;
            let absent = self.absent(line, &failures, message);
            let refused = self.refused(line, failures, message, wait).await?;
            if !refused.is_empty() {
                return Ok(Attempt::Ended(Outcome::Refused(refused)));
            }
            if let Some(aside) = aside.as_mut().filter(|_| !absent.is_empty()) {
                aside.until(self.trouble.text().unwrap_or_default());
                let lacks = |index: &usize| absent.contains(&*self.topics.route(message(*index)).topic);
                return Ok(Attempt::Aside(all.iter().copied().filter(lacks).collect()));
            }
            if line.is_too_coarse() {
                return Err(self.too_coarse());
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    /// The topics that can't be had, of those that the failed records were to go to.
    fn absent<'a>(
        &self,
        line: &Arc<Line>,
        failures: &[Failure],
        message: &impl Fn(usize) -> Outgoing<'a>,
    ) -> HashSet<String> {
        let denied = line.context.denied();
        let topics = failures.iter().map(|(index, code)| (self.topics.route(message(*index)), *code));
        let absent = topics.filter(|(to, code)| {
            to.fallback.is_none_or(|fallback| fallback == to.topic)
                && (is_of_topic(*code) || denied.iter().any(|denied| *denied == to.topic))
        });
        absent.map(|(outgoing, _)| outgoing.topic.into_owned()).collect()
    }

    /// Those of the failed records that the brokers will never take; says what is waited for where it is something else.
    async fn refused<'a>(
        &self,
        line: &Arc<Line>,
        failures: Vec<Failure>,
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, Lost> {
        self.topics.learn_limits(&failures, message).await;
        let (mut refused, mut suspects, mut again) = (Vec::new(), Vec::new(), None);
        let denied = line.context.denied();
        let elsewhere = self.topics.give_up_failed(&failures, &denied, message);
        for (index, code) in failures {
            let outgoing = self.topics.route(message(index));
            match record_fate(code, outgoing.wire_size() > line.batch_bytes) {
                RecordFate::Refused(reason) => refused.push(self.topics.refused(index, reason, code, &outgoing)),
                RecordFate::Suspect => suspects.push(index),
                _ if elsewhere.contains(&index) => {}
                RecordFate::Fell if denied.iter().any(|denied| *denied == outgoing.topic) => {
                    again = Some((Code::TopicAuthorizationFailed, outgoing.topic));
                }
                RecordFate::Again => again = Some((code, outgoing.topic)),
                RecordFate::Held | RecordFate::Fell => {}
            }
        }
        if let Some((code, topic)) = again {
            self.topics.forget();
            // Why they timed out has been said while they flew.
            if code != Code::MessageTimedOut || self.trouble().is_none() {
                wait.until(sentence(self.topics.settings(), &topic, code, &code.to_string()));
            }
        }
        if refused.is_empty() && !suspects.is_empty() {
            suspects.sort_unstable();
            refused = self.judge(line, &suspects, message, wait).await?;
        }
        refused.sort_unstable_by_key(|refused: &Refused| refused.index);
        Ok(refused)
    }

    /// Finds those that the brokers refuse, one alone after the other: all in transactions that are aborted.
    async fn judge<'a>(
        &self,
        line: &Arc<Line>,
        suspects: &[usize],
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, Lost> {
        let mut refused = Vec::new();
        let mut pauses = Schedule::new(Duration::from_millis(10), Duration::from_secs(5));
        let mut left = suspects.to_vec();
        while !left.is_empty() {
            if line.is_too_coarse() {
                return Err(self.too_coarse());
            }
            let end = clock::uptime() + TRANSACTION_TIMEOUT / 3;
            self.begin(line).await?;
            let mut failures = Vec::new();
            while clock::uptime() < end && failures.is_empty() && !left.is_empty() {
                failures = self.fly(line, &left[..1], message, wait).await?;
                let verdict = failures.first().map(|(index, code)| (*index, *code, record_fate(*code, true)));
                match verdict {
                    None => pauses.reset(),
                    Some((index, code, RecordFate::Refused(reason))) => {
                        let outgoing = self.topics.route(message(index));
                        refused.push(self.topics.refused(index, reason, code, &outgoing));
                    }
                    // Nothing is said of it yet: its number was not the expected one, after one that was refused.
                    Some(_) => break,
                }
                left.remove(0);
            }
            self.abort(line, &failures, wait).await?;
            if !failures.is_empty() {
                tokio::time::sleep(pauses.pause()).await;
            }
        }
        if refused.is_empty() {
            self.topics.lower(&self.topics.route(message(suspects[0])).topic, line.batch_bytes);
        }
        Ok(refused)
    }

    async fn begin(&self, line: &Arc<Line>) -> Result<(), Lost> {
        line.context.begin();
        let begun = ask(line, |producer| producer.begin_transaction()).await;
        begun.map_err(|(said, words)| self.lost(Step::Begin, said, &words))
    }

    /// Sends, and gives the records that failed.
    async fn fly<'a>(
        &self,
        line: &Arc<Line>,
        indexes: &[usize],
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Failure>, Lost> {
        crate::fail_point!("begun");
        let failures = line.fly(indexes, message, wait).await;
        crate::fail_point!("sent");
        match line.producer().client().fatal_error() {
            Some((code, words)) => Err(self.lost(Step::Send, Said::fatal(code), &words)),
            None => Ok(failures),
        }
    }

    /// Aborts what failed; an error where this producer's numbers can't be trusted afterwards.
    ///
    /// librdkafka numbers the next records as if those that it gave back had never left. One that was sent, and whose
    /// answer was lost with its connection, is known to the brokers: the next record would get its number, and be
    /// acknowledged as a repeat without being written. Only a new epoch begins new numbers; the client asks for one
    /// when records have timed out, or when the brokers miss a number, as they do behind one that they refused. Else
    /// only a time without any trouble shows that every answer came.
    async fn abort(&self, line: &Arc<Line>, failures: &[Failure], wait: &mut Wait<'_>) -> Result<(), Lost> {
        let answered = failures.iter().all(|(_, code)| record_fate(*code, true) == RecordFate::Held);
        let quiet = line.context.unrest().is_none_or(|ago| ago > QUIET);
        if answered || quiet || line.context.renumbers() {
            return self.end(line, Step::Abort, wait).await.map(|_| ());
        }
        Err(self.unknown("a transaction failed together with connections, and what reached the brokers is not known"))
    }

    /// Commits or aborts; false where it failed and wants to be aborted.
    async fn end(&self, line: &Arc<Line>, step: Step, wait: &mut Wait<'_>) -> Result<bool, Lost> {
        let mut doubt = Doubt::new(if step == Step::Commit { "commit" } else { "abort" });
        loop {
            let asked = ask(line, move |producer| match step {
                Step::Commit => producer.commit_transaction(TURN),
                _ => producer.abort_transaction(TURN),
            });
            let Err((said, words)) = asked.await else { return Ok(true) };
            match fate(step, said) {
                Fate::Ask if doubt.is_over() => {
                    return Err(self.unknown(format!("no answer to its {} within {PATIENCE:?}", doubt.what)));
                }
                Fate::Ask if renewable(line).await => {
                    return Err(self.unknown("its credentials were refused and replaced"));
                }
                Fate::Ask => doubt.look(self, line, wait).await,
                Fate::Again => return Ok(false),
                Fate::Fenced | Fate::Unknown => return Err(self.lost(step, said, &words)),
            }
        }
    }

    /// What is wrong with the connections, where that is known.
    fn heard(&self, line: &Line) -> Option<String> {
        // None of those is about a topic.
        let (code, reason) = line.context.heard().filter(|(code, _)| tells(*code))?;
        Some(sentence(self.topics.settings(), "", code, &reason))
    }

    fn lost(&self, step: Step, said: Said, words: &str) -> Lost {
        match fate(step, said) {
            Fate::Fenced => self.fenced(),
            _ => self.unknown(self.words(said.code, words)),
        }
    }

    fn too_coarse(&self) -> Lost {
        self.unknown("a topic takes smaller batches than it makes")
    }

    fn fenced(&self) -> Lost {
        Lost::Fenced { id: self.id.clone() }
    }

    fn unknown(&self, why: impl Into<String>) -> Lost {
        Lost::Unknown { id: self.id.clone(), why: why.into() }
    }

    fn words(&self, code: Code, words: &str) -> String {
        format!("{} say {code} ({})", self.topics.settings().brokers(), quote(words))
    }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").field("id", &self.id).finish_non_exhaustive()
    }
}
