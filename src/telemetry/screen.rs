//! Standard error, shared by the log and the progress bar: lines go above the bar, never into it.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One a process, as there is one standard error. Draws nothing where that is no terminal.
static SCREEN: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// A bar at the bottom, redrawn in place for as long as it lives.
pub struct Bar(ProgressBar);

impl Bar {
    /// `whole`: the position at its end. It is seen from the first [`Self::show`] on.
    pub fn open(whole: u64) -> Bar {
        let bar = SCREEN.add(ProgressBar::with_draw_target(Some(whole), ProgressDrawTarget::hidden()));
        let style = ProgressStyle::with_template("{bar:20} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar(bar)
    }

    /// The message is cut where the terminal ends.
    pub fn show(&self, position: u64, message: String) {
        self.0.set_position(position);
        self.0.set_message(message);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        SCREEN.remove(&self.0);
    }
}

const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The positions of a bar that [`follow`] draws.
const WHOLE: u64 = 1_000;

/// Shows how far something has come: a bar where standard error is a terminal, else a line now and then.
///
/// `look` gives how much is done, 0 to 1, and that in words; none before it is known. Dropping it takes the bar away.
pub async fn follow(look: impl Fn() -> Option<(f64, String)>) -> Infallible {
    let bar = io::stderr().is_terminal().then(|| Bar::open(WHOLE));
    loop {
        tokio::time::sleep(if bar.is_some() { REDRAW } else { LINE_EVERY }).await;
        match (look(), &bar) {
            (None, _) => {}
            (Some((share, text)), Some(bar)) => bar.show((share * WHOLE as f64) as u64, text),
            (Some((_, text)), None) => tracing::info!("{text}"),
        }
    }
}

/// What the log writes to.
pub(super) struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SCREEN.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
