//! A fault of a wording file.

use std::fmt;

use crate::wording_name::Name;

/// A fault of a wording file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1, if it is at one.
    pub line: Option<usize>,
    /// The name of the wording as the file spells it, if it is about one.
    pub wording: Option<String>,
    /// The fault in words that follow the name.
    pub problem: String,
}

impl Fault {
    /// Returns a fault of a wording.
    pub(super) fn of(line: usize, name: Name, problem: impl Into<String>) -> Self {
        Self { line: Some(line), wording: Some(name.as_str().to_owned()), problem: problem.into() }
    }

    /// Returns a fault of the file.
    pub(super) fn at(line: usize, problem: impl Into<String>) -> Self {
        Self { line: Some(line), wording: None, problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        if let Some(name) = &self.wording {
            write!(formatter, "{name} ")?;
        }
        formatter.write_str(&self.problem)
    }
}
