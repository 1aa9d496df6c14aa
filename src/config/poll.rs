//! How the API is asked: `poll`.

use std::time::Duration;

use super::key::{Key, Kind, Presence};
use super::read::Section;
use crate::clock::{self, Time};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Generous: retention is said to be 90 days (insights-api §1.11).
const KEPT: Duration = Duration::from_secs(366 * 86_400);

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "interval",
        Kind::Duration { least: SECOND, most: HOUR },
        Presence::Default("15s"),
        "How long after a poll the next one begins. Where the request limit allows less, it stretches.",
        "30s",
    ),
    Key::new(
        "page_size",
        Kind::Integer { least: 1, most: 10_000 },
        Presence::Default("10000"),
        "Events asked for at a time; the API gives no more than 10,000.",
        "5000",
    ),
    Key::new(
        "windows",
        Kind::Integer { least: 1, most: 16 },
        Presence::Default("4"),
        "How many stretches of what is missing (downtime, an earlier start) are asked for at a time, for each stream. \
         More helps where the API answers late and the request limit has room.",
        "8",
    ),
    Key::new(
        "start",
        Kind::Start,
        Presence::Default("24h"),
        "What is wanted at all: everything since then. An age (`24h`, `90d`), an instant (`2026-09-01T06:00:00Z`), a \
         date (midnight UTC) or `now`. It becomes an instant once, when a stream is first seen; a restart never moves it, \
         an earlier instant written here does.",
        "2026-09-01",
    ),
    Key::new(
        "max_event_bytes",
        Kind::Size { least: 1 << 10, most: 256 << 20 },
        Presence::Default("16MiB"),
        "A larger event is not held in memory: its head becomes a dead letter that says so.",
        "4MiB",
    ),
];

/// How the API is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// 1 s to 1 h.
    pub interval: Duration,
    /// Events, 1 to 10,000.
    pub page_size: u32,
    /// Windows of gaps at a time and stream, 1 to 16.
    pub windows: usize,
    pub start: Start,
    /// Bytes, 1 KiB to 256 MiB.
    pub max_event_bytes: u64,
}

/// Where a stream's time begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This long before the stream is first seen.
    Age(Duration),
    At(Time),
    Now,
}

impl Start {
    /// The instant, where the stream is first seen at `now`.
    pub fn resolve(self, now: Time) -> Time {
        match self {
            Start::Age(age) => now - age,
            Start::At(time) => time,
            Start::Now => now,
        }
    }
}

/// A future start would be waited for in silence; one of long ago asks for what nobody has any more.
fn check_start(start: Start, section: &Section) {
    let now = clock::wall();
    let instant = start.resolve(now);
    if instant > now + DAY {
        section.fault(
            "start",
            "lies in the future of this machine's clock",
            "write an instant that has passed, an age or `now`",
        );
    } else if now.since(instant) > KEPT {
        let place = section.node("start").map_or(&section.place, |node| &node.place).clone();
        let problem = "lies further back than JumpCloud keeps events, which is 90 days at most";
        section.reader.warn(
            place,
            &section.join("start"),
            problem,
            "nothing is lost by it, but the first run asks in vain",
        );
    }
}

impl Poll {
    pub(super) fn section(section: &Section) -> Option<Poll> {
        let interval = section.duration("interval");
        let page_size = section.integer("page_size").and_then(|size| u32::try_from(size).ok());
        let windows = section.integer("windows").and_then(|count| usize::try_from(count).ok());
        let start = section.start("start");
        let max_event_bytes = section.size("max_event_bytes");
        start.inspect(|start| check_start(*start, section));
        Some(Poll {
            interval: interval?,
            page_size: page_size?,
            windows: windows?,
            start: start?,
            max_event_bytes: max_event_bytes?,
        })
    }
}
