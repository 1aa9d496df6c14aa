//! The rows of an account: is the API there, and does it give this key what is wanted?

use std::time::Duration;

use crate::app::source_options;
use crate::clock::{self, Time};
use crate::config::{self, Config, Secret};
use crate::source::{Class, Client, Error, EventQuery, Organization, Phase};
use crate::telemetry::quote;

use super::{Row, WITHIN};

const DAY: Duration = Duration::from_secs(86_400);
/// The clocks may differ by this much; beyond it something is wrong.
const ODD: Duration = Duration::from_secs(120);
/// Beyond this nobody can say which clock is right, and a wrong one claims time as read that has not passed.
const WRONG: Duration = Duration::from_secs(600);
/// Of many organizations only so many are asked for their events.
const ASKED: usize = 10;
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// What the API said.
struct Answers {
    listed: Result<Vec<Organization>, Error>,
    /// The key's own organization, where its events had to be asked for it.
    own: Option<String>,
    /// By service, over the organizations asked.
    events: Vec<(String, Result<u64, Error>)>,
    /// The API's `Date` and our clock at its receipt.
    clocks: Option<(Time, Time)>,
}

/// A handful of requests, each with ten seconds.
pub(super) async fn rows(account: &config::Account, config: &Config) -> Vec<Row> {
    let of = |what: &str| match config.accounts.len() {
        1 => what.to_owned(),
        _ => format!("{what} {}", account.name),
    };
    let mut options = source_options(account);
    options.requests_per_second = account.requests_per_second.max(1.0);
    let answers = match Client::new(options) {
        Ok(client) => Answers::ask(&client, account).await,
        Err(error) => Answers { listed: Err(error), own: None, events: Vec::new(), clocks: None },
    };
    vec![
        answers.api(&of("api"), account),
        answers.clock(&of("clock")),
        answers.key(&of("key"), account),
        answers.organization(&of("organization"), account),
        answers.licence(&of("licence")),
        answers.services(&of("services")),
        answers.rate(&of("rate"), account, config.poll.interval),
    ]
}

impl Answers {
    async fn ask(client: &Client, account: &config::Account) -> Answers {
        let listed = patiently(|| client.organizations()).await;
        let seen = |id: &&String| listed.as_ref().map_or(true, |all| all.iter().any(|one| one.id == **id));
        let wanted: Vec<Option<&str>> = match account.organizations.as_slice() {
            [] => vec![None],
            some => some.iter().filter(seen).take(ASKED).map(|id| Some(id.as_str())).collect(),
        };
        let mut events = Vec::new();
        for service in &account.services {
            let mut sum = Err(Error::Malformed { why: "nothing was asked".to_owned() });
            for organization in &wanted {
                let query = last_day(service, client);
                let asked = patiently(|| client.count(*organization, &query)).await;
                match (asked, &mut sum) {
                    (Ok(count), Ok(sum)) => *sum += count,
                    (Err(_), Ok(_)) => {}
                    (answer, sum) => *sum = answer,
                }
            }
            if !wanted.is_empty() {
                events.push((service.clone(), sum));
            }
        }
        let unknown = account.organizations.is_empty() && listed.as_ref().map_or(true, |all| all.len() != 1);
        let own = if unknown && events.iter().any(|(_, count)| count.is_ok()) { own(client).await } else { None };
        Answers { listed, own, events, clocks: client.clocks() }
    }

    /// The first error that no other answer refutes.
    fn failed(&self, as_one_of: impl Fn(&Error) -> bool) -> Option<&Error> {
        if self.answered() {
            return None;
        }
        let errors = self.events.iter().filter_map(|(_, count)| count.as_ref().err());
        errors.chain(self.listed.as_ref().err()).find(|error| as_one_of(error))
    }

    /// Nothing can be said of it, for the reason that another row has in red.
    fn not_known(&self, name: &str) -> Row {
        let refused = self.failed(|error| error.class() == Class::Credential);
        let why = match refused {
            Some(Error::Credential(_)) => "there is no key",
            Some(_) => "the key is refused",
            None if self.clocks.is_some() => "the API gave no usable answer",
            None => "the API did not answer",
        };
        Row::yellow(name, format!("not known, since {why}"), "first see to what is red")
    }

    fn answered(&self) -> bool {
        self.events.iter().any(|(_, count)| count.is_ok())
    }

