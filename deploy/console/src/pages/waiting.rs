//! The waiting list.

use axum::extract::State;
use axum::response::Html;
use jobrun_onboarding::waiting::PlaceStatus;
use jobrun_shared::db::listing::{self, PLACES_LISTED, PlaceRow};

use crate::app::App;
use crate::error::PageError;
use crate::view::{Cell, Frame, ListPage, Table, Tone, thousands};

/// Shows the waiting list.
///
/// # Errors
/// When the database fails.
pub async fn show(State(app): State<App>, frame: Frame) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Waiting list", "waiting");
    let places = listing::list_places(&mut *app.pool.acquire().await?, PLACES_LISTED as i64).await?;
    let total = places.first().map_or(0, |place| place.total);
    let is_cut = places.len() >= PLACES_LISTED && total > PLACES_LISTED as i64;
    let note = if is_cut { format!("The first {PLACES_LISTED} of {}.", thousands(total)) } else { String::new() };
    let table = Table {
        note,
        columns: vec!["Place", "Client", "Waits for", "Promised by", "Stands"],
        rows: places.iter().map(|place| row(&frame, place)).collect(),
        empty: "Nobody waits for a number.",
        ..Table::default()
    };
    let intro = "Clients who paid while there was no number, in the order in which they are served.";
    ListPage::new(frame, "/waiting", intro, vec![table]).into_html()
}

fn row(frame: &Frame, row: &PlaceRow) -> Vec<Cell> {
    let place = &row.place;
    let client = Cell::new().client(frame, Some(&place.client_id), Some(&row.business_name));
    vec![
        Cell::new().text(format!("{} {}", place.region, row.in_line)),
        client.line().dim(frame.phone(&row.phone)),
        Cell::new().ago(frame, &place.joined_at),
        Cell::new().time(frame, &place.promised_by).line().ago(frame, &place.promised_by),
        status(frame, row),
    ]
}

fn status(frame: &Frame, row: &PlaceRow) -> Cell {
    let place = &row.place;
    let mut cell = match place.status(frame.now) {
        PlaceStatus::Held(until) => {
            Cell::new().badge(Tone::Good, "number held").line().dim("until").time(frame, &until)
        }
        PlaceStatus::NotTextable => {
            Cell::new().badge(Tone::Mute, "not textable").line().dim("opted out, unreachable or unpaid")
        }
        PlaceStatus::Late => Cell::new().badge(Tone::Bad, "late"),
        PlaceStatus::Close => Cell::new().badge(Tone::Warn, "close to the promise"),
        PlaceStatus::Waiting => Cell::new().badge(Tone::Info, "waiting"),
    };
    if place.told_late {
        cell = cell.line().dim("told that it takes longer");
    }
    match place.lapsed {
        0 => cell,
        1 => cell.line().dim("1 hold let lapse"),
        lapsed => cell.line().dim(format!("{lapsed} holds let lapse")),
    }
}
