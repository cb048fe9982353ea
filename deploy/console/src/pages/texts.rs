//! Texts out.

use axum::extract::{Query, State};
use axum::response::Html;
use jobrun_shared::db::listing::{self, LOOKED_THROUGH, NEWEST, Page, TextFilter, TextRow};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::pages::bulk_texts;
use crate::view::{
    AGES, Cell, Choosing, Filter, Frame, ListPage, Search, Table, Tone, address, given, older_than, thousands,
};

const PATH: &str = "/texts";

/// What an operator can do with texts.
const ACTIONS: [(&str, &str); 2] = [("replay", "Send failed ones again…"), ("drop", "Drop queued ones…")];

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    status: Option<String>,
    code: Option<String>,
    age: Option<String>,
    before: Option<i64>,
}

const COLUMNS: [&str; 6] = ["Choose", "Written", "Client", "Text", "Status", "Kind"];

const STATUSES: [(&str, &str); 8] = [
    ("", "Any status"),
    ("queued", "Queued"),
    ("underway", "Being sent, or unknown"),
    ("failed", "Failed or undelivered"),
    ("sent", "Sent, no report yet"),
    ("delivered", "Delivered"),
    ("undelivered", "Undelivered"),
    ("held", "Held back"),
];

/// Shows texts.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Parameters>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Texts", "texts");
    let filter = TextFilter {
        status: given(asked.status.as_ref()).map(str::to_owned),
        code: given(asked.code.as_ref()).and_then(|code| code.parse().ok()),
        written_before: older_than(given(asked.age.as_ref()), frame.now),
        ..TextFilter::default()
    };
    let may_act = frame.may("operator");
    let before = asked.before.unwrap_or(NEWEST);
    let page = listing::list_texts(&mut *app.pool.acquire().await?, &filter, before).await?;
    let table = table(&frame, &asked, page);
    let mut page = ListPage::new(frame, PATH, "Every text that we wrote, newest first.", vec![table]);
    page.search = Some(Search {
        name: "code",
        label: "Error code",
        hint: "30003",
        words: given(asked.code.as_ref()).unwrap_or_default().to_owned(),
    });
    page.filters = vec![
        Filter::new("status", "Status", given(asked.status.as_ref()), &STATUSES),
        Filter::new("age", "Age", given(asked.age.as_ref()), &AGES),
    ];
    page.is_later = asked.before.is_some();
    page.choosing = may_act.then(|| Choosing { path: bulk_texts::PATH, filters: filters(&asked), actions: &ACTIONS });
    page.into_html()
}

fn filters(asked: &Parameters) -> Vec<(&'static str, String)> {
    let filters = [("status", &asked.status), ("code", &asked.code), ("age", &asked.age)];
    filters.into_iter().filter_map(|(name, value)| Some((name, given(value.as_ref())?.to_owned()))).collect()
}

fn table(frame: &Frame, asked: &Parameters, page: Page<TextRow>) -> Table {
    let next = page.next.map(|id| {
        let (status, code, age) = (given(asked.status.as_ref()), given(asked.code.as_ref()), given(asked.age.as_ref()));
        let parameters = [("status", status), ("code", code), ("age", age), ("before", Some(&*id.to_string()))];
        address(PATH, &parameters)
    });
    let looked = format!("Found among {} texts, newest first.", thousands(LOOKED_THROUGH as i64));
    Table {
        columns: if frame.may("operator") { COLUMNS.to_vec() } else { COLUMNS[1..].to_vec() },
        rows: page.rows.iter().map(|text| row(frame, text)).collect(),
        note: if page.is_cut { looked } else { String::new() },
        empty: "There is no such text here.",
        next,
        next_words: if page.is_cut { "Look through older texts" } else { "Older texts" },
        ..Table::default()
    }
}

fn row(frame: &Frame, text: &TextRow) -> Vec<Cell> {
    let client = Cell::new().client(frame, text.client_id.as_deref(), text.business_name.as_deref());
    let mut cells = vec![Cell::new().choice(text.id.to_string(), format!("Choose text {}", text.id))];
    cells.truncate(usize::from(frame.may("operator")));
    cells.extend([
        Cell::new().time(frame, &text.created_at),
        client.line().dim(frame.phone(&text.to_phone)),
        Cell::new().body(frame.text(&text.body)),
        status(frame, text),
        text.twilio_sid.iter().fold(Cell::new().dim(text.kind.replace('_', " ")), |cell, sid| cell.line().code(sid)),
    ]);
    cells
}

fn status(frame: &Frame, text: &TextRow) -> Cell {
    let status = if text.held_back { "held back" } else { &text.status };
    let mut cell = Cell::new().badge(Tone::of(status), status);
    if let Some(code) = text.error_code {
        cell = cell.link(address(PATH, &[("code", Some(&code.to_string()))]), code.to_string());
    }
    if let Some(why) = text.why() {
        cell = cell.line().dim(frame.text(&why));
    }
    if text.attempts > 1 {
        cell = cell.line().dim(format!("{} attempts", text.attempts));
    }
    match text.next_attempt_at.filter(|_| ["queued", "unknown"].contains(&text.status.as_str())) {
        Some(at) => cell.line().dim("next").ago(frame, &at),
        None => cell,
    }
}
