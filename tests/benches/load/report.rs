//! The results: tables for people, or one JSON object for programs.

use serde_json::{Map, Value, json};

/// One value of a table.
pub(crate) enum Cell {
    /// A name, or a setting.
    Words(String),
    /// A figure, and how many of its decimals are significant.
    Figure(f64, usize),
    /// Nothing was measured, or there is no reference.
    Nothing,
}

impl Cell {
    pub(crate) fn words(words: impl Into<String>) -> Self {
        Self::Words(words.into())
    }

    pub(crate) const fn count(count: usize) -> Self {
        Self::Figure(count as f64, 0)
    }

    pub(crate) fn or_nothing(figure: Option<f64>, decimals: usize) -> Self {
        figure.map_or(Self::Nothing, |figure| Self::Figure(figure, decimals))
    }

    fn shown(&self) -> String {
        match self {
            Self::Words(words) => words.clone(),
            Self::Figure(figure, decimals) => format!("{figure:.decimals$}"),
            Self::Nothing => "-".to_owned(),
        }
    }

    fn as_json(&self) -> Value {
        match self {
            Self::Words(words) => json!(words),
            Self::Figure(figure, _) => json!(figure),
            Self::Nothing => Value::Null,
        }
    }
}

/// A table. The first column has the names of the rows.
pub(crate) struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(title: &'static str, columns: [&'static str; N]) -> Self {
        Self { title, columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Returns the table for people: the first column aligned to the left, all others to the right.
    pub(crate) fn shown(&self) -> String {
        let lines: Vec<Vec<String>> = std::iter::once(self.columns.iter().map(ToString::to_string).collect())
            .chain(self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()))
            .collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let aligned = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("  {}", aligned.collect::<Vec<_>>().join("   "))
        };
        let lines: Vec<String> = lines.iter().map(line).collect();
        format!("{}\n{}\n", self.title, lines.join("\n"))
    }

    /// Returns the table for programs: an object for each row, by the names of the columns.
    pub(crate) fn as_json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Map<String, Value> {
            self.columns.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell.as_json())).collect()
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(object).collect::<Vec<_>>() })
    }
}
