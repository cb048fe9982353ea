//! The pool as an operator sees it: what there is, how fast it goes, and every number.

use std::io::Write;

use jobrun_shared::operator::{PoolNumber, PoolRegion, PoolStatus};

use crate::MINUTE;
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

/// Prints the counts, how the numbers of each region go, and every number.
///
/// # Errors
/// When nobody reads them.
pub fn print_status(out: &mut impl Write, status: &PoolStatus) -> std::io::Result<()> {
    let PoolStatus { free, held, reserved, waiting, cooling, drained, regions, numbers } = status;
    write!(out, "{free} free, {held} held by clients, {reserved} reserved by hand; {waiting} waiting; ")?;
    writeln!(out, "{cooling} cooling down, {drained} drained\n")?;
    print_regions(out, regions)?;
    table::print(out, &NUMBERS, numbers.iter().map(row_of_number).collect())
}

fn row_of_number(number: &PoolNumber) -> Vec<String> {
    let client = number.client_id.as_deref().unwrap_or("-");
    let drained = if number.drained_at.is_some() && number.state != "drained" { "  (drained)" } else { "" };
    let PoolNumber { phone_e164, state, status, region, .. } = number;
    let client = format!("{client}{drained}");
    vec![phone_e164.clone(), (*state).to_owned(), status.clone(), region.clone(), since(number), client]
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

/// Since when the number is what it is; for one that cools down, until when.
fn since(number: &PoolNumber) -> String {
    let (word, at) = match number.state {
        "cooling" => ("until ", number.cools_until),
        "drained" => ("", number.drained_at),
        _ => ("", number.assigned_at),
    };
    at.map(|at| format!("{word}{}", at.format(MINUTE))).unwrap_or_default()
}
