//! What is seen meanwhile: the way of an event with moving numbers, redrawn in place; a line now and then where
//! standard output is no terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::emulator::{Activity, Kind};
use crate::telemetry::status::State;

const LINE_EVERY: Duration = Duration::from_secs(2);
const BAR: usize = 36;
/// A column of the picture, and the picture's first column.
const COLUMN: usize = 16;
const MARGIN: &str = "  ";

/// All that is shown at one moment.
pub(super) struct Frame {
    pub seed: u64,
    pub elapsed: Duration,
    pub activity: Activity,
    /// Where an event comes by: each place with a number and what it counts.
    pub way: [(&'static str, u64, &'static str); 5],
    /// The part of the day that has been read: 0 to 1.
    pub covered: f64,
    /// What the pipeline waits for, or what is wrong with it.
    pub trouble: Option<(State, String)>,
    /// What happens now, in words.
    pub act: String,
}

/// Where frames go.
pub(super) enum View {
    Picture { bar: ProgressBar, colour: bool },
    Lines { last: Option<Duration>, act: String },
}

impl View {
    pub fn open() -> View {
        if !std::io::stdout().is_terminal() {
            return View::Lines { last: None, act: String::new() };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        View::Picture { bar, colour }
    }

    /// The last one stays, and says already what was survived.
    pub fn is_picture(&self) -> bool {
        matches!(self, View::Picture { .. })
    }

    pub fn show(&mut self, frame: &Frame) {
        match self {
            View::Picture { bar, colour } => bar.set_message(frame.picture(Paint { colour: *colour })),
            View::Lines { last, act } => {
                let due = last.is_none_or(|last| frame.elapsed >= last + LINE_EVERY) || *act != frame.act;
                if due {
                    (*last, *act) = (Some(frame.elapsed), frame.act.clone());
                    // A reader that went away (`| head`) has seen what it wanted.
                    let _ = writeln!(std::io::stdout(), "{}", frame.line());
                }
            }
        }
    }

    /// Leaves the last picture where it is.
    pub fn close(self, frame: &Frame) {
        match self {
            View::Picture { bar, colour } => {
                bar.finish_with_message(frame.picture(Paint { colour }));
                let _ = writeln!(std::io::stdout());
            }
            mut lines => lines.show(frame),
        }
    }
}

impl Frame {
    fn picture(&self, paint: Paint) -> String {
        let failed = failed(&self.activity);
        let cells = |cell: fn(&(&str, u64, &str)) -> String| {
            let cells = self.way.iter().map(|place| format!("{:COLUMN$}", cell(place)));
            format!("{MARGIN}{}", cells.collect::<String>().trim_end())
        };
        let numbers = cells(|(_, number, _)| thousands(*number));
        let words = cells(|(_, _, word)| (*word).to_owned());
        let failed = if failed > 0 { format!("{} failed", thousands(failed)) } else { String::new() };
        let failed = format!("{MARGIN}{:COLUMN$}{}", "", paint.yellow(&failed));
        let done = (self.covered * BAR as f64) as usize;
        let bar = format!("{}{}", "█".repeat(done), "░".repeat(BAR - done.min(BAR)));
        [
            format!("{MARGIN}{}  seed {}, {} s", paint.bold("jumpstream demo"), self.seed, self.elapsed.as_secs()),
            String::new(),
            paint.bold(&way(&self.way.each_ref().map(|(name, _, _)| *name))),
            numbers,
            words,
            failed.trim_end().to_owned(),
            String::new(),
            format!(
                "{MARGIN}last 24 hours  {}  {:.0} % read, newest first",
                paint.green(&bar),
                (self.covered * 100.0).floor()
            ),
            String::new(),
            format!("{MARGIN}now            {}", self.act),
            format!("{MARGIN}jumpstream     {}", paint.state(&self.trouble)),
            format!("{MARGIN}{:15}{}", "", remedy(&self.trouble)).trim_end().to_owned(),
            format!("{MARGIN}survived       {}", survived(&self.activity)),
        ]
        .join("\n")
    }

    fn line(&self) -> String {
        let trouble = self.trouble.as_ref();
        let trouble = trouble.map(|(_, reason)| format!(" [{}]", cut(reason, 90))).unwrap_or_default();
        let [_, (_, requests, asked), ahead @ ..] = &self.way;
        let ahead = ahead.iter().map(|(_, number, word)| format!(", {} {word}", thousands(*number)));
        format!(
            "{:>3} s  {:>3.0} % of the day read, {} {asked}, {} failed{}; {}{trouble}",
            self.elapsed.as_secs(),
            (self.covered * 100.0).floor(),
            thousands(*requests),
            thousands(failed(&self.activity)),
            ahead.collect::<String>(),
            self.act,
        )
    }
}

/// `Insights API ─▶ source ───────▶ …`, each name at its column.
fn way(names: &[&str]) -> String {
    let mut text = MARGIN.to_owned();
    for (place, name) in names.iter().enumerate() {
        text.push_str(name);
        if place + 1 < names.len() {
            let shaft = "─".repeat(COLUMN.saturating_sub(name.chars().count() + 3));
            text.push_str(&format!(" {shaft}▶ "));
        }
    }
    text
}

/// How many requests did not bring what was asked for.
pub(super) fn failed(activity: &Activity) -> u64 {
    activity.faults.values().sum::<u64>() + activity.refused
}

/// What went wrong, by kind.
pub(super) fn survived(activity: &Activity) -> String {
    let of = |kinds: &[Kind]| kinds.iter().filter_map(|kind| activity.faults.get(kind)).sum::<u64>();
    let kinds = [
        (of(&[Kind::RateLimited, Kind::RateLimitedDate, Kind::RateLimitedSeconds]), "429"),
        (of(&[Kind::InternalError, Kind::BadGateway, Kind::Unavailable, Kind::GatewayTimeout]), "5xx"),
        (of(&[Kind::CutBody]), "cut"),
        (of(&[Kind::EmptyBody]), "empty"),
        (of(&[Kind::WrongCount]), "miscounted"),
        (activity.refused, "401"),
    ];
    let met = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} × {name}"));
    let met: Vec<_> = met.collect();
    if met.is_empty() { "nothing yet".to_owned() } else { met.join(", ") }
}

/// `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// What is waited for, and behind the semicolon what is to be done.
fn halves(reason: &str) -> (&str, Option<&str>) {
    reason.split_once("; ").map_or((reason, None), |(finding, remedy)| (finding, Some(remedy)))
}

fn remedy(trouble: &Option<(State, String)>) -> String {
    let remedy = trouble.as_ref().filter(|(state, _)| *state != State::Starting);
    remedy.and_then(|(_, reason)| halves(reason).1).map(|remedy| format!("→ {}", cut(remedy, 60))).unwrap_or_default()
}

fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Colour only repeats what the words say.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(self, code: u8, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with(1, text)
    }

    fn green(self, text: &str) -> String {
        self.with(32, text)
    }

    fn yellow(self, text: &str) -> String {
        self.with(33, text)
    }

    fn state(self, trouble: &Option<(State, String)>) -> String {
        match trouble {
            None => self.green("all is well"),
            Some((State::Starting, reason)) => cut(reason, 60),
            Some((State::Stopped, reason)) => self.with(31, &cut(reason, 60)),
            Some((State::Blocked, reason)) => self.with(31, &format!("waits: {}", cut(halves(reason).0, 54))),
            Some((_, reason)) => self.yellow(&format!("waits: {}", cut(halves(reason).0, 54))),
        }
    }
}
