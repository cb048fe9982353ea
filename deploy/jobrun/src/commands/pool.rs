//! `jobrun pool status`: prints the counts, a forecast for each region, and every number.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use jobrun_shared::numbers::seed_release::Released;
use jobrun_shared::numbers::status::{self, PoolNumber, PoolRegion, PoolStatus};
use jobrun_shared::numbers::{allocate, seed_release};
use jobrun_shared::refusal::{self, Refusal};
use jobrun_shared::{clock, config, telemetry};
use serde_json::json;

use crate::MINUTE;
use crate::commands::{connect_migrated, operator};
use crate::table::{self, Column};

const NUMBERS: [Column; 6] = [
    Column::text("NUMBER", 17),
    Column::state("STATE", 9),
    Column::text("STATUS", 12),
    Column::text("REGION", 7),
    Column::text("SINCE", 26),
    Column::text("CLIENT", 0),
];

const REGIONS: [Column; 8] = [
    Column::text("\nREGION", 6),
    Column::count("\nFREE", 5),
    Column::count("SPOKEN\nFOR", 7),
    Column::count("COOLING\nDOWN", 8),
    Column::count("\nDRAINED", 8),
    Column::count("HANDED OUT IN\n7 / 30 DAYS", 14),
    Column::count("COMING BACK IN\n7 / 30 DAYS", 15),
    Column::text("\nRUNS DRY", 0),
];

/// Prints the counts, the use of each region's numbers, and every number.
///
/// # Errors
/// When `out` cannot be written.
pub fn print_status(out: &mut impl Write, status: &PoolStatus) -> std::io::Result<()> {
    let PoolStatus { free, held, reserved, waiting, cooling, drained, regions, numbers } = status;
    write!(out, "{free} free, {held} held by clients, {reserved} reserved by hand; {waiting} waiting; ")?;
    writeln!(out, "{cooling} cooling down, {drained} drained\n")?;
    print_regions(out, regions)?;
    table::print(out, &NUMBERS, numbers.iter().map(row_of_number).collect())
}

fn row_of_number(number: &PoolNumber) -> Vec<String> {
    let client = named_client(number);
    let drained = if number.drained_at.is_some() && number.state != "drained" { "  (drained)" } else { "" };
    let PoolNumber { phone_e164, state, status, region, .. } = number;
    let client = format!("{client}{drained}");
    vec![phone_e164.clone(), (*state).to_owned(), status.clone(), region.clone(), since(number), client]
}

/// Returns who holds a number: the business, the phone, and the id.
fn named_client(number: &PoolNumber) -> String {
    let known = [number.business_name.as_deref(), number.client_phone.as_deref(), number.client_id.as_deref()];
    let known: Vec<&str> = known.into_iter().flatten().collect();
    if known.is_empty() { "-".to_owned() } else { known.join("  ") }
}

fn print_regions(out: &mut impl Write, regions: &[PoolRegion]) -> std::io::Result<()> {
    if regions.is_empty() {
        return Ok(());
    }
    table::print(out, &REGIONS, regions.iter().map(row_of_region).collect())?;
    writeln!(out)
}

fn row_of_region(it: &PoolRegion) -> Vec<String> {
    let gone = format!("{} / {}", it.assigned_in_7_days, it.assigned_in_30_days);
    let back = format!("{} / {}", it.returning_in_7_days, it.returning_in_30_days);
    let [free, spoken_for, cooling, drained] = [it.free, it.spoken_for, it.cooling, it.drained].map(|n| n.to_string());
    vec![it.region.clone(), free, spoken_for, cooling, drained, gone, back, it.forecast.to_string()]
}

/// Returns since when the number has its state; for one that cools down, until when.
fn since(number: &PoolNumber) -> String {
    let (word, at) = match number.state {
        "cooling" => ("until ", number.cools_until),
        "drained" => ("", number.drained_at),
        _ => ("", number.assigned_at),
    };
    at.map(|at| format!("{word}{}", at.format(MINUTE))).unwrap_or_default()
}

