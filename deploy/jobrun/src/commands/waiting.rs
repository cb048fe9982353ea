//! `jobrun waiting`: prints the waiting clients, how long they have waited, and by when each was promised a number.

use std::io::Write;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::waiting::{Place, PlaceStatus};
use jobrun_shared::db::listing::{self, PlaceRow};
use jobrun_shared::{clock, config};
use serde_json::{Value, json};

use crate::commands::connect_migrated;
use crate::table::{self, Column};

const COLUMNS: [Column; 9] = [
    Column::text("PLACE", 5),
    Column::text("REGION", 6),
    Column::text("CLIENT", 36),
    Column::text("BUSINESS", 16),
    Column::text("PHONE", 13),
    Column::text("SINCE (UTC)", 16),
    Column::text("WAITS FOR", 12),
    Column::text("PROMISED BY", 16),
    Column::state("STANDS", 0),
];

/// The format of a time, in UTC.
const MINUTE: &str = "%Y-%m-%d %H:%M";

/// Prints a summary, and `places`, which are in the order in which they are served.
///
/// # Errors
/// When `out` cannot be written.
pub fn print(out: &mut impl Write, places: &[PlaceRow], now: DateTime<Utc>) -> std::io::Result<()> {
    if places.is_empty() {
        return writeln!(out, "nobody waits for a number");
    }
    writeln!(out, "{}\n", summary(places, now))?;
    let row = |it: &PlaceRow| {
        let place = &it.place;
        let (since, promised) = (place.joined_at.format(MINUTE), place.promised_by.format(MINUTE));
        vec![
            it.in_line.to_string(),
            place.region.clone(),
            place.client_id.clone(),
            it.business_name.clone(),
            format!("+{}", it.phone),
            since.to_string(),
            hours_and_minutes(now - place.joined_at),
            promised.to_string(),
            words(place, now),
        ]
    };
    table::print(out, &COLUMNS, places.iter().map(row).collect())
}

/// Returns the places as JSON, for scripts.
#[must_use]
pub fn as_json(places: &[PlaceRow], now: DateTime<Utc>) -> Value {
    let one = |it: &PlaceRow| {
        let place = &it.place;
        json!({
            "place": it.in_line,
            "region": place.region,
            "clientId": place.client_id,
            "businessName": it.business_name,
            "phone": format!("+{}", it.phone),
            "since": place.joined_at,
            "promisedBy": place.promised_by,
            "standing": name(place.status(now)),
            "heldUntil": place.held_until,
            "lapsed": place.lapsed,
            "toldLate": place.told_late,
        })
    };
    places.iter().map(one).collect()
}

fn summary(places: &[PlaceRow], now: DateTime<Utc>) -> String {
    let count = |names: &[&str]| places.iter().filter(|it| names.contains(&name(it.place.status(now)))).count();
    let clients = match places.len() {
        1 => "1 client waits".to_owned(),
        many => format!("{many} clients wait"),
    };
    format!(
        "{clients}: {} close to the promise or past it, {} with a number held",
        count(&["close", "late"]),
        count(&["held"])
    )
}

const fn name(status: PlaceStatus) -> &'static str {
    match status {
        PlaceStatus::Held(_) => "held",
        PlaceStatus::NotTextable => "notTextable",
        PlaceStatus::Late => "late",
        PlaceStatus::Close => "close",
        PlaceStatus::Waiting => "waiting",
    }
}

fn words(place: &Place, now: DateTime<Utc>) -> String {
    let status = match place.status(now) {
        PlaceStatus::Held(until) => format!("held until {}", until.format(MINUTE)),
        PlaceStatus::NotTextable => "not textable".to_owned(),
        other @ (PlaceStatus::Late | PlaceStatus::Close | PlaceStatus::Waiting) => name(other).to_owned(),
    };
    match place.lapsed {
        0 => status,
        1 => format!("{status}, 1 hold let lapse"),
        lapsed => format!("{status}, {lapsed} holds let lapse"),
    }
}

fn hours_and_minutes(wait: TimeDelta) -> String {
    format!("{} h {:02} min", wait.num_hours(), wait.num_minutes() % 60)
}

/// Prints the waiting list.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn run(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let mut conn = connect_migrated(settings).await?.acquire().await?;
    let (places, now) = (listing::list_places(&mut conn, i64::MAX).await?, clock::now());
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{:#}", as_json(&places, now))?);
    }
    Ok(print(&mut out, &places, now)?)
}
