//! Progress on long reading: a bar where standard error is a terminal, a line now and then where it isn't.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::telemetry::status::{Board, State, StreamStatus};

const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(30);

/// All streams together.
struct Sum {
    streams: usize,
    reading: usize,
    covered_share: f64,
    events: u64,
    events_per_second: f64,
    seconds_left: Option<f64>,
}

impl Sum {
    fn of(streams: &[StreamStatus]) -> Sum {
        let reading = streams.iter().filter(|stream| stream.gap_seconds > 0.0 || stream.state == State::Starting);
        let shares: f64 = streams.iter().map(|stream| stream.covered_share).sum();
        Sum {
            streams: streams.len(),
            reading: reading.count(),
            covered_share: shares / streams.len().max(1) as f64,
            events: streams.iter().map(|stream| stream.gap_events_read).sum(),
            events_per_second: streams.iter().map(|stream| stream.events_per_second).sum(),
            seconds_left: streams.iter().filter_map(|stream| stream.seconds_left).reduce(f64::max),
        }
    }

    fn left(&self) -> String {
        let Some(seconds) = self.seconds_left else { return "time left not known yet".to_owned() };
        format!("{} left", indicatif::HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))))
    }
}

/// Shows the reading of gaps for as long as there are any. Dropping it takes the bar away.
pub(super) async fn show(board: Board) {
    if std::io::stderr().is_terminal() { draw(board).await } else { tell(board).await }
}

async fn draw(board: Board) {
    let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    loop {
        tokio::time::sleep(REDRAW).await;
        let sum = Sum::of(&board.status().streams);
        if sum.reading == 0 {
            // Nothing to wait for: the bar makes room until a gap comes.
            bar.set_draw_target(ProgressDrawTarget::hidden());
            continue;
        }
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_position((sum.covered_share * 1_000.0) as u64);
        bar.set_message(format!(
            "{:.1} % of the wanted time · {} events · {:.0}/s · {}",
            sum.covered_share * 100.0,
            sum.events,
            sum.events_per_second,
            sum.left()
        ));
    }
}

async fn tell(board: Board) {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let sum = Sum::of(&board.status().streams);
        if sum.reading > 0 {
            tracing::info!(
                covered = format!("{:.1} %", sum.covered_share * 100.0),
                events = sum.events,
                events_per_second = sum.events_per_second.round(),
                "reading {} of {} streams' gaps, {}",
                sum.reading,
                sum.streams,
                sum.left()
            );
        }
    }
}
