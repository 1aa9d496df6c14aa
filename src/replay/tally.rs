//! How far a replay has come, for whoever looks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::HumanCount;

use crate::clock;

/// What all streams of a replay have done in this life of it.
#[derive(Debug)]
pub struct Tally {
    streams: Mutex<Vec<Part>>,
    begun: Duration,
}

/// One stream's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    pub delivered: u64,
    pub dead_letters: u64,
    /// Events that are to come in all; none where they weren't counted.
    pub expected: Option<u64>,
    /// Of the time that was left when this life began, 0 to 1.
    pub share_of_time: f64,
}

impl Part {
    fn share(&self) -> f64 {
        match self.expected {
            Some(expected @ 1..) if self.share_of_time < 1.0 => (self.delivered as f64 / expected as f64).min(1.0),
            _ => self.share_of_time,
        }
    }
}

impl Tally {
    pub(super) fn of(streams: usize) -> Tally {
        Tally { streams: Mutex::new(vec![Part::default(); streams]), begun: clock::uptime() }
    }

    pub(super) fn set(&self, place: usize, part: Part) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)[place] = part;
    }

    fn parts(&self) -> Vec<Part> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events delivered, and those that became dead letters.
    pub fn events(&self) -> (u64, u64) {
        let parts = self.parts();
        (parts.iter().map(|part| part.delivered).sum(), parts.iter().map(|part| part.dead_letters).sum())
    }

    /// How much of what was left is done, 0 to 1, and that in words.
    pub fn said(&self) -> (f64, String) {
        let parts = self.parts();
        let share = parts.iter().map(Part::share).sum::<f64>() / parts.len().max(1) as f64;
        let seconds = clock::uptime().saturating_sub(self.begun).as_secs_f64();
        let events = self.events().0;
        let speed = HumanCount((events as f64 / seconds.max(1.0)).round() as u64);
        let left = match share {
            0.001.. => left(Duration::from_secs_f64((seconds / share * (1.0 - share)).min(1e9))),
            _ => "time left not known yet".to_owned(),
        };
        (share, format!("{:.1} % · {} events · {speed}/s · {left}", share * 100.0, HumanCount(events)))
    }
}

fn left(time: Duration) -> String {
    format!("{} left", spell(time))
}

/// In seconds, minutes, or hours and minutes.
pub fn spell(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}
