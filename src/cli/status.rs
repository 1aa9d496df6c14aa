//! `jumpstream status`: what is covered, counted and verified, by the state alone.

mod map;

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::ConfigFile;
use crate::clock::{self, Time};
use crate::config::value::spell_duration;
use crate::exit_code::ExitCode;
use crate::ledger::{Ledger, Mark, StreamKey, Summary};

/// The version of the JSON; a change that breaks a reader raises it.
const VERSION: u32 = 1;

/// Says what has been read, counted and verified, and what is missing
///
/// It reads the state, beside a running instance too, and disturbs nothing: it takes no lock, joins no group, asks nothing
/// of the API. What it says is as new as the last commit; an idle stream's edge may be written up to 5 min late.
/// `/status` of a running instance says what it is doing at this moment.
///
/// It exits with 3 where events are known to exist that were not delivered, with --from and --to only of that time.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,

    /// Print JSON for a machine
    #[arg(long)]
    json: bool,

    /// Was anything missing from here on? An instant or a date
    #[arg(long, value_name = "TIME", value_parser = super::ledgers::instant)]
    from: Option<Time>,

    /// Was anything missing up to here? Without it, up to now
    #[arg(long, value_name = "TIME", value_parser = super::ledgers::instant, requires = "from")]
    to: Option<Time>,
}

/// What is said of all streams.
#[derive(Serialize)]
struct Status {
    version: u32,
    jumpstream: &'static str,
    time: Time,
    /// What was asked about; null: everything.
    range: Option<Stretch>,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    organization: String,
    service: String,
    start: Time,
    first_run: Time,
    edge: Option<Time>,
    lag_seconds: Option<u64>,
    counted_until: Option<Time>,
    verified_until: Option<Time>,
    missing_events: u64,
    doubted_events: u64,
    gone_events: u64,
    delivered_events: u64,
    late_events: u64,
    gaps: Vec<Stretch>,
    unsettled: Vec<Stretch>,
    unprovable: Vec<Stretch>,
    fingerprints: u64,
    ledger_bytes: u64,
}

#[derive(Serialize)]
struct Stretch {
    from: Time,
    to: Time,
}

impl From<Range<Time>> for Stretch {
    fn from(range: Range<Time>) -> Stretch {
        Stretch { from: range.start, to: range.end }
    }
}

/// Cancelling it leaves everything as it was.
pub async fn run(args: Args) -> ExitCode {
    let ledgers = match super::ledgers::open(&args.config).await {
        Ok(ledgers) => ledgers,
        Err(code) => return code,
    };
    let now = clock::wall();
    let range = args.from.map(|from| from..args.to.unwrap_or(now));
    let streams: Vec<Stream> = ledgers.iter().map(|(key, ledger)| stream(key, ledger, range.as_ref(), now)).collect();
    let missing = streams.iter().any(|stream| stream.missing_events > 0);
    let text = if args.json {
        let range = range.map(Stretch::from);
        let status = Status { version: VERSION, jumpstream: env!("CARGO_PKG_VERSION"), time: now, range, streams };
        serde_json::to_string_pretty(&status).unwrap_or_default() + "\n"
    } else {
        let described = streams.iter().zip(ledgers.values());
        let all: String = described.map(|(stream, ledger)| describe(stream, ledger, range.as_ref(), now)).collect();
        if all.is_empty() { "no stream has been seen yet\n".to_owned() } else { all + map::LEGEND }
    };
    // A reader that went away (`| head`) has seen what it wanted.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    if missing { ExitCode::Missing } else { ExitCode::Done }
}

