//! What the API holds: records by organization, in the order of answers, and what of them can be seen when.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::arrival::{Arrival, Sequence};
use super::options::Options;
use super::random::mix;
use super::record::{Cursor, INSERTED, Record};
use super::template::{Catalog, Particulars};
use super::time::{self, MILLISECOND, Writer};

pub(super) struct Dataset {
    pub catalog: Catalog,
    pub organizations: Vec<Organization>,
    sequence: Sequence,
    inserted: Vec<Inserted>,
    /// The organizations and bytes of all that was inserted.
    seen: HashSet<(usize, Bytes)>,
    seed: u64,
}

pub(super) struct Organization {
    pub id: String,
    /// Ordered by [`Record::key`].
    records: Vec<Record>,
    /// From this millisecond on all of them are visible.
    settled_ms: i64,
}

/// An event that was put in by hand.
struct Inserted {
    bytes: Bytes,
    fields: Fields,
}

/// What an inserted event says of itself, where it says it in strings.
#[derive(Default)]
pub(super) struct Fields {
    pub id: Option<String>,
    pub event_type: Option<String>,
    pub service: Option<String>,
    pub timestamp: Option<String>,
}

/// Which records are asked for.
pub(super) struct Range {
    /// Inclusive.
    pub start: i64,
    /// Exclusive; an inclusive end is one nanosecond later.
    pub end: i64,
    /// Records that are visible later aren't there.
    pub visible_ms: i64,
    /// None is all services.
    pub services: Option<Vec<String>>,
}

/// A line of what is inserted by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Insertion<'a> {
    organization: Option<String>,
    visible_at: Option<String>,
    /// Places an event whose own timestamp can't be read.
    timestamp: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    raw: Option<String>,
}

impl Dataset {
    pub fn new(options: &Options, started_at: i64) -> Dataset {
        let catalog = Catalog::new(options.seed, options.incompressible);
        let each = options.events as usize / options.organizations as usize;
        let roomy = each + (each as f64 * options.duplicates) as usize;
        let organizations = (0..options.organizations)
            .map(|n| Organization {
                id: format!("5f{:022x}", 0xaa + u64::from(n)),
                records: Vec::with_capacity(roomy + roomy / 32),
                settled_ms: i64::MIN,
            })
            .collect();
        let sequence = Sequence::new(options, started_at);
        let (inserted, seen) = (Vec::new(), HashSet::new());
        let mut dataset = Dataset { catalog, organizations, sequence, inserted, seen, seed: options.seed };
        let Dataset { catalog, organizations, sequence, .. } = &mut dataset;
        sequence.history(options, catalog, &mut |(organization, record)| {
            organizations[organization as usize].records.push(record);
        });
        for organization in organizations {
            organization.records.sort_unstable_by_key(Record::key);
            organization.settled_ms =
                organization.records.iter().map(|record| record.visible_ms).max().unwrap_or(i64::MIN);
        }
        dataset
    }

    /// Whether events have come since the last [`Dataset::arrive`].
    pub fn is_behind(&self, now: i64) -> bool {
        self.sequence.next_arrival() <= now
    }

    /// Takes in all that came up to `now`.
    pub fn arrive(&mut self, now: i64) {
        let mut arrivals: Vec<Arrival> = Vec::new();
        self.sequence.arrive(now, &self.catalog, &mut |arrival| arrivals.push(arrival));
        arrivals.sort_by_key(|(organization, record)| (*organization, record.key()));
        for group in arrivals.chunk_by(|a, b| a.0 == b.0) {
            self.organizations[group[0].0 as usize].merge(group.iter().map(|(_, record)| *record));
        }
    }

    /// Takes in all that came up to `now`, the last that comes by itself.
    pub fn end_arrivals(&mut self, now: i64) {
        self.arrive(now);
        self.sequence.end();
    }

