//! `jumpstream report`: a day's statement, by the state alone; the same bytes for the same ledger.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::ConfigFile;
use crate::clock::Time;
use crate::exit_code::ExitCode;
use crate::ledger::{HourTotal, Ledger, Mark, StreamKey, length};

/// The version of the JSON; a change that breaks a reader raises it.
const VERSION: u32 = 1;
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// States, for a day, what the API showed, what was delivered, and how far that is proven
///
/// For each organization and service, hour by hour of the events' own time (UTC): the records that the API showed, the
/// events delivered, how many of them late, a digest of them that a consumer can compute from what it has
/// (docs/concepts/ledger.md), and the standing. It reads the state as `status` does; the same ledger gives the same bytes.
///
/// It exits with 3 where events of that day are known to exist that were not delivered.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,

    /// The day, by UTC: 2026-11-28
    #[arg(long, value_name = "DATE", value_parser = day)]
    day: Time,

    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Markdown,
    Json,
}

/// Midnight of a date.
fn day(text: &str) -> Result<Time, String> {
    let midnight = (text.len() == 10).then(|| Time::parse(&format!("{text}T00:00:00Z"))).flatten();
    midnight.ok_or_else(|| "expected a date, such as 2026-11-28".into())
}

#[derive(Serialize)]
struct Report {
    version: u32,
    day: String,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    organization: String,
    service: String,
    standing: &'static str,
    shown: u64,
    delivered: u64,
    late: u64,
    missing: u64,
    gone: u64,
    lost_seconds: u64,
    hours: Vec<Hour>,
}

#[derive(Serialize)]
struct Hour {
    from: Time,
    standing: &'static str,
    shown: u64,
    delivered: u64,
    late: u64,
    /// Hexadecimal.
    digest: String,
}

/// Cancelling it leaves everything as it was.
pub async fn run(args: Args) -> ExitCode {
    let ledgers = match super::ledgers::open(&args.config).await {
        Ok(ledgers) => ledgers,
        Err(code) => return code,
    };
    let report = report(&ledgers, args.day);
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
        Format::Markdown => markdown(&report),
    };
    // A reader that went away (`| head`) has seen what it wanted.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    if report.streams.iter().any(|stream| stream.missing > 0) { ExitCode::Missing } else { ExitCode::Done }
}

fn report(ledgers: &BTreeMap<StreamKey, Ledger>, day: Time) -> Report {
    let streams = ledgers.iter().map(|(key, ledger)| {
        let hours: Vec<Hour> = (0..24).map(|hour| self::hour(ledger, day + HOUR * hour)).collect();
        let sum = |of: fn(&Hour) -> u64| hours.iter().map(of).sum();
        let marks = ledger.standing().ranges().iter();
        let (missing, gone) = marks
            .filter(|(range, _)| range.start < day + DAY && day < range.end)
            .map(|(_, mark)| (mark.missing(), if let Mark::Gone { events } = mark { *events } else { 0 }))
            .fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
        let lost: Vec<_> = ledger.standing().parts(day..day + DAY, |mark| mark == Some(Mark::LOST)).collect();
        Stream {
            organization: key.organization.clone(),
            service: key.service.clone(),
            standing: standing(ledger, day..day + DAY),
            shown: sum(|hour| hour.shown),
            delivered: sum(|hour| hour.delivered),
            late: sum(|hour| hour.late),
            missing,
            gone,
            lost_seconds: length(&lost).as_secs(),
            hours,
        }
    });
    Report { version: VERSION, day: day.to_string().chars().take(10).collect(), streams: streams.collect() }
}

fn hour(ledger: &Ledger, from: Time) -> Hour {
    let total = ledger.hours().get(&from.as_secs().div_euclid(3_600));
    let HourTotal { events, shown, late, digest } = total.copied().unwrap_or_default();
    let digest = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
    Hour { from, standing: standing(ledger, from..from + HOUR), shown, delivered: events, late, digest }
}

/// The worst word for a stretch.
fn standing(ledger: &Ledger, range: Range<Time>) -> &'static str {
    let edge = ledger.edge().unwrap_or(ledger.start());
    let wanted = range.start.max(ledger.start())..range.end.min(edge);
    if wanted.start >= wanted.end {
        return if range.end <= ledger.start() { "not wanted" } else { "not read" };
    }
    if !ledger.coverage().covers(&wanted) {
        return "not read";
    }
    let any = |is: fn(Option<Mark>) -> bool| ledger.standing().any(wanted.clone(), is);
    match () {
        () if any(|mark| matches!(mark, Some(Mark::Unsettled { .. } | Mark::Doubted { .. }))) => "unsettled",
        () if any(|mark| mark == Some(Mark::LOST)) => "lost",
        () if any(|mark| matches!(mark, Some(Mark::Gone { .. }))) => "gone",
        () if any(|mark| mark.is_none()) || wanted.end < range.end => "read",
        () if any(|mark| matches!(mark, Some(Mark::Counted { .. }))) => "counted",
        () if any(|mark| mark == Some(Mark::Unprovable)) => "unprovable",
        () => "verified",
    }
}

fn markdown(report: &Report) -> String {
    let mut text = format!("# Events of {} (UTC)\n", report.day);
    for stream in &report.streams {
        let (organization, service) = (stream.organization.escape_debug(), stream.service.escape_debug());
        let Stream { standing, shown, delivered, late, missing, gone, lost_seconds, .. } = stream;
        let lost = match lost_seconds {
            0 => String::new(),
            seconds => {
                format!(" Of {seconds} s what there was is lost: they were read only when the API had forgotten them.")
            }
        };
        let _ = write!(
            text,
            "\n## {organization}, {service}: {standing}\n\n{shown} records shown by the API, {delivered} events delivered, \
             {late} of them late; {missing} known to be missing, {gone} no longer shown.{lost}\n\n\
             | hour | standing | shown | delivered | late | digest |\n|---|---|---|---|---|---|\n"
        );
        for Hour { from, standing, shown, delivered, late, digest } in &stream.hours {
            let hour: String = from.to_string().chars().skip(11).take(5).collect();
            let _ = writeln!(text, "| {hour} | {standing} | {shown} | {delivered} | {late} | `{digest}` |");
        }
    }
    text
}
