//! Clients: search, and the newest.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use jobrun_onboarding::State as Onboarding;
use jobrun_shared::db::listing::{self, ClientFilter, ClientKey, ClientRow, LOOKED_THROUGH, Page};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::{
    Cell, Filter, Frame, ListPage, Search, Table, Tone, address, client_path, given, moment, state_words, thousands,
};

const PATH: &str = "/clients";

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    q: Option<String>,
    state: Option<String>,
    flag: Option<String>,
    /// The time and the id of the client before the page.
    before: Option<i64>,
    id: Option<String>,
}

const FLAGS: [(&str, &str); 6] = [
    ("", "All"),
    ("paid", "Paid"),
    ("unpaid", "Not paid"),
    ("waiting", "Waits for a number"),
    ("optedout", "Opted out"),
    ("unreachable", "Unreachable"),
];

/// Shows clients.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    headers: HeaderMap,
    frame: Frame,
    Query(asked): Query<Parameters>,
) -> Result<Response, PageError> {
    let frame = frame.titled("Clients", "clients");
    let words = given(asked.q.as_ref());
    let mut conn = app.pool.acquire().await?;
    let table = match words {
        Some(words) => {
            let found =
                listing::search_clients(&mut conn, words, !frame.mask.hides, frame.now + TimeDelta::minutes(1)).await?;
            // While the words are typed, a single hit is not opened: they may go on.
            let is_complete = !headers.contains_key("hx-request");
            if let ([only], true) = (found.clients.as_slice(), is_complete) {
                return Ok(Redirect::to(&client_path(&only.id)).into_response());
            }
            found_table(&frame, found.clients, found.are_more)
        }
        None => {
            let filter = ClientFilter {
                state: given(asked.state.as_ref()).map(str::to_owned),
                flag: given(asked.flag.as_ref()).map(str::to_owned),
            };
            let page = listing::list_clients(&mut conn, &filter, &start(&frame, &asked)).await?;
            page_table(&frame, page, &asked)
        }
    };
    let states: Vec<(&str, &str)> = std::iter::once(("", "Any state"))
        .chain(Onboarding::ALL.map(|state| (state.name(), state_words(state.name()))))
        .collect();
    let mut page = ListPage::new(frame, PATH, "", vec![table]);
    page.search = Some(Search {
        name: "q",
        label: "Search",
        hint: "Phone, name, number, SM…, sub_…",
        words: words.unwrap_or_default().to_owned(),
    });
    page.filters = vec![
        Filter::new("state", "State", given(asked.state.as_ref()), &states),
        Filter::new("flag", "Show", given(asked.flag.as_ref()), &FLAGS),
    ];
    page.is_later = asked.before.is_some();
    Ok(page.into_html()?.into_response())
}

fn start(frame: &Frame, asked: &Parameters) -> ClientKey {
    (moment(asked.before).unwrap_or(frame.now + TimeDelta::days(1)), asked.id.clone().unwrap_or_default())
}

fn found_table(frame: &Frame, clients: Vec<ClientRow>, are_more: bool) -> Table {
    let note = if are_more { "These are 50 of more: give another word, or a phone." } else { "" };
    Table { note: note.to_owned(), empty: "No client is found by this.", ..table(frame, clients) }
}

fn page_table(frame: &Frame, page: Page<ClientRow, ClientKey>, asked: &Parameters) -> Table {
    let next = page.next.map(|(at, id)| {
        let at = at.timestamp_micros().to_string();
        let (state, flag) = (given(asked.state.as_ref()), given(asked.flag.as_ref()));
        address(PATH, &[("state", state), ("flag", flag), ("before", Some(&at)), ("id", Some(&id))])
    });
    let next_words = if page.is_cut { "Look through older clients" } else { "Older clients" };
    let note = if page.is_cut {
        format!("Found among {} clients, newest first.", thousands(LOOKED_THROUGH as i64))
    } else {
        String::new()
    };
    Table { note, empty: "There is no such client here.", next, next_words, ..table(frame, page.rows) }
}

fn table(frame: &Frame, clients: Vec<ClientRow>) -> Table {
    Table {
        columns: vec!["Client", "State", "Phone", "Payment", "Number", "Moved", "Began"],
        rows: clients.iter().map(|client| row(frame, client)).collect(),
        ..Table::default()
    }
}

fn row(frame: &Frame, client: &ClientRow) -> Vec<Cell> {
    let mut name = Cell::new().client(frame, Some(&client.id), Some(&client.business_name));
    if let Some(owner) = &client.owner_name {
        name = name.line().dim(frame.text(owner));
    }
    let mut state = Cell::new().badge(Tone::of(&client.state), state_words(&client.state));
    let flags = [(client.waiting, "waiting"), (client.opted_out, "opted out"), (client.unreachable, "unreachable")];
    for (_, flag) in flags.iter().filter(|(is_so, _)| *is_so) {
        state = state.badge(Tone::of(flag), *flag);
    }
    let moved = client.moved_at.as_ref();
    vec![
        name,
        state,
        Cell::new().text(frame.phone(&client.phone)),
        payment(client),
        client.number.as_ref().map_or_else(Cell::new, |number| Cell::new().text(frame.phone(number))),
        moved.map_or_else(Cell::new, |at| Cell::new().ago(frame, at)),
        Cell::new().time(frame, &client.created_at),
    ]
}

fn payment(client: &ClientRow) -> Cell {
    match (client.payment_active, client.payment_standing.as_str()) {
        (true, "active" | "none") => Cell::new().badge(Tone::Good, "paid"),
        (true, other) => Cell::new().badge(Tone::of(other), other.replace('_', " ")),
        (false, "none") => Cell::new().dim("not paid"),
        (false, other) => Cell::new().badge(Tone::of(other), other.replace('_', " ")),
    }
}