    /// Takes in one line of an insertion.
    pub fn insert(&mut self, line: &str, now: i64) -> Result<(), String> {
        let insertion: Insertion<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let organization = match &insertion.organization {
            None => 0,
            Some(id) => self.position(id).ok_or_else(|| format!("there is no organization {id}"))?,
        };
        let instant = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => time::parse(text).map(Some).ok_or_else(|| format!("{text} is no time")),
        };
        // Without a time of its own it is there for the very next request.
        let visible = instant(&insertion.visible_at)?.unwrap_or(now.div_euclid(MILLISECOND) * MILLISECOND);
        let (bytes, fields) = match (insertion.event, insertion.raw) {
            (Some(event), None) => (event.get().as_bytes().to_vec(), Fields::of(event.get())),
            (None, Some(raw)) => {
                let fields = Fields::of(&raw);
                (raw.into_bytes(), fields)
            }
            _ => return Err("a line holds either `event` or `raw`".to_owned()),
        };
        let own = fields.timestamp.as_deref().and_then(time::parse);
        let nanos = instant(&insertion.timestamp)?.or(own).unwrap_or(visible);
        let visible_ms = visible.div_euclid(MILLISECOND) + i64::from(visible.rem_euclid(MILLISECOND) != 0);
        let identity = self.inserted.len() as u32;
        let opaque = mix(self.seed ^ mix((u64::from(identity) << 2) | 2)) >> 4;
        let bytes = Bytes::from(bytes);
        let copy = !self.seen.insert((organization, bytes.clone()));
        self.inserted.push(Inserted { bytes, fields });
        let record = Record { nanos, opaque, visible_ms, identity, template: INSERTED, copy };
        self.organizations[organization].merge(std::iter::once(record));
        Ok(())
    }

    pub fn position(&self, organization: &str) -> Option<usize> {
        self.organizations.iter().position(|known| known.id == organization)
    }

    /// The records of a range, after a cursor, in the order asked for.
    pub fn select(
        &self,
        organization: usize,
        range: &Range,
        after: Option<&Cursor>,
        descending: bool,
        places: std::ops::Range<usize>,
    ) -> Vec<Record> {
        let records = self.organizations[organization].within(range);
        let services = self.services(range);
        let shown = |record: &&Record| range.shows(record) && self.serves(&services, range, record);
        let (skip, take) = (places.start, places.len());
        if descending {
            let end =
                after.map_or(records.len(), |after| records.partition_point(|record| Cursor::of(record) < *after));
            records[..end].iter().rev().filter(shown).skip(skip).take(take).copied().collect()
        } else {
            let begin = after.map_or(0, |after| records.partition_point(|record| Cursor::of(record) <= *after));
            records[begin..].iter().filter(shown).skip(skip).take(take).copied().collect()
        }
    }

    /// Calls `each` for every record of a range.
    pub fn scan(&self, organization: usize, range: &Range, mut each: impl FnMut(&Record)) {
        let services = self.services(range);
        let records = self.organizations[organization].within(range);
        records
            .iter()
            .filter(|record| range.shows(record) && self.serves(&services, range, record))
            .for_each(&mut each);
    }

    /// How many records a range holds.
    pub fn count(&self, organization: usize, range: &Range) -> usize {
        let Organization { settled_ms, .. } = &self.organizations[organization];
        if range.services.is_none() && range.visible_ms >= *settled_ms {
            // Only the first and the last millisecond can hold records outside the range.
            let records = self.organizations[organization].within(range);
            let edges = |record: &&Record| !range.shows(record);
            let first = range.start.div_euclid(MILLISECOND);
            let head = records.partition_point(|record| record.millisecond() <= first);
            let last = range.end.div_euclid(MILLISECOND);
            let tail = records.partition_point(|record| record.millisecond() < last).max(head);
            let outside = records[..head].iter().filter(edges).count() + records[tail..].iter().filter(edges).count();
            return records.len() - outside;
        }
        let mut count = 0;
        self.scan(organization, range, |_| count += 1);
        count
    }

    /// Writes an event's bytes.
    pub fn write(&self, organization: usize, record: &Record, time: &mut Writer, into: &mut Vec<u8>) {
        if record.template == INSERTED {
            return into.extend_from_slice(&self.inserted[record.identity as usize].bytes);
        }
        let organization = self.organizations[organization].id.as_str();
        let particulars = Particulars { identity: record.identity, nanos: record.nanos, organization };
        self.catalog.write(record.template, particulars, time, into);
    }

    /// How many bytes it takes, about.
    pub fn size(&self, record: &Record) -> usize {
        match record.template {
            INSERTED => self.inserted[record.identity as usize].bytes.len(),
            template => self.catalog.templates[usize::from(template)].size,
        }
    }

    /// What an event says of itself.
    pub fn fields(&self, record: &Record) -> Fields {
        if record.template == INSERTED {
            let Fields { id, event_type, service, timestamp } = &self.inserted[record.identity as usize].fields;
            return Fields {
                id: id.clone(),
                event_type: event_type.clone(),
                service: service.clone(),
                timestamp: timestamp.clone(),
            };
        }
        let template = &self.catalog.templates[usize::from(record.template)];
        Fields {
            id: Some(self.catalog.id(record.template, record.identity, record.nanos)),
            event_type: Some(template.event_type.to_owned()),
            service: Some(template.service.to_owned()),
            timestamp: Some(time::format(record.nanos)),
        }
    }

    /// By template, whether its service is asked for; empty where all are.
    fn services(&self, range: &Range) -> Vec<bool> {
        let Some(services) = &range.services else { return Vec::new() };
        self.catalog.templates.iter().map(|template| services.iter().any(|name| *name == template.service)).collect()
    }

    fn serves(&self, services: &[bool], range: &Range, record: &Record) -> bool {
        match (&range.services, record.template) {
            (None, _) => true,
            (Some(names), INSERTED) => {
                let service = self.inserted[record.identity as usize].fields.service.as_deref();
                names.iter().any(|name| Some(name.as_str()) == service)
            }
            (Some(_), template) => services[usize::from(template)],
        }
    }
}

