//! What is wrong with a configuration, where, and what to do.

use std::fmt;
use std::sync::Arc;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// Both count from 1; columns in characters.
    Line { line: usize, column: usize },
    /// An environment variable.
    Variable(Arc<str>),
}

/// One thing that is wrong. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    /// The key's path (`sinks[0].brokers`); empty where no key is concerned.
    pub key: String,
    /// What was expected and what was found.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// What is allowed and probably not meant.
pub type Warning = Fault;

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// As it was given.
    pub file: String,
    pub faults: Vec<Fault>,
    /// What is only odd, told beside.
    pub warnings: Vec<Warning>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Whole => f.write_str("in the file"),
            Place::Line { line, column } => write!(f, "at line {line}, column {column}"),
            Place::Variable(name) => write!(f, "by {name}"),
        }
    }
}

impl Fault {
    pub(super) fn at(place: Place, key: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { place, key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(super) fn whole(problem: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault::at(Place::Whole, "", problem, remedy)
    }

    /// `file:line:column` or the variable's name.
    pub fn position(&self, file: &str) -> String {
        match &self.place {
            Place::Whole => file.into(),
            Place::Line { line, column } => format!("{file}:{line}:{column}"),
            Place::Variable(name) => name.to_string(),
        }
    }

    /// Position, key and problem: one line.
    pub fn finding(&self, file: &str) -> String {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{}: {key}{}", self.position(file), self.problem)
    }

    /// One paragraph: the finding and, on a line of its own, the remedy.
    pub fn describe(&self, file: &str) -> String {
        format!("{}\n  → {}", self.finding(file), self.remedy)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{}", fault.describe(&self.file))?;
        }
        let count = self.faults.len();
        write!(f, "{}: {count} {}", self.file, if count == 1 { "fault" } else { "faults" })
    }
}
