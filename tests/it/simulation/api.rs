//! A model of the Insights API: what is visible when, on which replica, and how it answers.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::plan::PageAsk;
use jumpstream::plan::cut::Unit;

/// An event that the API holds.
pub struct Held {
    pub event: Event,
    pub time: Time,
    pub visible_at: Time,
    /// When the API removes it.
    pub gone_at: Time,
    /// Breaks ties within a millisecond; no two share it.
    opaque: u64,
    /// Which event it is; a stored duplicate shares it.
    pub number: usize,
}

/// How this run's API behaves.
#[derive(Debug, Clone)]
pub struct Manner {
    pub end_inclusive: bool,
    pub limit_header: bool,
    pub cursors: Cursors,
    pub intervals: bool,
    /// How far the slowest replica lags behind.
    pub refresh: Duration,
    /// Constant error of `Date`, in seconds.
    pub date_error: i64,
    /// Constant error of our own wall clock, in seconds.
    pub wall_error: i64,
    /// One `Date` in this many is off by an hour; 0 for none.
    pub outliers: u64,
    /// One request in this many fails; 0 for none.
    pub faults: u64,
    /// For a while every `Date` is off by so many seconds, days of them; restarts come meanwhile too.
    pub spells: Vec<(Range<Time>, i64)>,
    /// While the licence has lapsed nothing is shown, and nothing counted.
    pub lapses: Vec<Range<Time>>,
    /// Counts given then are off by so much.
    pub lies: Vec<(Range<Time>, i64)>,
    /// What is older is not shown.
    pub retention: Duration,
}

