//! Problems of the settings.

use std::fmt;

use super::table::SETTINGS;
use crate::spelling;

/// The problems of the settings, one sentence a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the settings need attention:")?;
        self.0.iter().try_for_each(|problem| write!(formatter, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// Returns the problem that a setting is missing, for commands that need one which others do without.
    #[must_use]
    pub fn not_set(name: &str, example: &str) -> Self {
        Self(vec![not_set(name, example)]).or_misspelt()
    }

    /// Adds the problems of `other`, each once.
    #[must_use]
    pub fn and(mut self, other: Option<Self>) -> Self {
        for problem in other.into_iter().flat_map(|it| it.0) {
            if !self.0.contains(&problem) {
                self.0.push(problem);
            }
        }
        self
    }

    /// Returns a single problem, found by comparing the settings with something else.
    #[must_use]
    pub fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }

    /// Adds the variables whose names are nearly those of settings: one of them may be the missing setting.
    pub(super) fn or_misspelt(mut self) -> Self {
        self.0.extend(near_misses());
        self
    }
}

pub(super) fn not_set(name: &str, example: &str) -> String {
    format!("{name} is not set (example: {example})")
}

/// Returns a sentence for each environment variable whose name is nearly that of a setting, and says which. Shows no values.
#[must_use]
pub fn near_misses() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let known: Vec<String> = SETTINGS
        .iter()
        .flat_map(|it| [Some(it.name.to_owned()), it.earlier_name.map(str::to_owned), it.file_name()])
        .flatten()
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    spelling::near_misses(names, &known)
}
