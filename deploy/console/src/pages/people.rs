//! The people who use the console.

use axum::extract::State;
use axum::response::Html;
use jobrun_shared::db::console::{self, Person};

use crate::app::App;
use crate::error::PageError;
use crate::view::{Cell, Frame, ListPage, Table, Tone};

/// The most people that are listed.
const LISTED: i64 = 500;

/// Shows the people.
///
/// # Errors
/// When the database fails.
pub async fn show(State(app): State<App>, frame: Frame) -> Result<Html<String>, PageError> {
    let frame = frame.titled("People", "people");
    let people = console::list_people(&mut *app.pool.acquire().await?, frame.now, LISTED).await?;
    let table = Table {
        note: "jobrun console user adds people, disables them, and gives them roles and passwords.".to_owned(),
        columns: vec!["Name", "Role", "State", "Sessions", "Last login", "Added"],
        rows: people.iter().map(|person| row(&frame, person)).collect(),
        empty: "There is nobody.",
        ..Table::default()
    };
    ListPage::new(frame, "/people", "Who may use this console, and as what.", vec![table]).into_html()
}

fn row(frame: &Frame, person: &Person) -> Vec<Cell> {
    let state = match &person.disabled_at {
        None => Cell::new().badge(Tone::Good, "enabled"),
        Some(at) => Cell::new().badge(Tone::Mute, "disabled").line().ago(frame, at),
    };
    vec![
        Cell::new().text(person.name.clone()),
        Cell::new().badge(Tone::of(person.role.name()), person.role.name()),
        state,
        Cell::new().text(person.sessions.to_string()).count(),
        person.last_login_at.as_ref().map_or_else(|| Cell::new().dim("never"), |at| Cell::new().ago(frame, at)),
        Cell::new().time(frame, &person.created_at),
    ]
}