    fn api(&self, name: &str, account: &config::Account) -> Row {
        match self.failed(is_absence) {
            Some(error) => red(name, error),
            None if self.failed(|error| matches!(error, Error::Credential(_))).is_some() => self.not_known(name),
            None => Row::green(name, format!("{} answers", quote(account.site.api()))),
        }
    }

    fn clock(&self, name: &str) -> Row {
        let Some((api, ours)) = self.clocks else { return self.not_known(name) };
        let (off, way) = if ours > api { (ours.since(api), "ahead of") } else { (api.since(ours), "behind") };
        let finding = format!("this machine's clock is {} s {way} the API's", off.as_secs());
        let remedy = "set this machine's clock (chrony, systemd-timesyncd); if it is right, look at a proxy on the way";
        match off {
            off if off > WRONG => Row::red(name, finding, remedy),
            off if off > ODD => Row::yellow(name, finding, remedy),
            _ => Row::green(name, "this machine's and the API's agree"),
        }
    }

    fn key(&self, name: &str, account: &config::Account) -> Row {
        let refused = |error: &Error| error.class() == Class::Credential;
        if let Some(error) = self.failed(refused) {
            return red(name, error);
        }
        let place = match &account.api_key {
            Secret::File(path) => path.display().to_string(),
            Secret::Env(variable) => variable.clone(),
        };
        if self.answered() || self.listed.is_ok() {
            Row::green(name, format!("the one in {} is accepted", quote(&place)))
        } else {
            self.not_known(name)
        }
    }

    fn organization(&self, name: &str, account: &config::Account) -> Row {
        let wanted = &account.organizations;
        let listed = match &self.listed {
            Ok(listed) => listed,
            Err(_) if !self.answered() => return self.not_known(name),
            Err(error) if !wanted.is_empty() => {
                let (finding, _) = explain(error);
                return Row::yellow(
                    name,
                    format!("the list of organizations can't be had ({finding}); those configured answer"),
                    "nothing, where the ids are right",
                );
            }
            Err(_) => &Vec::new(),
        };
        let missing: Vec<_> = wanted.iter().filter(|id| listed.iter().all(|one| one.id != **id)).collect();
        match (wanted.as_slice(), listed.as_slice(), &self.own) {
            ([], [only], _) => Row::green(name, describe(only)),
            ([], _, Some(own)) => {
                let finding = format!("{}, as its events say; the key sees {}", quote(own), listed.len());
                let remedy = format!("write `organizations: [{}]`, so that another key can't change it", quote(own));
                Row::yellow(name, finding, remedy)
            }
            ([], _, None) => Row::yellow(
                name,
                format!("not known: the key sees {} organizations and no event tells its own", listed.len()),
                "name it in `organizations`; until an event comes, nothing is read",
            ),
            (_, _, _) if !missing.is_empty() => {
                let finding = format!(
                    "{} of {} aren't among those the key sees: {}",
                    missing.len(),
                    wanted.len(),
                    list(&missing)
                );
                Row::red(name, finding, "correct `organizations`, or use a key of an administrator who sees them")
            }
            ([_], _, _) => {
                let found = listed.iter().find(|one| wanted.contains(&one.id));
                Row::green(name, found.map(describe).unwrap_or_default())
            }
            _ => Row::green(name, format!("the key sees all {}", wanted.len())),
        }
    }

    fn licence(&self, name: &str) -> Row {
        match self.failed(|error| matches!(error, Error::Unlicensed { .. })) {
            Some(error) => red(name, error),
            None if self.answered() => Row::green(name, "Directory Insights answers"),
            None => self.not_known(name),
        }
    }

    fn services(&self, name: &str) -> Row {
        let refused = |(service, count): &(String, Result<u64, Error>)| match count {
            Err(error @ Error::BadRequest { .. }) => Some((service.clone(), error.clone())),
            _ => None,
        };
        if let Some((service, error)) = self.events.iter().find_map(refused) {
            let (finding, remedy) = explain(&error);
            return Row::red(name, format!("{}: {finding}", quote(&service)), remedy);
        }
        if !self.answered() {
            return self.not_known(name);
        }
        let counts = self.events.iter().filter_map(|(service, count)| Some((service, count.as_ref().ok()?)));
        let counts: Vec<_> = counts.collect();
        let number = |count: u64| indicatif::HumanCount(count);
        let each = |(service, count): &(&String, &u64)| format!("{} {}", quote(service), number(**count));
        let finding = match counts.as_slice() {
            [(service, count)] => format!("{} events in the last 24 h (service {})", number(**count), quote(service)),
            several => {
                let each = several.iter().map(each).collect::<Vec<_>>().join(", ");
                format!("events in the last 24 h: {each}")
            }
        };
        if counts.iter().any(|(_, count)| **count == 0) {
            let remedy = "see that the service's name is right and that something happens there; a lapsed licence may \
                          look like silence";
            return Row::yellow(name, finding, remedy);
        }
        Row::green(name, finding)
    }

