//! The plan, asked step by step: where polls begin and end, how gaps are cut, and what is given up.

mod again;
mod cut;
mod poll;
mod silence;
mod verify;
mod window;

use std::time::Duration;

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::ledger::{FingerprintKey, Ledger};
use jumpstream::plan::read::PageEnd;
use jumpstream::plan::{Ages, Aside, Ask, PageAsk, Plan, Settings, Taken, Ticket};
use jumpstream::record::Delivery;

const INTERVAL: Duration = Duration::from_secs(15);
const PAGE: u32 = 10;
/// Windows at a time.
const WINDOWS: usize = 3;

fn noon() -> Time {
    Time::parse("2026-03-02T12:00:00Z").unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// A plan, its ledger and the time, which only the test moves.
struct Desk {
    plan: Plan,
    ledger: Ledger,
    now: Time,
    events: u64,
}

impl Desk {
    /// First seen at noon, wanted since `wanted` before.
    fn new(wanted: Duration) -> Desk {
        Desk {
            plan: Plan::new(Settings {
                interval: INTERVAL,
                page_size: PAGE,
                windows: WINDOWS,
                ages: Ages::of([]),
                retention: None,
            }),
            ledger: Ledger::begin(FingerprintKey([7; 16]), noon(), noon() - wanted),
            now: noon(),
            events: 0,
        }
    }

    /// Covered from the start to an edge two seconds before noon; the next poll is due.
    fn polled() -> Desk {
        let mut desk = Desk::new(minutes(0));
        desk.page();
        desk.end(0);
        desk.now = desk.now + INTERVAL;
        desk
    }

    fn next(&mut self) -> Ask {
        self.plan.next(&mut self.ledger, self.now)
    }

    fn page(&mut self) -> PageAsk {
        match self.next() {
            Ask::Page(ask) => ask,
            other => panic!("no page but {other:?}"),
        }
    }

    fn admit(&mut self, id: u64, time: Time) -> Taken {
        let json = format!(r#"{{"id":"{id}","timestamp":"{time}"}}"#);
        let event = Event::parse(Bytes::from(json)).unwrap();
        self.plan.admit(&mut self.ledger, &event, self.now)
    }

    /// As if read in an earlier life.
    fn admit_to_ledger(&mut self, id: u64, time: Time) -> Option<Delivery> {
        let json = format!(r#"{{"id":"{id}","timestamp":"{time}"}}"#);
        self.ledger.admit(&Event::parse(Bytes::from(json)).unwrap(), Delivery::Live)
    }

    /// The page shows that many new events of `time`, and is read.
    fn shows(&mut self, count: u32, time: Time, cursor: Option<&str>) {
        for _ in 0..count {
            self.events += 1;
            self.admit(self.events, time);
        }
        self.page_read(Some(PAGE), count, cursor);
    }

    /// The page came to its end with so many elements and no cursor.
    fn end(&mut self, elements: u32) {
        self.page_read(Some(PAGE), elements, None);
    }

    fn page_read(&mut self, limit: Option<u32>, elements: u32, cursor: Option<&str>) {
        let end = PageEnd { limit, elements, cursor: cursor.map(str::to_owned), sent_at: self.now };
        self.plan.page_read(&mut self.ledger, end, self.now);
    }
}
