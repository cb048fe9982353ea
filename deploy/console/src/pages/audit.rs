//! The audit log: who did what, to whom, and why.

use axum::extract::{Query, State};
use axum::response::Html;
use jobrun_shared::db::audit_log::{self, Entry};
use jobrun_shared::db::listing::{NEWEST, PAGE_ROWS};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::{Cell, Frame, ListPage, Search, Table, Tone, address, given};

const PATH: &str = "/audit";

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    subject: Option<String>,
    before: Option<i64>,
}

/// Shows the log.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Parameters>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Audit log", "audit");
    let (subject, before) = (given(asked.subject.as_ref()), asked.before.unwrap_or(NEWEST));
    let mut conn = app.pool.acquire().await?;
    let mut entries = audit_log::list(&mut conn, subject, before, PAGE_ROWS as i64 + 1).await?;
    let are_more = entries.len() > PAGE_ROWS;
    entries.truncate(PAGE_ROWS);
    let next = entries.last().filter(|_| are_more).map(|last| last.id.to_string());
    let table = Table {
        columns: vec!["When", "Who", "Did", "To", "Why"],
        rows: entries.iter().map(|entry| row(&frame, entry)).collect(),
        empty: "Nothing is recorded here.",
        next: next.map(|id| address(PATH, &[("subject", subject), ("before", Some(&id))])),
        next_words: "Older entries",
        ..Table::default()
    };
    let intro = "What operators did, in the console and on the command line. Nobody can change an entry here.";
    let mut page = ListPage::new(frame, PATH, intro, vec![table]);
    page.search = Some(Search {
        name: "subject",
        label: "Done to",
        hint: "A client's id, a number, a name",
        words: subject.unwrap_or_default().to_owned(),
    });
    page.is_later = asked.before.is_some();
    page.into_html()
}

fn row(frame: &Frame, entry: &Entry) -> Vec<Cell> {
    let via = if entry.via == "command" { "on the command line" } else { "in the console" };
    let done_to = match &entry.subject {
        Some(subject) => Cell::new().link(address(PATH, &[("subject", Some(subject))]), frame.text(subject)),
        None => Cell::new(),
    };
    let details = entry.details.as_object().filter(|details| !details.is_empty());
    let done_to = match details {
        Some(details) => {
            let lines: Vec<String> = details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            done_to.more("Details", frame.text(&lines.join("\n")))
        }
        None => done_to,
    };
    vec![
        Cell::new().time(frame, &entry.at),
        Cell::new().text(frame.text(&entry.who)).line().dim(via),
        Cell::new().badge(Tone::Mute, entry.action.replace(['.', '_'], " ")),
        done_to,
        Cell::new().text(entry.why.as_ref().map(|why| frame.text(why)).unwrap_or_default()),
    ]
}