    fn rate(&self, name: &str, account: &config::Account, interval: Duration) -> Row {
        let all = self.events.iter().filter_map(|(_, count)| count.as_ref().err()).chain(self.listed.as_ref().err());
        let limited = all.into_iter().find(|error| matches!(error, Error::RateLimited { .. }));
        if let Some(error) = limited {
            let (finding, _) = explain(error);
            return Row::yellow(name, finding, "lower requests_per_second; see who else uses this key");
        }
        let (rate, streams) =
            (account.requests_per_second, account.organizations.len().max(1) * account.services.len());
        let round = Duration::from_secs_f64((streams as f64 / rate).min(1e9));
        if round > interval {
            let finding = format!(
                "{streams} streams at {rate} requests a second are polled every {:.0} s, not every {:.0} s",
                round.as_secs_f64(),
                interval.as_secs_f64()
            );
            return Row::yellow(name, finding, "raise requests_per_second, if the API allows it, or poll.interval");
        }
        let streams = if streams == 1 { "1 stream".to_owned() } else { format!("{streams} streams") };
        let seconds = interval.as_secs_f64();
        Row::green(name, format!("{streams}, polled every {seconds:.0} s, at most {rate} requests a second"))
    }
}

/// One question, asked again where that may help, for ten seconds in all.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> Result<T, Error> {
    let all = async {
        for _ in 1..TRIES {
            match ask().await {
                Err(error) if may_pass(&error) => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
        ask().await
    };
    let late = Err(Error::Timeout { phase: Phase::Answer, after: WITHIN });
    tokio::time::timeout(WITHIN, all).await.unwrap_or(late)
}

/// The API said no, or half of something: the next answer may be whole. One who isn't there is not asked again.
fn may_pass(error: &Error) -> bool {
    let absent = matches!(error, Error::Unreachable { .. } | Error::Tls { .. } | Error::Timeout { .. });
    !absent && matches!(error.class(), Class::Retry { .. })
}

fn last_day(service: &str, client: &Client) -> EventQuery {
    let now = client.now().unwrap_or_else(clock::wall);
    EventQuery { service: service.to_owned(), start: now - DAY, end: None, limit: 1, search_after: None }
}

/// The organization that the key's events name, if there are any.
async fn own(client: &Client) -> Option<String> {
    tokio::time::timeout(WITHIN, client.named_by_events()).await.ok()?.ok()?
}

fn describe(organization: &Organization) -> String {
    match organization.name.trim() {
        "" => quote(&organization.id),
        name => format!("{} ({})", quote(name), quote(&organization.id)),
    }
}

fn list(ids: &[&String]) -> String {
    let some: Vec<_> = ids.iter().take(5).map(|id| quote(id)).collect();
    let more = if ids.len() > some.len() { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}

/// Nobody there, or somebody who is not the API.
fn is_absence(error: &Error) -> bool {
    let said_otherwise = matches!(
        error,
        Error::Unlicensed { .. } | Error::BadRequest { .. } | Error::RateLimited { .. } | Error::FutureStart { .. }
    );
    error.class() != Class::Credential && !said_otherwise
}

fn red(name: &str, error: &Error) -> Row {
    let (finding, remedy) = explain(error);
    Row::red(name, finding, remedy)
}

/// What was found and what to do.
fn explain(error: &Error) -> (String, String) {
    let (finding, remedy) = match error {
        Error::Unauthorized { message, remedy } => (format!("the API refuses the key (401): {message}"), *remedy),
        Error::Timeout { after, .. } => {
            (format!("no answer within {after:?}"), "check the network, any proxy, and that the endpoint is the API's")
        }
        other => return super::halves(&other.to_string()),
    };
    (finding, remedy.to_owned())
}
