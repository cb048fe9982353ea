//! The last check of the account's numbers at Twilio. The console has no credentials of Twilio: it shows what `jobrun numbers
//! check` has kept.

use axum::extract::{Query, State};
use axum::response::Html;
use chrono::TimeDelta;
use jobrun_shared::db::number_checks::{self, CheckedNumber, NumberCheck};
use jobrun_twilio::webhooks::{METHOD, WEBHOOKS, Webhook};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::{Cell, Filter, Frame, ListPage, Table, Tone, address, given, thousands};

const PATH: &str = "/numbers/check";

/// A check that is older is marked.
const FRESH_FOR: TimeDelta = TimeDelta::days(7);

/// The parameters of the page. The next page begins after a place, so that its address names no number.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    show: Option<String>,
    after: Option<i64>,
}

const SHOW: [(&str, &str); 2] = [("", "All numbers"), ("problems", "Numbers with problems")];

/// Shows the check.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Parameters>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Number check", "number-check");
    let (show, after) = (given(asked.show.as_ref()), asked.after.unwrap_or(0));
    let mut conn = app.pool.acquire().await?;
    let check = number_checks::find(&mut conn).await?;
    let page = number_checks::list(&mut conn, show == Some("problems"), after).await?;
    drop(conn);
    let next = page.next.map(|after| address(PATH, &[("show", show), ("after", Some(&after.to_string()))]));
    let numbers = Table {
        title: "Numbers",
        columns: vec!["Number", "For", "Problem", "What to do"],
        rows: page.rows.iter().map(|number| row(&frame, number)).collect(),
        empty: "There is no such number here.",
        next,
        next_words: "More numbers",
        ..Table::default()
    };
    let mut tables = vec![last_table(&frame, check.as_ref())];
    if let Some(check) = &check {
        tables.extend([numbers, addresses_table(check)]);
    }
    let intro = "The account's numbers at Twilio, compared with what they should be. The console cannot ask Twilio.";
    let mut page = ListPage::new(frame, PATH, intro, tables);
    page.filters = check.iter().map(|_| Filter::new("show", "Show", show, &SHOW)).collect();
    page.is_later = asked.after.is_some();
    page.into_html()
}

fn last_table(frame: &Frame, check: Option<&NumberCheck>) -> Table {
    let row = |check: &NumberCheck| {
        let age = if frame.now - check.checked_at > FRESH_FOR { Tone::Warn } else { Tone::Good };
        let (tone, found) = match check.with_problems {
            0 => (Tone::Good, "all is well".to_owned()),
            wrong => (Tone::Bad, format!("{} with problems", thousands(wrong))),
        };
        vec![
            Cell::new().time(frame, &check.checked_at),
            Cell::new().badge(age, if age == Tone::Warn { "old" } else { "recent" }).ago(frame, &check.checked_at),
            Cell::new().text(check.checked_by.clone()),
            Cell::new().text(thousands(check.numbers)),
            Cell::new().badge(tone, found),
        ]
    };
    Table {
        title: "Last check",
        note: "What has changed since then is seen by the next check: run jobrun numbers check.".to_owned(),
        columns: vec!["Checked", "Age", "By", "Numbers", "Found"],
        rows: check.iter().map(|check| row(check)).collect(),
        empty: "No check has been kept yet: jobrun numbers check makes one.",
        ..Table::default()
    }
}

fn row(frame: &Frame, number: &CheckedNumber) -> Vec<Cell> {
    let named = Cell::new().text(frame.phone(&number.number));
    let problems = number.problems.iter().zip(0..).fold(Cell::new(), |cell, (problem, place)| {
        let cell = if place == 0 { cell } else { cell.line() };
        problem.field.iter().fold(cell.text(problem.words.clone()), |cell, field| cell.code(field))
    });
    let mut advice: Vec<&str> = Vec::new();
    for given in number.problems.iter().map(|it| it.advice.as_str()) {
        if !advice.contains(&given) {
            advice.push(given);
        }
    }
    vec![
        number.sid.iter().fold(named, |cell, sid| cell.line().code(frame.text(sid))),
        Cell::new().text(number.purpose.clone().unwrap_or_else(|| "not ours".to_owned())),
        if number.problems.is_empty() { Cell::new().badge(Tone::Good, "well") } else { problems },
        advice.iter().zip(0..).fold(Cell::new(), |cell, (advice, place)| {
            let cell = if place == 0 { cell } else { cell.line() };
            cell.text(*advice)
        }),
    ]
}

/// Returns the addresses with which the numbers were compared.
fn addresses_table(check: &NumberCheck) -> Table {
    let row = |it: &Webhook| {
        vec![
            Cell::new().text(it.purpose.name()),
            Cell::new().text(it.occasion.words()),
            Cell::new().text(METHOD),
            Cell::new().body(it.address(&check.public_base_url)),
        ]
    };
    Table {
        title: "Addresses that they should have",
        columns: vec!["For", "When", "Method", "Address"],
        rows: WEBHOOKS.iter().map(row).collect(),
        ..Table::default()
    }
}