impl Manner {
    /// An API that does as its documents say.
    pub fn faithful() -> Manner {
        Manner {
            end_inclusive: false,
            limit_header: true,
            cursors: Cursors::Given,
            intervals: true,
            refresh: Duration::ZERO,
            date_error: 0,
            wall_error: 0,
            outliers: 0,
            faults: 0,
            spells: Vec::new(),
            lapses: Vec::new(),
            lies: Vec::new(),
            retention: Duration::MAX,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursors {
    Given,
    Absent,
    Repeated,
}

pub struct Api {
    pub held: Vec<Held>,
    pub manner: Manner,
    /// The API's own highest limit; changes now and then.
    pub highest_limit: u32,
    pub requests: u64,
}

pub enum Answer {
    Page(Page),
    /// The body ends early: these came before.
    Cut(Vec<usize>),
    Failed,
    FutureStart,
}

pub struct Page {
    pub places: Vec<usize>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

impl Api {
    pub fn new(mut held: Vec<Held>, manner: Manner, highest_limit: u32) -> Api {
        held.sort_by_key(|held| (held.time.as_millis(), held.opaque));
        Api { held, manner, highest_limit, requests: 0 }
    }

    /// The `Date` of an answer given at `now`.
    pub fn date(&self, now: Time, rng: &mut Rng) -> Time {
        let off = if self.manner.outliers > 0 && rng.u64(..self.manner.outliers) == 0 { 3_600 } else { 0 };
        let spell = self.manner.spells.iter().find(|(spell, _)| spell.contains(&now)).map_or(0, |(_, error)| *error);
        let error = self.manner.date_error + spell + if rng.bool() { off } else { -off };
        Time::from_secs(now.as_secs() + error)
    }

    pub fn events(&mut self, ask: &PageAsk, now: Time, rng: &mut Rng) -> Answer {
        self.requests += 1;
        if ask.from > now {
            return Answer::FutureStart;
        }
        if self.fails(rng) {
            return Answer::Failed;
        }
        let limit = ask.limit.min(self.highest_limit);
        let seen = now - self.manner.refresh.mul_f64(rng.f64());
        let after = ask.cursor.as_deref().map(parse_cursor);
        let mut around = self.around(ask.from, ask.to.unwrap_or(Time::MAX));
        if let Some(after) = after {
            around.start =
                around.start.max(self.held.partition_point(|held| (held.time.as_millis(), held.opaque) <= after));
        }
        let places: Vec<usize> = around
            .filter(|place| {
                let held = &self.held[*place];
                let before_end = ask.to.is_none_or(|to| held.time < to || self.manner.end_inclusive && held.time == to);
                self.shows(held, seen) && held.time >= ask.from && before_end
            })
            .take(limit as usize)
            .collect();
        if self.fails(rng) {
            return Answer::Cut(places[..rng.usize(..=places.len())].to_vec());
        }
        let last = places.last().map(|place| &self.held[*place]);
        let cursor = match self.manner.cursors {
            Cursors::Absent => None,
            Cursors::Repeated => Some("[0,\"0\"]".to_owned()),
            Cursors::Given => last.map(|last| format!("[{},\"{}\"]", last.time.as_millis(), last.opaque)),
        };
        Answer::Page(Page { places, limit: self.manner.limit_header.then_some(limit), cursor })
    }

    /// Counts by unit; none where the endpoint is refused.
    pub fn interval(&mut self, from: Time, to: Time, unit: Unit, now: Time) -> Option<Vec<(Time, u64)>> {
        self.requests += 1;
        self.manner.intervals.then(|| {
            let mut buckets: Vec<(Time, u64)> = Vec::new();
            let around = &self.held[self.around(from, to)];
            for held in around.iter().filter(|held| self.shows(held, now) && from <= held.time && held.time < to) {
                let start = held.time.floor(unit.length());
                match buckets.last_mut() {
                    Some((last, events)) if *last == start => *events += 1,
                    _ => buckets.push((start, 1)),
                }
            }
            buckets
        })
    }

    /// How many there are.
    pub fn count(&mut self, from: Time, to: Time, now: Time) -> u64 {
        self.requests += 1;
        let counts = |held: &&Held| {
            held.time >= from
                && (held.time < to || self.manner.end_inclusive && held.time == to)
                && self.shows(held, now)
        };
        let counted = self.held[self.around(from, to)].iter().filter(counts).count() as i64;
        let lie = self.manner.lies.iter().find(|(when, _)| when.contains(&now)).map_or(0, |(_, lie)| *lie);
        counted.saturating_add(lie).max(0) as u64
    }

    /// Where those stand that may lie in this time, to the millisecond.
    fn around(&self, from: Time, to: Time) -> Range<usize> {
        let before = |time: Time| self.held.partition_point(|held| held.time.as_millis() < time.as_millis());
        let behind = |time: Time| self.held.partition_point(|held| held.time.as_millis() <= time.as_millis());
        before(from)..behind(to).max(before(from))
    }

    /// Whether the API shows it at `now`.
    pub fn shows(&self, held: &Held, now: Time) -> bool {
        let Manner { lapses, retention, .. } = &self.manner;
        let kept = *retention == Duration::MAX || held.time > now - *retention;
        held.visible_at <= now && now < held.gone_at && kept && !lapses.iter().any(|lapse| lapse.contains(&now))
    }

    pub fn fails(&self, rng: &mut Rng) -> bool {
        self.manner.faults > 0 && rng.u64(..self.manner.faults) == 0
    }
}

fn parse_cursor(text: &str) -> (i64, u64) {
    let (millis, opaque) = text.trim_matches(['[', ']']).split_once(',').expect("a cursor of ours");
    (millis.parse().expect("a number"), opaque.trim_matches('"').parse().expect("a number"))
}

/// An event of the kinds that identity tells apart: with an id, or with a name-based one.
pub fn hold(number: usize, time: Time, visible_at: Time, rng: &mut Rng) -> Held {
    let id = match number % 7 {
        0 => format!("7C0B1F52-3A4D-31E8-9F60-0D2E4C6A{:04X}", number % 3),
        _ => format!("{number:024x}"),
    };
    let json = format!(r#"{{"id":"{id}","timestamp":"{time}","n":{number},"geoip":{{"x":{}}}}}"#, rng.u8(..));
    let event = Event::parse(Bytes::from(json)).expect("an object");
    Held {
        event,
        time,
        visible_at,
        gone_at: Time::MAX,
        opaque: (rng.u64(..1_000_000) << 16) | (number as u64 * 2),
        number,
    }
}

/// The same event, stored once more.
pub fn hold_again(held: &Held, rng: &mut Rng) -> Held {
    Held { event: held.event.clone(), opaque: (rng.u64(..1_000_000) << 16) | (held.number as u64 * 2 + 1), ..*held }
}
