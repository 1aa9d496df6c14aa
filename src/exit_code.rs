//! What the process says to whoever started it.

/// A contract: scripts and service managers depend on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitCode {
    /// What was asked for is done.
    Done,
    /// It failed at run time.
    Failed,
    /// The command line is wrong.
    Usage,
    /// Events are known to be missing and could not be recovered.
    Missing,
    /// The configuration is wrong (`EX_CONFIG` of sysexits.h).
    Configuration,
}

impl ExitCode {
    pub const ALL: [ExitCode; 5] =
        [ExitCode::Done, ExitCode::Failed, ExitCode::Usage, ExitCode::Missing, ExitCode::Configuration];

    pub const fn number(self) -> u8 {
        match self {
            ExitCode::Done => 0,
            ExitCode::Failed => 1,
            ExitCode::Usage => 2,
            ExitCode::Missing => 3,
            ExitCode::Configuration => 78,
        }
    }

    /// For the help text and the reference page.
    pub const fn meaning(self) -> &'static str {
        match self {
            ExitCode::Done => "done",
            ExitCode::Failed => "failed at run time, or ended before it was done",
            ExitCode::Usage => "the command line is wrong",
            ExitCode::Missing => "events are known to be missing and could not be recovered",
            ExitCode::Configuration => "the configuration is wrong; starting again will not help",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        code.number().into()
    }
}
