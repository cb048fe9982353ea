//! The waiting list as an operator sees it: who waits, for how long, and how that stands to what was promised.

use std::io::Write;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::waiting::{Place, Standing};
use serde_json::{Value, json};

use crate::table::{self, Column};

const COLUMNS: [Column; 7] = [
    Column::text("PLACE", 5),
    Column::text("REGION", 6),
    Column::text("CLIENT", 36),
    Column::text("SINCE (UTC)", 16),
    Column::text("WAITS FOR", 12),
    Column::text("PROMISED BY", 16),
    Column::state("STANDS", 0),
];

/// How a time is shown, in UTC.
const MINUTE: &str = "%Y-%m-%d %H:%M";

/// Prints `places`, which are in the order in which they are served, with a line that sums them up.
///
/// # Errors
/// When nobody reads them.
pub fn print(out: &mut impl Write, places: &[Place], now: DateTime<Utc>) -> std::io::Result<()> {
    if places.is_empty() {
        return writeln!(out, "nobody waits for a number");
    }
    writeln!(out, "{}\n", summary(places, now))?;
    let row = |(in_line, place): (usize, &Place)| {
        let (since, promised) = (place.joined_at.format(MINUTE), place.promised_by.format(MINUTE));
        vec![
            in_line.to_string(),
            place.region.clone(),
            place.client_id.clone(),
            since.to_string(),
            hours_and_minutes(now - place.joined_at),
            promised.to_string(),
            words(place, now),
        ]
    };
    table::print(out, &COLUMNS, numbered(places).map(row).collect())
}

/// The same for scripts.
#[must_use]
pub fn as_json(places: &[Place], now: DateTime<Utc>) -> Value {
    let one = |(in_line, place): (usize, &Place)| {
        json!({
            "place": in_line,
            "region": place.region,
            "clientId": place.client_id,
            "since": place.joined_at,
            "promisedBy": place.promised_by,
            "standing": name(place.standing(now)),
            "heldUntil": place.held_until,
            "lapsed": place.lapsed,
            "toldLate": place.told_late,
        })
    };
    numbered(places).map(one).collect()
}

/// Places are counted in each region, because numbers are.
fn numbered(places: &[Place]) -> impl Iterator<Item = (usize, &Place)> {
    let first = |region: &str| places.iter().position(|place| place.region == region).unwrap_or_default();
    places.iter().enumerate().map(move |(place, it)| (place - first(&it.region) + 1, it))
}

fn summary(places: &[Place], now: DateTime<Utc>) -> String {
    let count = |names: &[&str]| places.iter().filter(|place| names.contains(&name(place.standing(now)))).count();
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

const fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Held(_) => "held",
        Standing::NotTextable => "notTextable",
        Standing::Late => "late",
        Standing::Close => "close",
        Standing::Waiting => "waiting",
    }
}

fn words(place: &Place, now: DateTime<Utc>) -> String {
    let stands = match place.standing(now) {
        Standing::Held(until) => format!("held until {}", until.format(MINUTE)),
        Standing::NotTextable => "not textable".to_owned(),
        other @ (Standing::Late | Standing::Close | Standing::Waiting) => name(other).to_owned(),
    };
    match place.lapsed {
        0 => stands,
        1 => format!("{stands}, 1 hold let lapse"),
        lapsed => format!("{stands}, {lapsed} holds let lapse"),
    }
}

fn hours_and_minutes(wait: TimeDelta) -> String {
    format!("{} h {:02} min", wait.num_hours(), wait.num_minutes() % 60)
}
