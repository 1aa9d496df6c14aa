//! Whether the group has us as a member, and what was heard since it has not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::clock;

/// How long joining may take before it is told without a known cause: a rebalance waits for the drain of others, and a
/// group's first one 3 s for further members.
const PATIENCE: Duration = Duration::from_secs(15);

/// Written by the thread that polls, read by whoever asks.
#[derive(Debug)]
pub(super) struct Standing {
    topic: String,
    group: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In [`clock::uptime`]; none while we are a member.
    outside_since: Option<Duration>,
    /// The last that was heard since we were admitted, and when, in [`clock::uptime`].
    heard: Option<(Duration, String)>,
    /// Whether it was logged.
    told: bool,
}

impl Standing {
    pub(super) fn new(topic: &str, group: &str) -> Standing {
        let state = State { outside_since: Some(clock::uptime()), heard: None, told: false };
        Standing { topic: topic.to_owned(), group: group.to_owned(), state: Mutex::new(state) }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.state();
        let outside = clock::uptime().saturating_sub(state.outside_since?);
        match &state.heard {
            Some((_, heard)) => Some(heard.clone()),
            None if outside < PATIENCE => None,
            None => Some(format!(
                "the coordinator of group {} has not admitted us since {} s; look at the brokers' log and at the other \
                 members: kafka-consumer-groups.sh --describe --members --group {}",
                self.group,
                outside.as_secs(),
                self.group
            )),
        }
    }

    /// A rebalance has come to its end with us in it.
    pub(super) fn admitted(&self) {
        let mut state = self.state();
        if state.told {
            tracing::info!(group = self.group, "a member of the group again");
        }
        *state = State { outside_since: None, heard: None, told: false };
    }

    /// The coordinator has struck us off, or does not answer.
    pub(super) fn outside(&self) {
        let mut state = self.state();
        if state.outside_since.is_none() {
            let now = clock::uptime();
            // What was heard long before and did not end our session is not what ended it now.
            state.heard.take_if(|(at, _)| *at + PATIENCE < now);
            state.outside_since = Some(now);
        }
        self.tell(&mut state);
    }

    /// While we are a member it is only remembered: what matters of it ends our session.
    pub(super) fn heard(&self, code: Code, reason: &str) {
        let mut state = self.state();
        let Some(sentence) = self.sentence(code, reason) else { return };
        // That all are down says less than why the last one was refused.
        if code != Code::AllBrokersDown || state.heard.is_none() {
            self.note(&mut state, sentence);
        }
    }

    /// Not something the client said, but a sentence of ours.
    pub(super) fn failed(&self, sentence: String) {
        let mut state = self.state();
        state.outside_since.get_or_insert(clock::uptime());
        self.note(&mut state, sentence);
    }

    fn note(&self, state: &mut State, sentence: String) {
        state.told &= state.heard.as_ref().is_some_and(|(_, heard)| *heard == sentence);
        state.heard = Some((clock::uptime(), sentence));
        self.tell(state);
    }

    fn tell(&self, state: &mut State) {
        if let (Some((_, heard)), false, Some(_)) = (&state.heard, state.told, state.outside_since) {
            tracing::warn!(group = self.group, "waiting: {heard}");
            state.told = true;
        }
    }

    /// What went wrong and what to do; none for what passes by itself.
    fn sentence(&self, code: Code, reason: &str) -> Option<String> {
        let (topic, group) = (&self.topic, &self.group);
        Some(match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                format!("topic {topic}, whose partitions the group shares, doesn't exist; create it")
            }
            Code::TopicAuthorizationFailed => {
                format!("the brokers refuse topic {topic} to us; allow Read and Describe on it to this user")
            }
            Code::GroupAuthorizationFailed => {
                format!("the brokers refuse group {group} to us; allow Read on it to this user")
            }
            Code::InconsistentGroupProtocol => {
                format!("group {group} is another program's; give this one a group of its own with state.group")
            }
            Code::InvalidSessionTimeout => "the brokers refuse a session timeout of 6 s; set their \
                 group.min.session.timeout.ms to 6000 or less"
                .to_owned(),
            Code::GroupMaxSizeReached => {
                format!("group {group} is full; run fewer replicas, or raise the brokers' group.max.size")
            }
            Code::Authentication | Code::SaslAuthenticationFailed => {
                format!("the brokers refuse our credentials ({reason}); correct sasl or tls, its files are read again")
            }
            Code::SSL => format!("no TLS with the brokers ({reason}); correct tls.ca or the brokers' certificates"),
            Code::Resolve => format!("no address is known for the brokers ({reason}); correct brokers, or the DNS"),
            // Its reason counts connections, which changes from try to try: not news.
            Code::AllBrokersDown => "no broker answers; start them, or correct brokers, tls and sasl".to_owned(),
            Code::BrokerTransportFailure | Code::OperationTimedOut | Code::RequestTimedOut => return None,
            Code::PollExceeded => "this process stood still for over 15 s; give it more processor time".to_owned(),
            _ => format!("the coordinator of group {group} answers {code} ({reason}); look at the brokers' log"),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a new client, which reads the credentials again, may get where this one does not.
pub(super) fn wants_new_client(code: Code) -> bool {
    matches!(code, Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)
}
