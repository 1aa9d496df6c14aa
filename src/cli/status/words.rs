//! The status in words.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::stream::{Gap, Hindrance, Stream, Stretch};
use super::{Instance, lateness, map};
use crate::clock::Time;
use crate::config::value::spell_duration;
use crate::ledger::{Ledger, Mark};
use crate::quote::quote;
use crate::telemetry::status::AccountStatus;

/// So many of a kind are listed.
const LISTED: usize = 5;

/// A stream, line by line; `ledger` is none where only an instance was asked.
pub(super) fn describe(stream: &Stream, ledger: Option<&Ledger>, range: Option<&Range<Time>>, now: Time) -> String {
    let mut lines = vec![("wanted", format!("since {}", shown(stream.start)))];
    if let Some(running) = &stream.running {
        let reason = running.reason.as_ref().map_or(String::new(), |reason| format!(": {}", quote(reason)));
        lines.push(("state", format!("{} since {}{reason}", running.state.as_str(), second(running.since))));
    }
    let lag = stream.lag_seconds.map_or("nothing read yet".to_owned(), |lag| spell(Duration::from_secs(lag)));
    lines.push(("edge", format!("{}, {lag} ago", shown(stream.edge))));
    lines.push(("counted", format!("until {}", shown(stream.counted_until))));
    lines.push(("verified", format!("until {}", shown(stream.verified_until))));
    lines.push(("events", events(stream)));
    lines.push(("late", lateness::words(stream.running.as_ref())));
    lines.push(("missing", missing(stream)));
    lines.extend(listed("gap", &stream.gaps, gap));
    lines.extend(listed("hindered", stream.hindrances.as_deref().unwrap_or_default(), hindrance));
    lines.extend(listed("unsettled", stream.unsettled.as_deref().unwrap_or_default(), stretch));
    lines.extend(listed("lost", stream.lost.as_deref().unwrap_or_default(), lost));
    lines.push(("retention", retention(stream)));
    let (fingerprints, bytes) = (HumanCount(stream.fingerprints), HumanBytes(stream.ledger_bytes));
    lines.push(("memory", format!("{fingerprints} fingerprints in the ledger, {bytes}")));
    match (ledger, range) {
        (Some(ledger), Some(range)) => lines.push(("answer", answer(stream, ledger, range))),
        (Some(ledger), None) => lines.extend(map::rows(ledger, now)),
        (None, _) => {}
    }
    let mut text = format!("{}/{}\n", stream.organization.escape_debug(), stream.service.escape_debug());
    for (name, line) in lines {
        let _ = writeln!(text, "  {name:<10} {line}");
    }
    text + "\n"
}

/// The instance that was asked, and what its accounts use.
pub(super) fn instance(instance: Option<&Instance>) -> String {
    let Some(instance) = instance else {
        return "no instance was asked, since page.listen leaves its port open: this is what the state holds\n".into();
    };
    let url = quote(&instance.url);
    if let Some(fault) = &instance.fault {
        return format!("no instance answers at {url} ({fault}): this is what the state holds\n");
    }
    let mut text = format!("the instance at {url} is {}\n", instance.state.as_deref().map(quote).unwrap_or_default());
    for reason in &instance.reasons {
        let _ = writeln!(text, "  {}", quote(reason));
    }
    for account in &instance.accounts {
        let _ = writeln!(text, "  {}", budget(account));
    }
    text
}

/// How much of its rate an account uses, and for what.
fn budget(account: &AccountStatus) -> String {
    let AccountStatus { name, requests_per_second: rate, configured_requests_per_second: configured, used } = account;
    let all = used.live + used.gaps + used.verification;
    let share = |part: f64| if all > 0.0 { part / all * 100.0 } else { 0.0 };
    let lowered = if rate < configured { format!(" ({configured:.2} but for a 429)") } else { String::new() };
    format!(
        "account {}: {all:.2} of {rate:.2} requests/s{lowered} over the last {}: {:.0} % live, {:.0} % gaps, {:.0} % comparing",
        quote(name),
        spell(Duration::from_secs(used.over_seconds)),
        share(used.live),
        share(used.gaps),
        share(used.verification),
    )
}

fn events(stream: &Stream) -> String {
    match (stream.delivered_events, stream.late_events, &stream.running) {
        (Some(delivered), Some(late), _) => {
            format!("{} delivered, {} of them late", HumanCount(delivered), HumanCount(late))
        }
        (_, _, Some(running)) => {
            let delivered = &running.delivered;
            let all = delivered.live + delivered.late + delivered.backfill;
            format!("{} delivered since it started, {} of them late", HumanCount(all), HumanCount(delivered.late))
        }
        _ => "not known".to_owned(),
    }
}

