//! Numbers of the pool, one number's history, and purchases.

use axum::extract::{Path, Query, State};
use axum::response::Html;
use jobrun_onboarding::level::Forecast;
use jobrun_shared::db::listing::{self, LOOKED_THROUGH, NEWEST, NumberRow, PurchaseRow};
use jobrun_shared::numbers::status::PoolRegion;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::pages::Before;
use crate::view::{Cell, Filter, Frame, ListPage, Table, Tone, address, client_path, encoded, given, thousands};

const PATH: &str = "/numbers";

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    state: Option<String>,
    after: Option<String>,
}

const STATES: [(&str, &str); 6] = [
    ("", "Any state"),
    ("free", "Free"),
    ("held", "Held"),
    ("cooling", "Cooling down"),
    ("drained", "Drained"),
    ("reserved", "Reserved"),
];

/// Shows the regions, and to operators the numbers: the address of the next page names one.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Parameters>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Numbers", "numbers");
    let overview = app.overviews.get(&app.pool).await?;
    let mut tables = vec![regions_table(&overview.regions)];
    let mut filters = Vec::new();
    if frame.mask.hides {
        tables[0].note = "Operators also see the single numbers.".to_owned();
    } else {
        let (state, after) = (given(asked.state.as_ref()), asked.after.as_deref().unwrap_or_default());
        let page = listing::list_numbers(&mut *app.pool.acquire().await?, state, after).await?;
        let next = page.next.map(|next| address(PATH, &[("state", state), ("after", Some(&next))]));
        let looked = format!("Found among {} numbers.", thousands(LOOKED_THROUGH as i64));
        tables.push(Table {
            title: "Pool",
            note: if page.is_cut { looked } else { String::new() },
            columns: vec!["Number", "State", "Region", "Client", "Since"],
            rows: page.rows.iter().map(|number| row(&frame, number)).collect(),
            empty: "There is no such number here. `jobrun pool seed` adds numbers.",
            next,
            next_words: "More numbers",
        });
        filters.push(Filter::new("state", "State", state, &STATES));
    }
    let mut page = ListPage::new(frame, PATH, "The numbers that clients can be given.", tables);
    page.filters = filters;
    page.is_later = asked.after.is_some();
    page.into_html()
}

fn regions_table(regions: &[PoolRegion]) -> Table {
    let row = |region: &PoolRegion| {
        let count = |count: i64| Cell::new().text(thousands(count)).count();
        let unclaimed = i64::try_from(region.unclaimed).unwrap_or(i64::MAX);
        vec![
            Cell::new().text(region.region.clone()),
            count(unclaimed),
            count(region.free),
            count(region.spoken_for),
            count(region.cooling),
            count(region.drained),
            count(region.assigned_in_7_days),
            Cell::new().badge(tone_of(region.forecast), region.forecast.to_string()),
        ]
    };
    Table {
        title: "Regions",
        columns: vec!["Region", "Unclaimed", "Free", "Spoken for", "Cooling", "Drained", "Assigned in 7 d", "Runs dry"],
        rows: regions.iter().map(row).collect(),
        empty: "The pool is empty. `jobrun pool seed` adds numbers, and `jobrun pool buy` buys them.",
        ..Table::default()
    }
}

/// Returns the tone of a forecast.
#[must_use]
pub const fn tone_of(forecast: Forecast) -> Tone {
    match forecast {
        Forecast::DryNow { .. } | Forecast::InDays(0..=2) => Tone::Bad,
        Forecast::InDays(3..=13) => Tone::Warn,
        Forecast::InDays(_) => Tone::Info,
        Forecast::NotInSight => Tone::Good,
    }
}

