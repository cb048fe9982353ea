//! Alerts: the open ones with their remedies, and those that were cleared.

use axum::extract::{Query, State};
use axum::response::Html;
use jobrun_shared::db::alerts::{self, Alert, ClearedAlert};
use jobrun_shared::db::listing::{NEWEST, PAGE_ROWS};
use jobrun_shared::liveness;

use crate::app::App;
use crate::error::PageError;
use crate::pages::Before;
use crate::remedies;
use crate::view::{Cell, Frame, ListPage, Table, Tone, address, client_path, duration, thousands};

/// Shows alerts.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Before>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Alerts", "alerts");
    let mut tables = Vec::new();
    if asked.before.is_none() {
        let open = liveness::list_alerts(&app.pool, frame.now).await?;
        tables.push(Table {
            title: "Open",
            note: first_of(open.len()),
            columns: vec!["Since", "Alert", "What to do", "Seen"],
            rows: open.iter().take(SHOWN).map(|alert| open_row(&frame, alert)).collect(),
            empty: "All clear.",
            ..Table::default()
        });
    }
    let before = asked.before.unwrap_or(NEWEST);
    let mut cleared = alerts::list_cleared(&mut *app.pool.acquire().await?, before, PAGE_ROWS as i64 + 1).await?;
    let are_more = cleared.len() > PAGE_ROWS;
    cleared.truncate(PAGE_ROWS);
    let next = cleared.last().filter(|_| are_more).map(|last| last.id.to_string());
    tables.push(Table {
        title: "Cleared",
        columns: vec!["Raised", "Alert", "Lasted", "Seen"],
        rows: cleared.iter().map(|alert| cleared_row(&frame, alert)).collect(),
        empty: "No alert has been cleared yet.",
        next: next.map(|id| address("/alerts", &[("before", Some(&id))])),
        next_words: "Older alerts",
        ..Table::default()
    });
    let mut page = ListPage::new(frame, "/alerts", "", tables);
    page.is_later = asked.before.is_some();
    page.into_html()
}

/// The most open alerts that a page shows, oldest first.
const SHOWN: usize = 200;

fn first_of(count: usize) -> String {
    if count > SHOWN { format!("The oldest {SHOWN} of {}.", thousands(count as i64)) } else { String::new() }
}

/// Returns the client that an alert is about, if its cause names one.
#[must_use]
pub fn client_of(cause: &str) -> Option<&str> {
    const ABOUT_CLIENTS: [&str; 9] = [
        "stuck",
        "unfinished",
        "person-wanted",
        "cancel-asked",
        "untold",
        "unreachable",
        "opted-out",
        "paid-twice",
        "code-guesses",
    ];
    let (kind, subject) = cause.split_once(':')?;
    if kind == "undelivered" {
        return subject.split_once(':').map(|(_, client)| client);
    }
    ABOUT_CLIENTS.contains(&kind).then_some(subject)
}

/// Returns the cell that names an alert and its message.
fn message(frame: &Frame, cause: &str, about: &str, tone: Tone) -> Cell {
    let (kind, subject) = cause.split_once(':').unwrap_or((cause, ""));
    let cell = Cell::new().badge(tone, kind.to_owned());
    let cell = match client_of(cause) {
        Some(client) => cell.link(client_path(client), "Client"),
        None if subject.is_empty() => cell,
        None => cell.code(frame.text(subject)),
    };
    cell.line().text(about.replace('`', ""))
}

fn open_row(frame: &Frame, alert: &Alert) -> Vec<Cell> {
    let remedy = remedies::find(&alert.cause);
    let action = remedy.map_or_else(Cell::new, |remedy| {
        let more = format!("{}\n\nLook at: {}", remedy.means, remedy.look_at);
        Cell::new().text(remedy.action.clone()).more("What it means", more)
    });
    vec![
        Cell::new().time(frame, &alert.raised_at).line().ago(frame, &alert.raised_at),
        message(frame, &alert.cause, &alert.about, Tone::Bad),
        action,
        seen(alert.times),
    ]
}

fn cleared_row(frame: &Frame, alert: &ClearedAlert) -> Vec<Cell> {
    vec![
        Cell::new().time(frame, &alert.raised_at),
        message(frame, &alert.cause, &alert.about, Tone::Mute),
        Cell::new().text(duration(alert.cleared_at - alert.raised_at)),
        seen(alert.times),
    ]
}

fn seen(times: i64) -> Cell {
    Cell::new().text(if times == 1 { "once".to_owned() } else { format!("{} times", thousands(times)) })
}
