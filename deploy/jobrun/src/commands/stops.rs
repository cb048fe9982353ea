//! `jobrun stop` and `jobrun start`: stops sending or conversations, starts them again, and lists the stops.

use std::io::Write;

use jobrun_shared::db::stops::{self as rows, Activity, Stop};
use jobrun_shared::{clock, config, stops, telemetry};

use crate::MINUTE;
use crate::commands::{connect_migrated, operator};
use crate::table::{self, Column};

const COLUMNS: [Column; 4] =
    [Column::text("STOPPED", 13), Column::text("SINCE", 20), Column::text("BY", 12), Column::text("WHY", 0)];

/// Shows the stops that last.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn show(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let pool = connect_migrated(settings).await?;
    let stopped = rows::list(&mut *pool.acquire().await?).await?;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&stopped)?)?);
    }
    if stopped.is_empty() {
        return Ok(writeln!(out, "nothing is stopped")?);
    }
    Ok(table::print(&mut out, &COLUMNS, stopped.iter().map(row).collect())?)
}

fn row(stop: &Stop) -> Vec<String> {
    let Stop { what, stopped_at, stopped_by, why } = stop;
    vec![what.name().to_owned(), stopped_at.format(MINUTE).to_string(), stopped_by.clone(), why.clone()]
}

/// Stops an activity.
///
/// # Errors
/// When it is stopped already, no reason is given, or the settings, the database or the output fail.
pub async fn stop(settings: &config::Operator, what: Activity, why: Option<String>, json: bool) -> anyhow::Result<()> {
    let stop = stops::stop(&connect_migrated(settings).await?, what, &operator(why), clock::now()).await?;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&stop)?)?);
    }
    let effect = match what {
        Activity::Sending => "texts wait, but those that are on their way to Twilio",
        Activity::Conversations => "what clients text is kept, and answered after the start",
    };
    Ok(writeln!(out, "{} stopped: {effect}", what.is())?)
}

/// Starts an activity again.
///
/// # Errors
/// When it is not stopped, or the settings, the database or the output fail.
pub async fn start(settings: &config::Operator, what: Activity, why: Option<String>, json: bool) -> anyhow::Result<()> {
    let started = stops::start(&connect_migrated(settings).await?, what, &operator(why), clock::now()).await?;
    telemetry::cleared(&started.cleared);
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&started.stop)?)?);
    }
    let Stop { stopped_at, stopped_by, .. } = &started.stop;
    Ok(writeln!(out, "{} started; {stopped_by} had stopped it on {}", what.is(), stopped_at.format(MINUTE))?)
}
