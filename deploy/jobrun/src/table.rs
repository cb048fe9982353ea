//! Tables for people: columns line up, cells wrap where a terminal is narrow, and colours are for terminals only.
//!
//! Print on [`stdout`]: it drops the colours where `NO_COLOR` is set, `TERM` is `dumb`, or the output is not a terminal.

use std::io::{StdoutLock, Write};

use anstream::AutoStream;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    /// Its least width, unless it is printed on a terminal.
    least: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Count,
    State,
}

impl Column {
    /// A column of words.
    #[must_use]
    pub const fn text(head: &'static str, least: u16) -> Self {
        Self { head, least, kind: Kind::Text }
    }

    /// A column of counts or amounts, aligned on the right.
    #[must_use]
    pub const fn count(head: &'static str, least: u16) -> Self {
        Self { head, least, kind: Kind::Count }
    }

    /// A column of states, coloured on a terminal by how much attention they need.
    #[must_use]
    pub const fn state(head: &'static str, least: u16) -> Self {
        Self { head, least, kind: Kind::State }
    }
}

/// Returns standard output, without colours where they are not wanted.
#[must_use]
pub fn stdout() -> AutoStream<StdoutLock<'static>> {
    anstream::stdout().lock()
}

/// Returns the width, in characters, of the terminal that standard output goes to, if it goes to one.
#[must_use]
pub fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// Prints a table.
///
/// # Errors
/// When `out` cannot be written.
pub fn print(out: &mut impl Write, columns: &[Column], rows: Vec<Vec<String>>) -> std::io::Result<()> {
    out.write_all(render(columns, rows, terminal_width()).as_bytes())
}

/// Returns the table for a terminal of this width, or for output that is no terminal.
fn render(columns: &[Column], rows: Vec<Vec<String>>, terminal: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).force_no_tty();
    let head = |column: &Column| aligned(column.head.to_owned(), *column).add_attribute(Attribute::Bold);
    table.set_header(columns.iter().map(head));
    for row in rows {
        table.add_row(row.into_iter().zip(columns).map(|(text, column)| cell(text, *column)));
    }
    if let Some(width) = terminal {
        table.set_width(width).enforce_styling();
    }
    for (column, look) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 1));
        if terminal.is_none() {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(look.least + 1)));
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn aligned(text: String, column: Column) -> Cell {
    let alignment = if column.kind == Kind::Count { CellAlignment::Right } else { CellAlignment::Left };
    Cell::new(text).set_alignment(alignment)
}

fn cell(text: String, column: Column) -> Cell {
    let colour = if column.kind == Kind::State { colour_of(&text) } else { None };
    let cell = aligned(text, column);
    match colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// Returns the colour of a state by its first word, since details may follow.
fn colour_of(state: &str) -> Option<Color> {
    match state.split([' ', ',']).next().unwrap_or_default() {
        "late" | "none" | "ended" => Some(Color::Red),
        "close" | "not" | "cooling" | "drained" | "reserved" | "past_due" | "awaited" => Some(Color::Yellow),
        "free" | "held" | "active" => Some(Color::Green),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    const COLUMNS: [Column; 3] = [Column::text("NUMBER", 17), Column::count("DAYS", 5), Column::state("STATE", 0)];

    fn rows() -> Vec<Vec<String>> {
        let row = |number: &str, days: &str, state: &str| [number, days, state].map(str::to_owned).to_vec();
        vec![
            row("+447100000001", "7", "free"),
            row("+353871234567", "12", "held until 2030-01-02 03:04, 1 hold let lapse"),
        ]
    }

    #[test]
    fn without_a_terminal_a_row_is_a_line_of_plain_text() {
        let expected = "NUMBER             DAYS STATE\n\
                        +447100000001         7 free\n\
                        +353871234567        12 held until 2030-01-02 03:04, 1 hold let lapse\n";
        assert_eq!(render(&COLUMNS, rows(), None), expected);
    }

    #[test]
    fn on_a_narrow_terminal_cells_wrap_and_nothing_is_lost() {
        let plain = anstream::adapter::strip_str(&render(&COLUMNS, rows(), Some(40))).to_string();
        assert!(plain.lines().all(|line| line.width() <= 40), "{plain}");
        assert!(plain.lines().count() > 3, "{plain}");
        let words = |text: &str| text.split_whitespace().filter(|it| it.chars().any(char::is_alphanumeric)).count();
        assert_eq!(words(&plain), words(&render(&COLUMNS, rows(), None)), "{plain}");
        let starts = |word: &str| plain.lines().find_map(|line| line.find(word));
        assert_eq!(starts("STATE"), starts("free"), "{plain}");
    }

    #[test]
    fn states_have_colours_on_a_terminal_only() {
        assert!(render(&COLUMNS, rows(), Some(100)).contains('\u{1b}'));
        assert!(!render(&COLUMNS, rows(), None).contains('\u{1b}'));
    }
}
