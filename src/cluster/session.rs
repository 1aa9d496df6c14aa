//! One client's life in the group: what it says becomes changes, what we are told becomes its next step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::context::{Context, Event, quote, settle};
use super::holding::{Drained, Holding};
use super::member::{Command, Member};
use super::standing::wants_new_client;
use super::{Change, DRAIN, LEAVE, NotOurs, Options};
use crate::clock;

/// How long a poll waits for the client, and so how late a command is heard.
const POLL: Duration = Duration::from_millis(20);
/// How often the client is made to look at what is due. By itself it does so once a second (librdkafka 2.12, in the
/// classic protocol), whatever `heartbeat.interval.ms` says, and so would hear of a rebalance that much later.
const NUDGE: Duration = Duration::from_millis(50);
/// Until the coordinator is asked again that is busy with a rebalance.
const AGAIN: Duration = Duration::from_millis(100);
/// How long refused credentials are tried before a new client reads them again.
const REREAD: Duration = Duration::from_secs(5);

/// A client and what its callbacks say.
pub(super) struct Client {
    consumer: Arc<BaseConsumer<Context>>,
    events: Receiver<Event>,
}

impl Client {
    /// Subscribes; a fault is a sentence.
    pub(super) fn open(options: &Options) -> Result<Client, String> {
        let (sender, events) = channel();
        let config = settle((options.client)()?, &options.group);
        let consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&config, Context::new(sender, options.tokens.clone()))
                .map_err(sentence)?;
        consumer.subscribe(&[&options.topic]).map_err(sentence)?;
        Ok(Client { consumer: Arc::new(consumer), events })
    }
}

fn sentence(fault: KafkaError) -> String {
    quote(&fault.to_string())
}

/// How a session ends.
pub(super) enum End {
    /// As told.
    Left,
    /// Our credentials, which may have been replaced since.
    Refused,
    Broken(String),
}

pub(super) struct Session<'m> {
    member: &'m Member,
    client: Client,
    holding: Holding,
    questions: BTreeMap<u32, Question>,
    /// Numbers the offset commits, so that a late answer is not taken for the one that is awaited.
    attempts: u64,
    /// Since when our credentials are refused, in [`clock::uptime`].
    refused_since: Option<Duration>,
}

/// Someone who waits to hear whether a partition is ours.
struct Question {
    attempt: u64,
    answer: oneshot::Sender<Result<(), NotOurs>>,
    /// When to ask once more, in [`clock::uptime`]; none while an answer is on its way.
    again: Option<Duration>,
}

