//! What a rebuild found, and what it could not know, in sentences.

use indicatif::HumanCount;

use crate::config::{Config, DeadLetter, State};
use crate::ledger::StreamKey;
use crate::store::kafka::rebuild::{Made, Rebuilt, Request, Tally};

/// What nobody can know, whatever was found.
const UNKNOWN: &[&str] = &[
    "What the records don't tell, of any stream:",
    "- Which time had been read, and which was a gap. No time counts as read: run reads everything from the start on \
     again, the newest first, and delivers what is not among the events found.",
    "- What was delivered and is no longer in the topics (retention, deleted records). It comes again, once, unless it \
     is older than the start or the API no longer shows it.",
    "- What went to the dead letters. It is tried again, and becomes a dead letter again where it is still refused.",
    "- What was wanted of the time before the start. It is not read; name an earlier instant as poll.start to have it.",
    "- How many events an hour had. Its count and digest begin anew with the events found, each once, replays left out.",
];

/// For people, on standard output.
pub(super) fn describe(rebuilt: &Rebuilt, request: &Request, config: &Config) -> String {
    let mut lines = Vec::new();
    for (topic, tally) in &rebuilt.topics {
        let partitions = count(tally.partitions as u64, "partition", "partitions");
        let records = count(tally.events, "record of this ledger", "records of this ledger");
        lines.push(format!("topic {topic}, {partitions}: {records}"));
        lines.extend(left_out(tally));
    }
    let cut = rebuilt.topics.values().any(|tally| tally.cut > 0);
    for (stream, made) in &rebuilt.streams {
        lines.extend(found(stream, made, cut));
    }
    lines.extend(strangers(rebuilt, request));
    lines.extend(UNKNOWN.iter().map(|line| (*line).to_owned()));
    if let Some(DeadLetter::Topic(letters)) = &config.dead_letter {
        lines.push(format!("  (Topic {letters} is not read: its records don't say which ledger knew of them.)"));
    }
    lines.push(sum(rebuilt, request, config));
    lines.join("\n") + "\n"
}

/// What of a topic is not in the ledger.
fn left_out(tally: &Tally) -> Vec<String> {
    let Tally { replays, others, unreadable, unowned, cut, .. } = *tally;
    let records = |number| count(number, "record", "records");
    let said = [
        (cut as u64, format!("its first records are gone from {}", count(cut as u64, "partition", "partitions"))),
        (others, format!("{} left out: not written with this ledger", records(others))),
        (replays, format!("{} left out: replayed, which no ledger counts as delivered", records(replays))),
        (unreadable, format!("{} left out: the value is no event; such events come again", records(unreadable))),
        (unowned, format!("{} left out: no organization is named; such events come again", records(unowned))),
    ];
    said.into_iter().filter(|(number, _)| *number > 0).map(|(_, text)| format!("  {text}")).collect()
}

/// `cut`: the topics' first records are gone.
fn found(stream: &StreamKey, Made { found, start }: &Made, cut: bool) -> Vec<String> {
    let events = count(found.events, "event", "events");
    let mut lines = vec![match (found.oldest, found.newest) {
        (Some(oldest), Some(newest)) => format!("stream {stream}: {events}, from {oldest} to {newest}"),
        _ => format!("stream {stream}: {events}"),
    }];
    let mut say = |text| lines.push(format!("  {text}"));
    if found.repeats > 0 {
        let repeats = count(found.repeats, "further record", "further records");
        say(format!("{repeats} of the same events, each counted once"));
    }
    if found.untimed > 0 {
        say(format!("{} of them without a readable time", HumanCount(found.untimed)));
    }
    say(format!("everything since {start} is read again"));
    if let Some(oldest) = found.oldest.filter(|oldest| cut && start < oldest) {
        say(format!("what had been delivered of the time before {oldest} is gone from the topics, and comes again"));
    }
    if found.events == 0 {
        say("nothing of it is left: it counts as begun with the oldest record of all streams".to_owned());
    }
    lines
}

/// Accounts that name no organization, and of which no record tells one.
fn strangers(rebuilt: &Rebuilt, request: &Request) -> Option<String> {
    let unnamed = request.accounts.iter().filter(|account| account.organizations.is_empty()).count();
    let named = |id: &&str| request.accounts.iter().any(|account| account.organizations.iter().any(|own| own == id));
    let mut told: Vec<&str> = rebuilt.streams.keys().map(|stream| stream.organization.as_str()).collect();
    told.dedup();
    let told = told.iter().filter(|id| !named(id)).count();
    let strangers = unnamed.checked_sub(told).filter(|strangers| *strangers > 0)? as u64;
    Some(format!(
        "{} of the configuration named no organization, and no record tells it: its streams begin as never seen",
        count(strangers, "account", "accounts")
    ))
}

fn sum(rebuilt: &Rebuilt, request: &Request, config: &Config) -> String {
    let topic = match &config.state {
        State::Kafka { topic, .. } => topic.as_str(),
        State::Sqlite { .. } => "",
    };
    let streams = count(rebuilt.streams.len() as u64, "stream", "streams");
    let (entries, bytes) = (count(rebuilt.entries as u64, "entry", "entries"), HumanCount(rebuilt.bytes as u64));
    match request.dry {
        true => format!("{streams}: {entries}, {bytes} bytes for ledger topic {topic}; a dry run, nothing was written"),
        false => format!("{streams}: {entries}, {bytes} bytes written to ledger topic {topic}; run goes on from here"),
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}
