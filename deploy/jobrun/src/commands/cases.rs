//! `jobrun cases`: prints the texts of clients that a person has to answer, and closes a case once it is answered.

use std::io::Write;
use std::process::ExitCode;

use jobrun_shared::db::cases::{self as rows, Case};
use jobrun_shared::{cases, clock, config, telemetry};
use serde_json::json;

use crate::MINUTE;
use crate::commands::client::shown;
use crate::commands::{connect_migrated, operator};
use crate::table::{self, Column};

const COLUMNS: [Column; 6] = [
    Column::count("ID", 5),
    Column::text("SINCE", 20),
    Column::text("CLIENT", 36),
    Column::text("WHY", 9),
    Column::text("AT", 12),
    Column::text("SAID", 0),
];

/// The most cases that are listed.
const LISTED: i64 = 200;

/// Prints the open cases.
///
/// # Errors
/// When `out` cannot be written.
pub fn print(out: &mut impl Write, open: &[Case]) -> std::io::Result<()> {
    if open.is_empty() {
        return writeln!(out, "no case is open");
    }
    let row = |case: &Case| {
        let Case { id, client_id, kind, said, state, opened_at, .. } = case;
        let since = opened_at.format(MINUTE).to_string();
        vec![id.to_string(), since, client_id.clone(), kind.clone(), state.clone(), shown(said)]
    };
    table::print(out, &COLUMNS, open.iter().map(row).collect())
}

/// Prints the open cases, the oldest first. Returns exit status 1 if there are any.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn list(settings: &config::Operator, json: bool) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let open = rows::list_open(&mut *pool.acquire().await?, LISTED).await?;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&open)?)?;
    } else {
        print(&mut out, &open)?;
        if open.len() >= LISTED as usize {
            writeln!(out, "these are the oldest {LISTED}")?;
        }
    }
    Ok(ExitCode::from(u8::from(!open.is_empty())))
}

/// Closes a case. Returns exit status 1 if no open case has this id.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn close(settings: &config::Operator, id: i64, why: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let Some(closed) = cases::close(&pool, id, None, &operator(why), clock::now()).await? else {
        eprintln!("jobrun: there is no open case {id}; `jobrun cases` lists those that are");
        return Ok(ExitCode::FAILURE);
    };
    telemetry::cleared(&closed.cleared);
    if json {
        let outcome = json!({ "id": id, "closed": closed.case, "cleared": closed.cleared });
        writeln!(std::io::stdout(), "{outcome:#}")?;
    } else {
        let (client_id, said) = (&closed.case.client_id, shown(&closed.case.said));
        writeln!(std::io::stdout(), "closed case {id} of client {client_id}:\n{said}")?;
    }
    Ok(ExitCode::SUCCESS)
}
