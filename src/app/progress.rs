//! Progress on long reading: a bar where standard error is a terminal, a line now and then where it isn't.

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::HumanCount;

use crate::telemetry::screen::Bar;
use crate::telemetry::status::{Board, State, StreamStatus};

const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(30);
/// The bar's positions.
const WHOLE: u64 = 1_000;

/// All streams together.
struct Sum {
    streams: usize,
    reading: usize,
    /// How much of the past has been read, 0 to 1.
    share: f64,
    events: u64,
    events_per_second: f64,
    seconds_left: Option<f64>,
}

impl Sum {
    fn of(streams: &[StreamStatus]) -> Sum {
        let reads = |stream: &&StreamStatus| stream.gap_seconds > 0.0 || stream.state == State::Starting;
        let reading: Vec<&StreamStatus> = streams.iter().filter(reads).collect();
        let covered: f64 = streams.iter().map(|stream| stream.covered_share).sum();
        Sum {
            streams: streams.len(),
            reading: reading.len(),
            share: by_events(&reading).unwrap_or(covered / streams.len().max(1) as f64),
            events: streams.iter().map(|stream| stream.gap_events_read).sum(),
            events_per_second: streams.iter().map(|stream| stream.events_per_second).sum(),
            seconds_left: streams.iter().filter_map(|stream| stream.seconds_left).reduce(f64::max),
        }
    }

    fn percent(&self) -> String {
        format!("{:.1} %", self.share * 100.0)
    }

    fn left(&self) -> String {
        match self.seconds_left.map(|seconds| seconds.clamp(0.0, 1e9).ceil() as u64) {
            None => "time left not known yet".to_owned(),
            Some(seconds @ ..120) => format!("{seconds} s left"),
            Some(seconds @ ..7_200) => format!("{} min left", seconds.div_ceil(60)),
            Some(seconds) => format!("{} h {} min left", seconds / 3_600, seconds % 3_600 / 60),
        }
    }
}

/// Of all events that the gaps hold, how many were read: time passes evenly, events don't. None where not all of them
/// are counted.
fn by_events(reading: &[&StreamStatus]) -> Option<f64> {
    let expected = |stream: &&StreamStatus| stream.gap_events_expected.filter(|_| is_one_gap(stream));
    let expected: u64 = reading.iter().map(expected).sum::<Option<u64>>().filter(|expected| *expected > 0)?;
    let read: u64 = reading.iter().map(|stream| stream.gap_events_read).sum();
    Some((read as f64 / expected as f64).min(1.0))
}

/// The API counts one gap at a time, so that one must be nearly all there is; splinters stay beside it at times.
fn is_one_gap(stream: &StreamStatus) -> bool {
    let longest = stream.gaps.iter().map(|gap| gap.to.since(gap.from).as_secs_f64()).fold(0.0, f64::max);
    longest >= 0.9 * stream.gap_seconds
}

/// Shows the reading of gaps for as long as there are any. Dropping it takes the bar away.
pub(super) async fn show(board: Board) -> Infallible {
    if std::io::stderr().is_terminal() { draw(board).await } else { tell(board).await }
}

async fn draw(board: Board) -> Infallible {
    let mut bar = None;
    loop {
        tokio::time::sleep(REDRAW).await;
        let sum = Sum::of(&board.status().streams);
        if sum.reading == 0 {
            // Nothing to wait for: the bar makes room until a gap comes.
            bar = None;
            continue;
        }
        let (events, speed) = (HumanCount(sum.events), HumanCount(sum.events_per_second.round() as u64));
        let message = format!("{} · {events} events · {speed}/s · {}", sum.percent(), sum.left());
        bar.get_or_insert_with(|| Bar::open(WHOLE)).show((sum.share * WHOLE as f64) as u64, message);
    }
}

async fn tell(board: Board) -> Infallible {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let sum = Sum::of(&board.status().streams);
        if sum.reading > 0 {
            tracing::info!(
                events = sum.events,
                events_per_second = sum.events_per_second.round(),
                "read {} of the past in {} of {} streams, {}",
                sum.percent(),
                sum.reading,
                sum.streams,
                sum.left()
            );
        }
    }
}