/// Adds numbers to the pool.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn seed(settings: &config::Operator, numbers: &[String], json: bool) -> anyhow::Result<()> {
    let given: Vec<String> = numbers
        .iter()
        .flat_map(|it| it.split(','))
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    let numbers = if given.is_empty() { &settings.pool_numbers } else { &given };
    let numbers = seed_release::read_pool_numbers(numbers, Some(&settings.onboarding_number))?;
    let seeded = seed_release::add_to_pool(&connect_migrated(settings).await?, numbers, Some(&operator(None))).await?;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{:#}", json!({ "new": seeded.new, "known": seeded.known }))?);
    }
    Ok(writeln!(out, "{} new, {} known already", seeded.new, seeded.known)?)
}

/// Puts a number back into the pool.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn release(
    settings: &config::Operator,
    number: &str,
    yes: bool,
    at_once: bool,
    why: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let cooling = if at_once { Duration::ZERO } else { settings.cooling };
    let (pool, now) = (connect_migrated(settings).await?, clock::now());
    let by = operator(why);
    let by = Some(&by);
    let released = if yes {
        seed_release::release(&pool, number, cooling, now, by).await?
    } else {
        seed_release::release_unheld(&pool, number, cooling, now, by).await?
    };
    if json {
        print_released(&released)?;
    } else {
        print_state(&released)?;
    }
    if released.is_uncooled && !released.drained {
        eprintln!(
            "jobrun: it has not cooled down: the former client's phone may still forward its calls to it, and the next client \
             would answer them"
        );
    }
    Ok(())
}

fn print_released(released: &Released) -> std::io::Result<()> {
    let shown = json!({
        "phoneE164": released.number,
        "holder": released.holder,
        "coolsUntil": released.cools_until,
        "drained": released.drained,
        "uncooled": released.is_uncooled,
    });
    writeln!(table::stdout(), "{shown:#}")
}

fn print_state(released: &Released) -> std::io::Result<()> {
    let holder = released.holder.as_ref().map_or_else(|| "nobody".to_owned(), |id| format!("client {id}"));
    let state = match (released.cools_until, released.drained) {
        (Some(until), _) => format!("cools down until {}", until.format(MINUTE)),
        (None, true) => "is back in the pool, but drained".to_owned(),
        (None, false) => "is available".to_owned(),
    };
    writeln!(std::io::stdout(), "{} {state}; it was held by {holder}", released.number)
}

/// Takes a number out of use, or back into use.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn drain(
    settings: &config::Operator,
    number: &str,
    undo: bool,
    why: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let (pool, by) = (connect_migrated(settings).await?, operator(why));
    let drained = seed_release::drain(&pool, number, undo, clock::now(), Some(&by)).await?;
    let mut out = table::stdout();
    if json {
        let shown = json!({
            "phoneE164": drained.number,
            "drained": !undo,
            "changed": drained.changed,
            "holder": drained.holder,
        });
        return Ok(writeln!(out, "{shown:#}")?);
    }
    let state = match (undo, drained.changed) {
        (false, true) => "is drained: no client will be given it",
        (false, false) => "was drained already: no client will be given it",
        (true, true) => "is drained no more: clients may be given it",
        (true, false) => "was not drained: clients may be given it",
    };
    let holder = drained.holder.map_or_else(|| "nobody holds it".to_owned(), |id| format!("client {id} holds it"));
    Ok(writeln!(out, "{} {state}; {holder}", drained.number)?)
}

/// Gives a client a number. Returns exit status 1 if it gets none.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn allocate(settings: &config::Operator, client: &str, why: Option<String>) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let client_id = match refusal::find_client(&pool, client).await {
        // The JSON result of `allocate` reports an unknown client, for scripts.
        Err(Refusal::NoSuchClient) => client.to_owned(),
        found => found?,
    };
    let answer = allocate::allocate(&pool, &client_id, clock::now(), Some(&operator(why))).await?;
    telemetry::journal(&answer.journal);
    telemetry::raised(&answer.raised);
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&answer)?)?;
    Ok(ExitCode::from(u8::from(!answer.success)))
}

/// Prints the pool.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn status(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let status = status::pool_status(&connect_migrated(settings).await?, clock::now()).await?;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?);
    }
    Ok(print_status(&mut out, &status)?)
}
