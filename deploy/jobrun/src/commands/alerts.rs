//! `jobrun alerts`: prints the open alerts.

use std::io::Write;
use std::process::ExitCode;

use jobrun_shared::db::alerts::Alert;
use jobrun_shared::{cases, clock, config, liveness};
use serde_json::json;

use crate::MINUTE;
use crate::commands::{connect_migrated, operator};
use crate::table::{self, Column};

const COLUMNS: [Column; 4] =
    [Column::count("ID", 5), Column::text("SINCE", 20), Column::text("SEEN", 7), Column::text("ALERT", 0)];

/// Prints the alerts that are open, each with its cause and what to do.
///
/// # Errors
/// When `out` cannot be written.
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
    // An alert that is worked out at this moment has no id, and cannot be cleared by hand.
    let id = alert.id.map_or_else(|| "now".to_owned(), |id| id.to_string());
    vec![id, alert.raised_at.format(MINUTE).to_string(), seen, about]
}

/// Prints the open alerts. Returns exit status 1 if there are any.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn list(settings: &config::Operator, json: bool) -> anyhow::Result<ExitCode> {
    let open = liveness::list_alerts(&connect_migrated(settings).await?, clock::now()).await?;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&open)?)?;
    } else {
        print(&mut out, &open)?;
    }
    Ok(ExitCode::from(u8::from(!open.is_empty())))
}

/// Clears an alert. Returns exit status 1 if no open alert has this id.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn clear(settings: &config::Operator, id: i64, why: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    match cases::clear_alert(&connect_migrated(settings).await?, id, &operator(why), clock::now()).await? {
        Some(cause) => {
            let cleared = json!({ "id": id, "cleared": cause });
            let words = if json { format!("{cleared:#}") } else { format!("cleared {cause}") };
            writeln!(std::io::stdout(), "{words}")?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            eprintln!("jobrun: there is no open alert {id}; `jobrun alerts` lists those that are");
            Ok(ExitCode::FAILURE)
        }
    }
}
