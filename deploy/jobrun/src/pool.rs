//! The pool as an operator sees it: what there is, how fast it goes, and every number.

use std::io::Write;

use jobrun_shared::operator::{PoolNumber, PoolRegion, PoolStatus};

use crate::MINUTE;

/// Prints the counts, how the numbers of each region go, and every number.
///
/// # Errors
/// When nobody reads them.
pub fn print_status(out: &mut impl Write, status: &PoolStatus) -> std::io::Result<()> {
    let PoolStatus { free, held, reserved, waiting, cooling, drained, regions, numbers } = status;
    write!(out, "{free} free, {held} held by clients, {reserved} reserved by hand; {waiting} waiting; ")?;
    writeln!(out, "{cooling} cooling down, {drained} drained\n")?;
    print_regions(out, regions)?;
    writeln!(out, "{:<17} {:<9} {:<12} {:<7} {:<26} CLIENT", "NUMBER", "STATE", "STATUS", "REGION", "SINCE")?;
    for number in numbers {
        let (since, client) = (since(number), number.client_id.as_deref().unwrap_or("-"));
        let (e164, state, status, region) = (&number.phone_e164, number.state, &number.status, &number.region);
        let drained = if number.drained_at.is_some() && state != "drained" { "  (drained)" } else { "" };
        writeln!(out, "{e164:<17} {state:<9} {status:<12} {region:<7} {since:<26} {client}{drained}")?;
    }
    Ok(())
}

fn print_regions(out: &mut impl Write, regions: &[PoolRegion]) -> std::io::Result<()> {
    if regions.is_empty() {
        return Ok(());
    }
    let heads = ["", "", "SPOKEN", "COOLING", "", "HANDED OUT IN", "COMING BACK IN", ""];
    print_row(out, heads.map(str::to_owned))?;
    let heads = ["REGION", "FREE", "FOR", "DOWN", "DRAINED", "7 / 30 DAYS", "7 / 30 DAYS", "RUNS DRY"];
    print_row(out, heads.map(str::to_owned))?;
    for it in regions {
        let gone = format!("{} / {}", it.assigned_in_7_days, it.assigned_in_30_days);
        let back = format!("{} / {}", it.returning_in_7_days, it.returning_in_30_days);
        let [free, spoken_for, cooling, drained] =
            [it.free, it.spoken_for, it.cooling, it.drained].map(|n| n.to_string());
        print_row(out, [it.region.clone(), free, spoken_for, cooling, drained, gone, back, it.forecast.to_string()])?;
    }
    writeln!(out)
}

fn print_row(out: &mut impl Write, cells: [String; 8]) -> std::io::Result<()> {
    let [region, free, spoken_for, cooling, drained, gone, back, dry] = cells;
    let row = format!("{region:<6} {free:>5} {spoken_for:>7} {cooling:>8} {drained:>8} {gone:>14} {back:>15}  {dry}");
    writeln!(out, "{}", row.trim_end())
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