impl Organization {
    /// Takes in ordered records, most of which are newer than all that is there.
    fn merge(&mut self, arrivals: impl Iterator<Item = Record>) {
        let before = self.records.len();
        self.records.extend(arrivals);
        let Some(first) = self.records.get(before).map(Record::key) else { return };
        let latest = self.records[before..].iter().map(|record| record.visible_ms).max();
        self.settled_ms = self.settled_ms.max(latest.unwrap_or(i64::MIN));
        let from = self.records[..before].partition_point(|record| record.key() <= first);
        // Two ordered runs, which the stable sort merges.
        self.records[from..].sort_by_key(Record::key);
    }

    /// The records of a range's milliseconds: all of the range, and at its edges some more.
    fn within(&self, range: &Range) -> &[Record] {
        let (first, last) = (range.start.div_euclid(MILLISECOND), range.end.div_euclid(MILLISECOND));
        let from = self.records.partition_point(|record| record.millisecond() < first);
        let to = self.records.partition_point(|record| record.millisecond() <= last);
        &self.records[from..to.max(from)]
    }

    /// The records after a place, for those who read all of them bit by bit.
    pub fn after(&self, key: Option<(i64, u64)>) -> &[Record] {
        let from = key.map_or(0, |key| self.records.partition_point(|record| record.key() <= key));
        &self.records[from..]
    }

    /// How many there are without the stored duplicates.
    pub fn distinct(&self) -> usize {
        self.records.iter().filter(|record| !record.copy).count()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }
}

impl Range {
    fn shows(&self, record: &Record) -> bool {
        record.nanos >= self.start && record.nanos < self.end && record.visible_ms <= self.visible_ms
    }
}

impl Fields {
    fn of(text: &str) -> Fields {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let string = |name: &str| value.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        Fields {
            id: string("id"),
            event_type: string("event_type"),
            service: string("service"),
            timestamp: string("timestamp"),
        }
    }
}
