//! What needs attention, as an operator sees it.

use std::io::Write;

use jobrun_shared::db::alerts::Alert;

use crate::MINUTE;
use crate::table::{self, Column};

const COLUMNS: [Column; 4] =
    [Column::count("ID", 5), Column::text("SINCE", 20), Column::text("SEEN", 7), Column::text("ALERT", 0)];

/// Prints the alerts that are open, each with its cause and what to do.
///
/// # Errors
/// When they cannot be written.
pub fn print(out: &mut impl Write, open: &[Alert]) -> std::io::Result<()> {
    if open.is_empty() {
        return writeln!(out, "all clear");
    }
    table::print(out, &COLUMNS, open.iter().map(row).collect())
}

fn row(alert: &Alert) -> Vec<String> {
    let seen = match alert.times {
        1 => "once".to_owned(),
        times => format!("{times} times, last {}", alert.last_seen_at.format(MINUTE)),
    };
    let about = format!("{}\n{}", alert.cause, alert.about);
    // What is worked out just now has no number, and cannot be cleared by hand.
    let id = alert.id.map_or_else(|| "now".to_owned(), |id| id.to_string());
    vec![id, alert.raised_at.format(MINUTE).to_string(), seen, about]
}
