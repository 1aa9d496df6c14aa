//! The verdict: what the API issued against what came out of Kafka, byte for byte.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::view::thousands;
use crate::clock::Time;
use crate::emulator::Truth;

/// An event shown this long after its own time was late.
const LATE: std::time::Duration = std::time::Duration::from_secs(1);

/// A SHA-256.
type Digest = [u8; 32];

/// What a consumer read: how often each sequence of bytes came.
#[derive(Debug, Clone, Default)]
pub struct Received(HashMap<Digest, u64>);

impl Received {
    /// Takes in one record's value.
    pub fn add(&mut self, value: &[u8]) {
        *self.0.entry(Sha256::digest(value).into()).or_default() += 1;
    }

    /// Repeats included.
    pub fn records(&self) -> u64 {
        self.0.values().sum()
    }

    /// Distinct ones.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An event that the API has issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its id and timestamp.
    name: String,
    digest: Digest,
    late: bool,
}

impl Issued {
    /// `since`: when reading began; what became visible before it was late for nobody.
    pub fn of(truth: &Truth, since: Time) -> Issued {
        let (visible, own) = (Time::parse(&truth.visible_at), Time::parse(&truth.timestamp));
        let late =
            visible.zip(own).is_some_and(|(visible, own)| visible > since && visible.since(own.max(since)) >= LATE);
        let name = format!("{} of {}", truth.id.as_deref().unwrap_or("(no id)"), truth.timestamp);
        Issued { name, digest: bytes(&truth.sha256), late }
    }
}

/// How many different sequences of bytes there are.
pub fn distinct(issued: &[Issued]) -> usize {
    issued.iter().map(|event| event.digest).collect::<HashSet<_>>().len()
}

/// 64 hexadecimal digits; anything else matches no record.
fn bytes(hexadecimal: &str) -> Digest {
    let mut digest = [0; 32];
    for (place, byte) in digest.iter_mut().enumerate() {
        let digits = hexadecimal.get(2 * place..2 * place + 2).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    digest
}

/// What came out. Each number counts events but `duplicated` and `foreign`, which count records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub issued: u64,
    /// Read at least once, byte for byte.
    pub delivered: u64,
    /// Of the delivered: shown by the API after their time had passed.
    pub late: u64,
    pub lost: u64,
    /// Records beyond an event's first.
    pub duplicated: u64,
    /// Records of bytes that the API never issued.
    pub foreign: u64,
    /// Records that stand in the topic and belong to no transaction that was committed; none where there were no
    /// transactions.
    pub aborted: Option<u64>,
    /// The first few that were lost or duplicated, by id and timestamp.
    pub examples: Vec<String>,
    /// How it went: a line or two for people.
    pub remarks: Vec<(&'static str, String)>,
}

impl Tally {
    pub fn of(issued: &[Issued], received: &Received) -> Tally {
        let mut tally = Tally { issued: issued.len() as u64, ..Tally::default() };
        // Two events may share their bytes, so each takes its own record.
        let mut left = received.0.clone();
        let mut last = HashMap::new();
        for event in issued {
            match left.get_mut(&event.digest).filter(|copies| **copies > 0) {
                Some(copies) => {
                    *copies -= 1;
                    tally.delivered += 1;
                    tally.late += u64::from(event.late);
                    last.insert(event.digest, event);
                }
                None => {
                    tally.lost += 1;
                    tally.example("lost", event);
                }
            }
        }
        for (digest, copies) in left.into_iter().filter(|(_, copies)| *copies > 0) {
            match last.get(&digest) {
                Some(event) => {
                    tally.duplicated += copies;
                    tally.example("duplicated", event);
                }
                None => tally.foreign += copies,
            }
        }
        tally
    }

    fn example(&mut self, what: &str, event: &Issued) {
        if self.examples.len() < 5 {
            self.examples.push(format!("{what}: {}", event.name));
        }
    }

    /// Every event once, and nothing else.
    pub fn is_perfect(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.foreign == 0
    }

    /// A line each, ended.
    pub fn table(&self) -> String {
        let read = match self.aborted {
            Some(_) => "of them read back from Kafka with read_committed, byte for byte",
            None => "of them read back from Kafka, byte for byte",
        };
        let mut rows = vec![
            ("issued", thousands(self.issued), "events, says the API itself"),
            ("delivered", thousands(self.delivered), read),
            ("late", thousands(self.late), "of them shown by the API only after their time"),
            ("lost", thousands(self.lost), ""),
            ("duplicated", thousands(self.duplicated), ""),
        ];
        if self.foreign > 0 {
            rows.push(("foreign", thousands(self.foreign), "records that the API never issued"));
        }
        if let Some(aborted) = self.aborted {
            let meaning = "records written and never committed: what read_uncommitted gets beside them";
            rows.push(("aborted", thousands(aborted), meaning));
        }
        let mut text = String::new();
        for (name, number, meaning) in rows {
            text.push_str(format!("  {name:<10}  {number:>11}   {meaning}").trim_end());
            text.push('\n');
        }
        for (name, remark) in &self.remarks {
            text.push_str(&format!("  {name:<10}  {remark}\n"));
        }
        for example in &self.examples {
            text.push_str(&format!("    {example}\n"));
        }
        text
    }
}
