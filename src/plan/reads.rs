//! The reads under way: one live poll, several windows of gaps, one read of what was read before.

use super::read::Read;

/// Whose request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    Live,
    /// How a gap is to be cut.
    Cut,
    /// The window of that number.
    Window(u64),
    /// A comparison with the API.
    Check,
}

/// A part of a gap that is being read.
#[derive(Debug)]
pub(super) struct Window {
    pub number: u64,
    pub read: Read,
    /// Events, as counted by the API; none where it wasn't asked.
    pub events: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Reads {
    pub live: Option<Read>,
    pub windows: Vec<Window>,
    pub check: Option<Read>,
}

impl Reads {
    pub fn of(&self, asked: Asked) -> Option<&Read> {
        match asked {
            Asked::Live => self.live.as_ref(),
            Asked::Cut => None,
            Asked::Window(number) => self.windows.iter().find(|each| each.number == number).map(|each| &each.read),
            Asked::Check => self.check.as_ref(),
        }
    }

    pub fn of_mut(&mut self, asked: Asked) -> Option<&mut Read> {
        match asked {
            Asked::Live => self.live.as_mut(),
            Asked::Cut => None,
            Asked::Window(number) => {
                self.windows.iter_mut().find(|each| each.number == number).map(|each| &mut each.read)
            }
            Asked::Check => self.check.as_mut(),
        }
    }

    /// The window that `asked` means, which ends.
    pub fn take_window(&mut self, asked: Asked) -> Option<Window> {
        let place = self.windows.iter().position(|window| asked == Asked::Window(window.number))?;
        Some(self.windows.remove(place))
    }
}