fn missing(stream: &Stream) -> String {
    match (stream.missing_events, stream.doubted_events, stream.gone_events) {
        (0, 0, 0) => "nothing is known to be".to_owned(),
        (missing, doubted, gone) => {
            let of = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
            let all = [
                of(missing, "counted by the API and never shown"),
                of(doubted, "delivered and not shown again, to be asked for once more"),
                of(gone, "delivered and not shown any more"),
            ];
            all.into_iter().flatten().collect::<Vec<_>>().join("; ")
        }
    }
}

/// The first few, and how many more there are.
fn listed<T>(name: &'static str, all: &[T], line: fn(&T) -> String) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> = all.iter().take(LISTED).map(|one| (name, line(one))).collect();
    if all.len() > LISTED {
        lines.push(("", format!("and {} more", all.len() - LISTED)));
    }
    lines
}

fn gap(gap: &Gap) -> String {
    let reason = gap.reason.as_ref().map_or(String::new(), |reason| format!("; {} yet", not_yet(reason)));
    format!("{} to {} ({}{reason})", second(gap.from), second(gap.to), gap.cause.words())
}

fn hindrance(hindrance: &Hindrance) -> String {
    let Hindrance { from, to, cause } = hindrance;
    format!("{} to {} ({})", second(*from), second(*to), cause.words())
}

/// Why a gap is not read, as far as the instance says it.
fn not_yet(reason: &str) -> String {
    match reason {
        "unread" => "not read".to_owned(),
        "unpageable" => "can't be read".to_owned(),
        other => format!("{}, not shown", quote(other)),
    }
}

fn lost(lost: &Stretch) -> String {
    format!("{} (read only when the API had forgotten it, as far as is known)", stretch(lost))
}

/// How long the API still has what was not read.
fn retention(stream: &Stream) -> String {
    let of = |seconds: u64| spell(Duration::from_secs(seconds));
    let kept = of(stream.retention_seconds);
    match (stream.past_retention_seconds, stream.retention_left_seconds) {
        (0, 0) => {
            format!("none left: some of what is not read yet is older than the {kept} that the API is known to keep")
        }
        (0, left) => {
            format!("{} left until the API forgets what is not read yet; it keeps {kept}, as far as is known", of(left))
        }
        (past, _) => format!(
            "{} of what is not read is older than the {kept} that the API is known to keep: it may be lost",
            of(past)
        ),
    }
}

fn stretch(stretch: &Stretch) -> String {
    format!("{} to {}", second(stretch.from), second(stretch.to))
}

/// Was anything missing then?
fn answer(stream: &Stream, ledger: &Ledger, range: &Range<Time>) -> String {
    let wanted = range.start.max(ledger.start())..range.end.min(ledger.edge().unwrap_or(ledger.start()));
    let all = |holds: fn(Mark) -> bool| ledger.standing().all(wanted.clone(), |mark| mark.is_some_and(holds));
    match () {
        () if wanted.start >= wanted.end => "none of it is wanted, or has been read yet".to_owned(),
        () if stream.missing_events > 0 => "yes: the API counts more than it shows".to_owned(),
        () if stream.lost.as_ref().is_some_and(|lost| !lost.is_empty()) => {
            "not known: some of it was read only when the API had forgotten it".to_owned()
        }
        () if !stream.gaps.is_empty() => "not known: some of it has not been read yet".to_owned(),
        () if all(|mark| mark == Mark::Verified) => "no: all of it is verified".to_owned(),
        () if all(|mark| mark.is_final()) => "no, as far as the API could still tell; see unprovable".to_owned(),
        () if all(|mark| !matches!(mark, Mark::Unsettled { .. })) => {
            "no: all of it was counted; what becomes visible later is found at the ages that are left".to_owned()
        }
        () => "nothing is known to be; not all of it has been counted yet".to_owned(),
    }
}

fn shown(time: Option<Time>) -> String {
    time.map_or("not yet".to_owned(), |time| second(time).to_string())
}

fn second(time: Time) -> Time {
    time.floor(Duration::from_secs(1))
}

/// Coarse: no one wants the seconds of a day.
pub(super) fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = match seconds {
        0..120 => 1,
        120..7_200 => 60,
        7_200..345_600 => 3_600,
        _ => 86_400,
    };
    spell_duration(Duration::from_secs(seconds / unit * unit))
}
