//! Standard error, shared by the log and the progress bar: lines go above the bar, never into it.

use std::io::{self, Write};
use std::sync::LazyLock;

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