fn row(frame: &Frame, number: &NumberRow) -> Vec<Cell> {
    let client = match (&number.holder_id, &number.pool_client_id) {
        (Some(id), _) => Cell::new().client(frame, Some(id), number.holder_name.as_deref()),
        (None, Some(id)) => Cell::new().dim("reserved under").code(id.clone()),
        (None, None) => Cell::new(),
    };
    let mut state = Cell::new().badge(Tone::of(&number.state), number.state.clone());
    if number.drained_at.is_some() && number.state != "drained" {
        state = state.badge(Tone::Warn, "drained");
    }
    let since = match (&number.cools_until, &number.drained_at, &number.assigned_at) {
        (Some(at), _, _) => Cell::new().dim("free").ago(frame, at),
        (None, Some(at), _) if number.state == "drained" => Cell::new().time(frame, at),
        (None, _, Some(at)) => Cell::new().time(frame, at),
        (None, _, None) => Cell::new(),
    };
    let shown = frame.phone(&number.number);
    vec![
        Cell::new().link(format!("{PATH}/{}", encoded(&number.number)), shown),
        state,
        Cell::new().text(number.region.clone()),
        client,
        since,
    ]
}

/// Shows one number and its history.
///
/// # Errors
/// [`PageError::NotFound`], or when the database fails.
pub async fn one(State(app): State<App>, frame: Frame, Path(number): Path<String>) -> Result<Html<String>, PageError> {
    let frame = frame.titled(number.clone(), "numbers");
    let mut conn = app.pool.acquire().await?;
    let found = listing::find_numbers(&mut conn, std::slice::from_ref(&number), None).await?;
    if found.is_empty() {
        return Err(PageError::NotFound);
    }
    let steps = listing::list_number_steps(&mut conn, &number).await?;
    let step = |step: &listing::NumberStep| {
        let client = step.client_id.as_ref().map(|id| Cell::new().link(client_path(id), id.clone()));
        vec![
            Cell::new().time(&frame, &step.changed_at),
            Cell::new().badge(Tone::Mute, step.change.replace('_', " ")),
            client.unwrap_or_default(),
            Cell::new().text(frame.text(&step.why)),
        ]
    };
    let now = Table {
        columns: vec!["Number", "State", "Region", "Client", "Since"],
        rows: found.iter().map(|number| row(&frame, number)).collect(),
        ..Table::default()
    };
    let history = Table {
        title: "History",
        columns: vec!["When", "Step", "Client", "Why"],
        rows: steps.iter().map(step).collect(),
        empty: "Nothing is recorded: the number was added before the history began.",
        ..Table::default()
    };
    ListPage::new(frame, PATH, "", vec![now, history]).into_html()
}

/// Shows purchases.
///
/// # Errors
/// When the database fails.
pub async fn purchases(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Before>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Purchases", "purchases");
    let before = asked.before.unwrap_or(NEWEST);
    let page = listing::list_purchases(&mut *app.pool.acquire().await?, before).await?;
    let row = |purchase: &PurchaseRow| {
        let state = Cell::new().badge(Tone::of(&purchase.state), purchase.state.replace('_', " "));
        let why = purchase.why.as_ref().map(|why| frame.text(why));
        vec![
            Cell::new().time(&frame, &purchase.intended_at),
            Cell::new().text(frame.phone(&purchase.number)),
            Cell::new().text(format!("{} {}", purchase.country, purchase.number_type)),
            why.into_iter().fold(state, |cell, why| cell.line().dim(why)),
            purchase.settled_at.as_ref().map_or_else(Cell::new, |at| Cell::new().time(&frame, at)),
        ]
    };
    let table = Table {
        columns: vec!["Begun", "Number", "Type", "Result", "Settled"],
        rows: page.rows.iter().map(row).collect(),
        empty: "No number has been bought. `jobrun pool buy` buys numbers.",
        next: page.next.map(|id| address("/purchases", &[("before", Some(&*id.to_string()))])),
        next_words: "Older purchases",
        ..Table::default()
    };
    let mut page = ListPage::new(frame, "/purchases", "Numbers bought at Twilio, newest first.", vec![table]);
    page.is_later = asked.before.is_some();
    page.into_html()
}
