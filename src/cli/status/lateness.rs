//! How late events are, in words, and whether the ages at which they are looked for fit that.

use std::time::Duration;

use indicatif::HumanCount;

use super::words::spell;
use crate::config::value::spell_duration;
use crate::telemetry::status::{Lateness, StreamStatus, Verdict};

/// Measured by the instance that runs the stream, and by no one else.
pub(super) fn words(running: Option<&StreamStatus>) -> String {
    match running.and_then(|running| Some((running, running.lateness.as_ref()?))) {
        None => "not known: only a running instance measures it".to_owned(),
        Some((_, lateness)) if lateness.verdict == Verdict::TooLittle => {
            format!("too little was seen to say: {} events since {}", lateness.events, second(lateness))
        }
        Some((running, lateness)) => {
            let overlap = spell(Duration::from_secs_f64(running.overlap_seconds.max(0.0)));
            format!("{} of {overlap}{}; {}", how_many(lateness), how_late(lateness), fit(lateness))
        }
    }
}

fn how_many(lateness: &Lateness) -> String {
    let Lateness { events, beyond_overlap: beyond, .. } = *lateness;
    match beyond {
        0 => format!("none of {} events came later than the overlap", HumanCount(events)),
        // Rounded, so that two of three are not one in one.
        1.. if events < beyond * 2 => format!("{beyond} of {events} events came later than the overlap"),
        1.. => format!("1 in {} events came later than the overlap", HumanCount((events + beyond / 2) / beyond)),
    }
}

fn how_late(lateness: &Lateness) -> String {
    let after = |seconds: u64| spell(Duration::from_secs(seconds));
    let half = lateness.half_within_seconds.map(|half| format!("; half of them within {}", after(half)));
    let latest = lateness.latest_seconds.map(|latest| format!(", the latest after {}", after(latest)));
    half.into_iter().chain(latest).collect()
}

fn fit(lateness: &Lateness) -> String {
    let last = spell(Duration::from_secs(lateness.last_age_seconds));
    let set = lateness.suggested_ages_seconds.as_ref().map(|ages| {
        let ages: Vec<String> = ages.iter().map(|age| spell_duration(Duration::from_secs(*age))).collect();
        format!("set verify.after: [{}]", ages.join(", "))
    });
    match (lateness.verdict, set) {
        (Verdict::Fits | Verdict::TooLittle, _) => format!("the last age of {last} fits"),
        (Verdict::FitsSoFar, _) => {
            format!("the last age of {last} fits so far, watched since {} only", second(lateness))
        }
        (Verdict::LastAgeTooShort, Some(set)) => {
            format!(
                "does not fit: some were found only at the last age of {last}, and nothing looks for later ones: {set}"
            )
        }
        (Verdict::LastAgeTooShort, None) => format!(
            "does not fit: some were found only at the last age of {last}, and no longer one is of use: 30d at most, and not longer than the API is known to keep events (verify.retention)"
        ),
        (Verdict::AgeMissing, set) => format!(
            "does not fit: most were found at an age long after the look before it: {}",
            set.unwrap_or_default()
        ),
    }
}

fn second(lateness: &Lateness) -> crate::clock::Time {
    lateness.since.floor(Duration::from_secs(1))
}