impl<'m> Session<'m> {
    pub(super) fn new(member: &'m Member, client: Client) -> Session<'m> {
        Session {
            member,
            client,
            holding: Holding::default(),
            questions: BTreeMap::new(),
            attempts: 0,
            refused_since: None,
        }
    }

    pub(super) fn run(mut self) -> End {
        let turned = self.turn();
        let asked_back = self.holding.drained(Duration::MAX).map(|drained| drained.revoked);
        let held = self.holding.lose_all();
        let (end, answer) = match turned {
            Ok(answer) => {
                if !held.is_empty() {
                    // As whoever told us to leave wants it: no news for the log.
                    self.member.tell(Change::Lost(held));
                }
                (End::Left, answer)
            }
            Err(end) => {
                self.say_lost(held);
                (end, None)
            }
        };
        self.leave(asked_back);
        if let Some(answer) = answer {
            // Whoever told us to leave may have gone already.
            let _ = answer.send(());
        }
        end
    }

    /// Turns until told to leave; gives who waits for that.
    fn turn(&mut self) -> Result<Option<oneshot::Sender<()>>, End> {
        let mut nudged_at = Duration::ZERO;
        loop {
            while let Ok(command) = self.member.inbox.try_recv() {
                match command {
                    Command::Released(partition) => self.holding.release(partition),
                    Command::Confirm(partition, answer) => self.question(partition, answer),
                    Command::Committed { partition, attempt, outcome } => self.answer(partition, attempt, outcome),
                    Command::Leave(answer) => return Ok(answer),
                }
            }
            // A record that was fetched before its partition was paused is nobody's.
            let _ = self.client.consumer.poll(POLL);
            if clock::uptime() >= nudged_at + NUDGE {
                nudged_at = clock::uptime();
                // The client's own thread answers, and then looks at what is due.
                let _ = self.client.consumer.assignment();
            }
            while let Ok(event) = self.client.events.try_recv() {
                self.hear(event).map_err(broken)?;
            }
            self.give_back().map_err(broken)?;
            self.ask_again();
            if self.refused_since.is_some_and(|since| clock::uptime() > since + REREAD) {
                return Err(End::Refused);
            }
        }
    }

    fn hear(&mut self, event: Event) -> Result<(), KafkaError> {
        match event {
            Event::Assign(partitions) => self.assigned(partitions),
            Event::Revoke { partitions, lost: false } => {
                let owned = self.holding.revoke(partitions, clock::uptime() + DRAIN);
                self.refuse(&owned);
                if !owned.is_empty() {
                    self.member.say(Change::Revoked(owned));
                }
                Ok(())
            }
            Event::Revoke { partitions, lost: true } => {
                let lost = self.holding.lose(&partitions);
                self.refuse(&lost);
                self.member.standing.outside();
                self.say_lost(lost);
                self.client.consumer.incremental_unassign(&self.list(&partitions))
            }
            Event::Error(code, reason) => {
                if wants_new_client(code) && self.holding.is_empty() {
                    self.refused_since.get_or_insert(clock::uptime());
                }
                self.member.standing.heard(code, &reason);
                Ok(())
            }
        }
    }

    fn assigned(&mut self, partitions: Vec<u32>) -> Result<(), KafkaError> {
        let list = self.list(&partitions);
        self.client.consumer.incremental_assign(&list)?;
        // It would read the ledger of every partition that we hold, for nobody.
        self.client.consumer.pause(&list)?;
        self.holding.assign(&partitions);
        self.refused_since = None;
        self.member.standing.admitted();
        self.member.say(Change::Assigned(partitions));
        Ok(())
    }

    /// Gives the revoked set back, once it has drained.
    fn give_back(&mut self) -> Result<(), KafkaError> {
        let Some(Drained { revoked, overruled }) = self.holding.drained(clock::uptime()) else { return Ok(()) };
        self.say_lost(overruled);
        self.client.consumer.incremental_unassign(&self.list(&revoked))
    }

    fn say_lost(&self, lost: Vec<u32>) {
        if !lost.is_empty() {
            self.member.say(Change::Lost(lost));
        }
    }

    fn question(&mut self, partition: u32, answer: oneshot::Sender<Result<(), NotOurs>>) {
        if !self.holding.holds(partition) {
            let _ = answer.send(Err(NotOurs::NotAssigned(partition)));
            return;
        }
        self.questions.insert(partition, Question { attempt: 0, answer, again: Some(clock::uptime()) });
    }

    /// Asks the coordinator whatever is due. The offset means nothing: only whether it is taken.
    ///
    /// A commit blocks until it is answered, and the answer to one that does not block never reaches a callback
    /// (rdkafka 0.39 asks librdkafka for events, which has none for these): so each has a thread of its own, which
    /// nobody waits for. Take-overs are rare.
    fn ask_again(&mut self) {
        let now = clock::uptime();
        for (&partition, question) in
            self.questions.iter_mut().filter(|(_, each)| each.again.is_some_and(|at| at <= now))
        {
            self.attempts += 1;
            (question.attempt, question.again) = (self.attempts, None);
            let (attempt, commands) = (self.attempts, self.member.commands.clone());
            let (consumer, list) =
                (self.client.consumer.clone(), list(&self.member.options.topic, &[partition], Offset::Offset(0)));
            std::thread::spawn(move || {
                let outcome = consumer.commit(&list, CommitMode::Sync);
                let outcome = outcome.map_err(|fault| fault.rdkafka_error_code().unwrap_or(Code::Unknown));
                // The member has left meanwhile.
                let _ = commands.send(Command::Committed { partition, attempt, outcome });
            });
        }
    }

    fn answer(&mut self, partition: u32, attempt: u64, outcome: Result<(), Code>) {
        let Some(question) = self.questions.get_mut(&partition).filter(|question| question.attempt == attempt) else {
            return;
        };
        if outcome == Err(Code::RebalanceInProgress) {
            question.again = Some(clock::uptime() + AGAIN);
            return;
        }
        if let Some(Question { answer, .. }) = self.questions.remove(&partition) {
            let _ = answer.send(outcome.map_err(|code| NotOurs::Refused { partition, code }));
        }
    }

    /// Whoever asked for one of these is answered: a commit on its way may be taken under a later generation.
    fn refuse(&mut self, partitions: &[u32]) {
        for partition in partitions {
            if let Some(Question { answer, .. }) = self.questions.remove(partition) {
                let _ = answer.send(Err(NotOurs::NotAssigned(*partition)));
            }
        }
    }

    /// Gives everything back and leaves, as far as the coordinator answers in time.
    ///
    /// Unsubscribes before it closes: a client that holds nothing is closed by librdkafka (2.12) without a word to the
    /// coordinator, which would go on giving it partitions until its session ends.
    fn leave(&mut self, asked_back: Option<Vec<u32>>) {
        self.questions.clear();
        let consumer = &self.client.consumer;
        let end = clock::uptime() + LEAVE;
        let poll_until = |done: &dyn Fn() -> bool| {
            while !done() && clock::uptime() < end {
                let _ = consumer.poll(POLL);
            }
        };
        consumer.context().answer_alone();
        if let Some(revoked) = asked_back {
            let _ = consumer.incremental_unassign(&self.list(&revoked));
        }
        consumer.unsubscribe();
        poll_until(&|| consumer.assignment().is_ok_and(|held| held.count() == 0));
        let _ = consumer.close_queue();
        // The answer to whatever a session that broke has left open; else it changes nothing any more.
        let _ = consumer.unassign();
        poll_until(&|| consumer.closed());
    }

    fn list(&self, partitions: &[u32]) -> TopicPartitionList {
        // Where a fetch would begin, were the partition not paused.
        list(&self.member.options.topic, partitions, Offset::End)
    }
}

fn list(topic: &str, partitions: &[u32], offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        // Only an offset that is no number is refused.
        let _ = list.add_partition_offset(topic, *partition as i32, offset);
    }
    list
}

fn broken(fault: KafkaError) -> End {
    End::Broken(format!("the group's client broke ({}); a new one joins", sentence(fault)))
}
