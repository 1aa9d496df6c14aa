//! One stored event: 32 bytes, its place in the order, and the cursor's opaque id.

use super::random::mix;
use super::time::MILLISECOND;

/// A stored event. Its bytes are made from its template, or kept elsewhere where it was inserted by hand.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// Its timestamp.
    pub nanos: i64,
    /// The first ten characters of its opaque id, six bits each.
    pub opaque: u64,
    /// The millisecond from which on it is shown.
    pub visible_ms: i64,
    /// What its id and its particulars are made from; the number of an inserted event.
    pub identity: u32,
    pub template: u16,
    /// Stored before, under another opaque id.
    pub copy: bool,
}

const _: () = assert!(size_of::<Record>() == 32, "ten million records must fit a small machine");

/// The template of events that were inserted by hand.
pub(super) const INSERTED: u16 = u16::MAX;

/// In the order of their bytes, so that numbers and texts compare alike.
const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

impl Record {
    pub fn millisecond(&self) -> i64 {
        self.nanos.div_euclid(MILLISECOND)
    }

    /// The order of answers: by millisecond, then by the opaque id. Nanoseconds and the event's own id play no part
    /// in it (insights-api §1.7).
    pub fn key(&self) -> (i64, u64) {
        (self.millisecond(), self.opaque)
    }

    /// 20 characters, of the shape of a search engine's own document ids.
    pub fn opaque_id(&self) -> String {
        let halves = [self.opaque, mix(self.opaque) >> 4];
        let digit = |half: u64, place: u32| DIGITS[(half >> (54 - 6 * place) & 0x3f) as usize] as char;
        halves.iter().flat_map(|half| (0..10).map(move |place| digit(*half, place))).collect()
    }

    /// `[milliseconds,"opaque id"]`, as `X-Search_after` carries it.
    pub fn cursor(&self) -> String {
        format!("[{},\"{}\"]", self.millisecond(), self.opaque_id())
    }
}

/// A place in the order, as a client gave it back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    pub millisecond: i64,
    pub opaque_id: String,
}

impl Cursor {
    pub fn of(record: &Record) -> Cursor {
        Cursor { millisecond: record.millisecond(), opaque_id: record.opaque_id() }
    }
}
