//! The report of the checks: prints each result beside the expected one.

use std::io::{self, Write};

use unicode_width::UnicodeWidthChar;

/// How wide each of the two columns is, in characters of a terminal.
const COLUMN: usize = 62;

/// The comparison of a result with the plan.
#[derive(Clone, Debug)]
pub struct Check {
    /// The scenario.
    pub scenario: &'static str,
    /// Its title.
    pub title: String,
    /// The result that the plan expects.
    pub expected: String,
    /// The result.
    pub found: String,
    /// Whether they agree.
    pub holds: bool,
}

/// Every check so far. Each is printed as it is made.
pub struct Report<'w> {
    out: &'w mut (dyn Write + Send),
    colours: bool,
    scenario: &'static str,
    checks: Vec<Check>,
}

impl<'w> Report<'w> {
    /// Returns an empty report that is printed to `out`.
    pub fn new(out: &'w mut (dyn Write + Send), colours: bool) -> Self {
        Self { out, colours, scenario: "", checks: Vec::new() }
    }

    /// Returns every check, in order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Returns the checks that do not hold.
    #[must_use]
    pub fn failures(&self) -> Vec<&Check> {
        self.checks.iter().filter(|check| !check.holds).collect()
    }

    pub(super) fn begin(&mut self, scenario: &'static str) -> io::Result<()> {
        self.scenario = scenario;
        writeln!(self.out, "\n{}", self.coloured("1", scenario))?;
        writeln!(self.out, "{}", "─".repeat(2 * COLUMN + 7))
    }

    /// Prints a step that is not checked by itself.
    pub(super) fn note(&mut self, note: &str) -> io::Result<()> {
        writeln!(self.out, "    {note}")
    }

    /// Records a check, and prints `expected` and `found` side by side.
    pub(super) fn check(&mut self, title: &str, expected: &str, found: &str, holds: bool) -> io::Result<()> {
        let (mark, colour) = if holds { ("✔", "32") } else { ("✘", "31") };
        writeln!(self.out, "  {} {title}", self.coloured(colour, mark))?;
        let (left, right) = (wrapped(expected), wrapped(found));
        for line in 0..left.len().max(right.len()) {
            let cell = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
            writeln!(self.out, "      {} │ {}", padded(&cell(&left)), cell(&right).trim_end())?;
        }
        self.checks.push(Check {
            scenario: self.scenario,
            title: title.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            holds,
        });
        Ok(())
    }

    /// Checks that `found` equals `expected`.
    pub(super) fn equal(&mut self, title: &str, expected: &str, found: &str) -> io::Result<()> {
        self.check(title, expected, found, expected == found)
    }

    /// Prints the last line: how many checks hold.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let (all, failed) = (self.checks.len(), self.failures().len());
        let verdict =
            if failed == 0 { format!("All {all} checks hold.") } else { format!("{failed} of {all} checks FAIL.") };
        writeln!(self.out, "\n{}", self.coloured(if failed == 0 { "32" } else { "31" }, &verdict))
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn width(character: char) -> usize {
    character.width().unwrap_or(0)
}

fn width_of(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// Returns the lines of `text`, none wider than a column.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut cell = String::new();
        for character in line.chars() {
            if width_of(&cell) + width(character) > COLUMN {
                lines.push(std::mem::replace(&mut cell, "  ".to_owned()));
            }
            cell.push(character);
        }
        lines.push(cell);
    }
    lines
}

fn padded(cell: &str) -> String {
    format!("{cell}{}", " ".repeat(COLUMN.saturating_sub(width_of(cell))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_despite_wide_characters_and_long_lines() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        report.equal("a text", "💳 [GATE]\nlong ".repeat(20).trim(), "short").unwrap();
        assert_eq!(report.failures().len(), 1);
        let shown = String::from_utf8(out).unwrap();
        let places: Vec<usize> =
            shown.lines().filter_map(|line| line.split_once('│')).map(|(left, _)| width_of(left)).collect();
        assert!(places.len() > 20 && places.iter().all(|place| *place == places[0]), "{shown}");
    }
}