fn stream(key: &StreamKey, ledger: &Ledger, range: Option<&Range<Time>>, now: Time) -> Stream {
    let Summary { counted_until, verified_until, .. } = ledger.summary();
    let all = Time::MIN..Time::MAX;
    let range = range.unwrap_or(&all);
    let within = |part: Range<Time>| part.start.max(range.start)..part.end.min(range.end);
    let parts = |wanted: fn(Mark) -> bool| -> Vec<Stretch> {
        let parts = ledger.standing().parts(range.clone(), |mark| mark.is_some_and(wanted));
        parts.into_iter().map(Stretch::from).collect()
    };
    let touching = ledger.standing().ranges().iter().filter(|(own, _)| own.start < range.end && range.start < own.end);
    let (mut missing, mut doubted, mut gone) = (0, 0, 0);
    for (_, mark) in touching {
        missing += mark.missing();
        match mark {
            Mark::Doubted { unseen, .. } => doubted += unseen,
            Mark::Gone { events } => gone += events,
            _ => {}
        }
    }
    let hours = ledger.hours().iter().filter(|(hour, _)| {
        let begins = Time::from_secs(hour.saturating_mul(3_600));
        begins < range.end && range.start < begins + Duration::from_secs(3_600)
    });
    let totals = hours.fold((0, 0), |(events, late), (_, total)| (events + total.events, late + total.late));
    let gaps = ledger.gaps().into_iter().map(within).filter(|gap| gap.start < gap.end);
    Stream {
        organization: key.organization.clone(),
        service: key.service.clone(),
        start: ledger.start(),
        first_run: ledger.first_run(),
        edge: ledger.edge(),
        lag_seconds: ledger.edge().map(|edge| now.since(edge).as_secs()),
        counted_until,
        verified_until,
        missing_events: missing,
        doubted_events: doubted,
        gone_events: gone,
        delivered_events: totals.0,
        late_events: totals.1,
        gaps: gaps.map(Stretch::from).collect(),
        unsettled: parts(|mark| matches!(mark, Mark::Unsettled { .. })),
        unprovable: parts(|mark| mark == Mark::Unprovable),
        fingerprints: ledger.fingerprints() as u64,
        ledger_bytes: ledger.fingerprints() as u64 * 8,
    }
}

fn describe(stream: &Stream, ledger: &Ledger, range: Option<&Range<Time>>, now: Time) -> String {
    let mut text = String::new();
    let shown = |time: Option<Time>| time.map_or("not yet".to_owned(), |time| second(time).to_string());
    let lag = stream.lag_seconds.map_or("nothing read yet".to_owned(), |lag| spell(Duration::from_secs(lag)));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    line("wanted", format!("since {}", second(stream.start)));
    line("edge", format!("{}, {lag} ago", shown(stream.edge)));
    line("counted", format!("until {}", shown(stream.counted_until)));
    line("verified", format!("until {}", shown(stream.verified_until)));
    line("events", format!("{} delivered, {} of them late", stream.delivered_events, stream.late_events));
    line("missing", missing(stream));
    for gap in stream.gaps.iter().take(5) {
        line("gap", format!("{} to {}", second(gap.from), second(gap.to)));
    }
    if stream.gaps.len() > 5 {
        line("", format!("and {} more gaps", stream.gaps.len() - 5));
    }
    for unsettled in stream.unsettled.iter().take(5) {
        line("unsettled", format!("{} to {}", second(unsettled.from), second(unsettled.to)));
    }
    match range {
        Some(range) => line("answer", answer(stream, ledger, range)),
        None => map::rows(ledger, now).into_iter().for_each(|(name, row)| line(name, row)),
    }
    format!("{}/{}\n{text}\n", stream.organization.escape_debug(), stream.service.escape_debug())
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

/// Was anything missing then?
fn answer(stream: &Stream, ledger: &Ledger, range: &Range<Time>) -> String {
    let wanted = range.start.max(ledger.start())..range.end.min(ledger.edge().unwrap_or(ledger.start()));
    let all =
        |holds: fn(Mark) -> bool| ledger.standing().parts(wanted.clone(), |mark| !mark.is_some_and(holds)).is_empty();
    match () {
        () if wanted.start >= wanted.end => "none of it is wanted, or has been read yet".to_owned(),
        () if stream.missing_events > 0 => "yes: the API counts more than it shows".to_owned(),
        () if !stream.gaps.is_empty() => "not known: some of it has not been read yet".to_owned(),
        () if all(|mark| mark == Mark::Verified) => "no: all of it is verified".to_owned(),
        () if all(|mark| mark.is_final()) => "no, as far as the API could still tell; see unprovable".to_owned(),
        () if all(|mark| !matches!(mark, Mark::Unsettled { .. })) => {
            "no: all of it was counted; what becomes visible later is found at the ages that are left".to_owned()
        }
        () => "nothing is known to be; not all of it has been counted yet".to_owned(),
    }
}

fn second(time: Time) -> Time {
    time.floor(Duration::from_secs(1))
}

fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = match seconds {
        0..120 => 1,
        120..7_200 => 60,
        _ => 3_600,
    };
    let coarse = seconds / unit * unit;
    spell_duration(Duration::from_secs(coarse))
}
