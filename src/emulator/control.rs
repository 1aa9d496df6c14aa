//! `/_emulator/`: the truth, the clock and everything else that the real API would never tell or let be set.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::api::{Answer, Asked};
use super::dataset::Dataset;
use super::query::Refusal;
use super::record::Record;
use super::time::{self, MILLISECOND, Span, Writer};
use super::world::{World, locked};

/// How many lines of the truth are made at once.
const LINES: usize = 500;

/// A distinct event that was visible at some time: what a reader that misses nothing must have delivered once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Truth {
    pub organization: String,
    /// Absent where the event has none.
    pub id: Option<String>,
    /// As the event says it, or where it stands in the order, if it doesn't say.
    pub timestamp: String,
    pub event_type: Option<String>,
    /// RFC 3339.
    pub visible_at: String,
    /// Stamped later than it became visible.
    pub future: bool,
    /// Of the event's bytes, in hexadecimal.
    pub sha256: String,
}

/// A walk through the truth, a few lines at a time, since it may be far larger than memory.
pub(super) struct Walk {
    world: Arc<World>,
    organization: usize,
    last: usize,
    after: Option<(i64, u64)>,
    until_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    now: Option<String>,
    advance: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    key: String,
    /// Which one it replaces; the first.
    old: Option<String>,
    /// The one that it sees; all.
    organization: Option<String>,
}

/// Answers everything under `/_emulator/` but the truth, which is streamed.
pub(super) fn answer(world: &World, asked: &Asked) -> Answer {
    route(world, asked).unwrap_or_else(|Refusal(status, message)| Answer::refusal(status, &message))
}

fn route(world: &World, asked: &Asked) -> Result<Answer, Refusal> {
    match (&asked.method, asked.path.as_str()) {
        (&Method::GET, "/_emulator/clock") => {}
        (&Method::POST, "/_emulator/clock") => set_clock(world, parse(asked)?)?,
        (&Method::POST, "/_emulator/key") => {
            let change: KeyChange = parse(asked)?;
            let position = |id: &String| {
                let known = world.dataset(world.clock.now()).position(id);
                known.ok_or_else(|| Refusal::bad(format!("there is no organization {id}")))
            };
            let organization = change.organization.as_ref().map(position).transpose()?;
            world.rotate(change.old.as_deref(), &change.key, organization);
        }
        (&Method::POST, "/_emulator/faults") => locked(&world.faults).change(parse(asked)?),
        (&Method::POST, "/_emulator/settings") => world.change(parse(asked)?),
        (&Method::POST, "/_emulator/events") => return insert(world, asked),
        (&Method::GET, "/_emulator/requests") => {
            let lines = locked(&world.journal).requests.iter().map(line).collect();
            return Ok(Answer::text(StatusCode::OK, "application/x-ndjson", lines));
        }
        (&Method::GET, "/_emulator/stats") => return Ok(Answer::json(&json!(locked(&world.journal).stats()))),
        _ => return Err(Refusal(StatusCode::NOT_FOUND, "Not Found".to_owned())),
    }
    Ok(Answer::json(&json!({ "now": time::format(world.clock.now()) })))
}

fn parse<'a, T: Deserialize<'a>>(asked: &'a Asked) -> Result<T, Refusal> {
    serde_json::from_slice(&asked.body).map_err(|error| Refusal::bad(error.to_string()))
}

fn set_clock(world: &World, change: ClockChange) -> Result<(), Refusal> {
    match (change.now, change.advance) {
        (Some(now), None) => {
            world.clock.set(time::parse(&now).ok_or_else(|| Refusal::bad(format!("{now} is no time")))?);
        }
        (None, Some(by)) => world.clock.advance(by.nanos()),
        _ => return Err(Refusal::bad("give either `now` or `advance`")),
    }
    Ok(())
}

fn insert(world: &World, asked: &Asked) -> Result<Answer, Refusal> {
    let text = std::str::from_utf8(&asked.body).map_err(|error| Refusal::bad(error.to_string()))?;
    let now = world.clock.now();
    let mut dataset = world.dataset_mut();
    let mut inserted = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        dataset.insert(line, now).map_err(|error| Refusal::bad(format!("line {}: {error}", inserted + 1)))?;
        inserted += 1;
    }
    Ok(Answer::json(&json!({ "inserted": inserted })))
}

/// `GET /_emulator/truth[?organization=ID][&until=T]`.
pub(super) fn truth(world: &Arc<World>, asked: &Asked) -> Result<Body, Refusal> {
    let parameter = |name: &str| {
        asked
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let until = match parameter("until") {
        None => None,
        Some(text) => {
            let text = text.replace("%3A", ":").replace("%2B", "+");
            Some(time::parse(&text).ok_or_else(|| Refusal::bad("until is no time"))?)
        }
    };
    let walk = Walk::new(world, parameter("organization"), until)
        .ok_or_else(|| Refusal::bad("there is no such organization"))?;
    let lines = futures::stream::unfold(walk, |mut walk| async {
        let lines: String = walk.next()?.iter().map(line).collect();
        Some((Ok::<_, std::convert::Infallible>(lines), walk))
    });
    Ok(Body::from_stream(lines))
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

impl Walk {
    /// Through one organization or all; none where there is no such organization.
    pub fn new(world: &Arc<World>, organization: Option<&str>, until: Option<i64>) -> Option<Walk> {
        let now = world.clock.now();
        let dataset = world.dataset(now);
        let (organization, last) = match organization {
            None => (0, dataset.organizations.len()),
            Some(id) => dataset.position(id).map(|place| (place, place + 1))?,
        };
        drop(dataset);
        let until_ms = until.unwrap_or(now).div_euclid(MILLISECOND);
        Some(Walk { world: world.clone(), organization, last, after: None, until_ms })
    }

    /// Some more lines, perhaps none; `None` at the end.
    pub fn next(&mut self) -> Option<Vec<Truth>> {
        if self.organization == self.last {
            return None;
        }
        let dataset = self.world.dataset(self.world.clock.now());
        let place = self.organization;
        let records = dataset.organizations[place].after(self.after);
        let records = &records[..records.len().min(LINES)];
        match records.last() {
            Some(last) => self.after = Some(last.key()),
            None => (self.organization, self.after) = (place + 1, None),
        }
        let visible = records.iter().filter(|record| !record.copy && record.visible_ms <= self.until_ms);
        Some(visible.map(|record| Truth::of(&dataset, place, record)).collect())
    }
}

impl Truth {
    fn of(dataset: &Dataset, organization: usize, record: &Record) -> Truth {
        let mut bytes = Vec::with_capacity(dataset.size(record));
        dataset.write(organization, record, &mut Writer::default(), &mut bytes);
        let fields = dataset.fields(record);
        Truth {
            organization: dataset.organizations[organization].id.clone(),
            id: fields.id,
            timestamp: fields.timestamp.unwrap_or_else(|| time::format(record.nanos)),
            event_type: fields.event_type,
            visible_at: time::format(record.visible_ms * MILLISECOND),
            future: record.nanos > record.visible_ms * MILLISECOND,
            sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}
