//! `jobrun pool buy`: prints the numbers that would be bought, or buys them and prints the results.

use std::io::Write;

use jobrun_onboarding::E164;
use jobrun_onboarding::pool_number::Unfit;
use jobrun_shared::clock;
use jobrun_shared::config::Buying;
use jobrun_shared::db::numbers::purchases::{self, Counted};
use jobrun_shared::db::{self, installation};
use jobrun_shared::numbers::purchase::{Order, PurchaseReport, Run, Shortfall, fields};
use jobrun_twilio::api::Api;
use serde_json::{Value, json};

use crate::commands::operator;
use crate::{CONNECTIONS, table};

/// Carries out an order, or only prints its effect unless `really` is set. Returns the exit status: 0 if all numbers are bought,
/// or would be, 1 if fewer, and 2 if the order is over the limit.
///
/// # Errors
/// When the database belongs to an account of the other kind.
pub async fn run(
    settings: &Buying,
    order: &Order,
    really: bool,
    why: Option<String>,
    json: bool,
) -> anyhow::Result<u8> {
    let pool = db::connect(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    let account_kind = settings.twilio.account_kind();
    if really {
        installation::mark(&pool, account_kind, clock::now()).await?;
    }
    if let Some(installation) = installation::find(&pool).await? {
        installation.ensure_is_of(account_kind)?;
    }
    let (api, by) = (Api::new(&settings.twilio.account)?, operator(why));
    let report = if really {
        let mut conn = purchases::begin_run(&pool).await?;
        Run::new(&mut conn, &api, settings, order, &by, clock::now()).buy().await?
    } else {
        Run::new(&mut *pool.acquire().await?, &api, settings, order, &by, clock::now()).rehearse().await?
    };
    let mut out = table::stdout();
    if !json {
        for (number, unfit) in &report.passed_over {
            writeln!(out, "{number:<17} passed over: {unfit}")?;
        }
    }
    if json {
        writeln!(out, "{:#}", as_json(settings, order, really, &report))?;
    } else if really {
        print_bought(&mut out, order, &report)?;
        print_cap(&mut out, settings, &report)?;
    } else {
        print_rehearsal(&mut out, settings, order, &report)?;
        print_cap(&mut out, settings, &report)?;
        writeln!(out, "\nNothing was bought. With --yes, numbers are bought, and paid for.")?;
    }
    Ok(match &report.shortfall {
        Some(Shortfall::OverCap { .. }) => 2,
        _ => u8::from(!report.is_complete()),
    })
}

fn print_rehearsal(
    out: &mut impl Write,
    settings: &Buying,
    order: &Order,
    report: &PurchaseReport,
) -> std::io::Result<()> {
    print_numbers(out, "would be bought", report.would_buy.iter())?;
    print_numbers(out, "left open by an earlier run: settled first", report.open.iter())?;
    print_total(out, report.would_buy.len(), "would be bought", order, report)?;
    let sid = |sid: &Option<String>, name: &str| sid.clone().unwrap_or_else(|| format!("none: {name} is not set"));
    print_row(out, "bundle", &sid(&settings.bundle_sid, "TWILIO_BUNDLE_SID"))?;
    print_row(out, "address", &sid(&settings.address_sid, "TWILIO_ADDRESS_SID"))?;
    for (field, value) in fields(&settings.twilio.account.public_base_url) {
        print_row(out, field, &value)?;
    }
    Ok(())
}

fn print_bought(out: &mut impl Write, order: &Order, report: &PurchaseReport) -> std::io::Result<()> {
    for bought in &report.bought {
        let how = if bought.found { "bought before, and found" } else { "bought" };
        print_numbers(out, &format!("{how}; in the pool"), std::iter::once(&bought.number))?;
    }
    for (number, why) in &report.not_bought {
        print_numbers(out, &format!("not bought: {why}"), std::iter::once(number))?;
    }
    print_numbers(out, "open: not known yet whether it was bought", report.open.iter())?;
    print_total(out, report.bought.len(), "bought", order, report)
}

fn print_numbers<'a>(
    out: &mut impl Write,
    what: &str,
    mut numbers: impl Iterator<Item = &'a E164>,
) -> std::io::Result<()> {
    numbers.try_for_each(|number| writeln!(out, "{:<17} {what}", number.as_str()))
}

/// Prints how many of how many; and if those are too few, why.
fn print_total(
    out: &mut impl Write,
    count: usize,
    what: &str,
    order: &Order,
    report: &PurchaseReport,
) -> std::io::Result<()> {
    let Order { country, kind, count: asked } = order;
    let why = report.shortfall.as_ref().map(|shortfall| format!(": {shortfall}")).unwrap_or_default();
    let before = if count + report.not_bought.len() + report.open.len() == 0 { "" } else { "\n" };
    writeln!(out, "{before}{count} {what} of {asked} asked for ({country}, {}){why}\n", kind.name())
}

fn print_cap(out: &mut impl Write, settings: &Buying, report: &PurchaseReport) -> std::io::Result<()> {
    let Counted { bought, intended } = report.counted;
    let (max, left) = (settings.max, left(settings, report));
    let cap = format!("{max} within 30 days (POOL_BUY_MAX): {bought} bought, {intended} open, {left} left");
    print_row(out, "cap", &cap)
}

fn print_row(out: &mut impl Write, name: &str, value: &str) -> std::io::Result<()> {
    writeln!(out, "{name:<21} {value}")
}

const fn left(settings: &Buying, report: &PurchaseReport) -> u32 {
    settings.max.saturating_sub(report.counted.bought.saturating_add(report.counted.intended))
}

fn as_json(settings: &Buying, order: &Order, really: bool, report: &PurchaseReport) -> Value {
    let numbers = |numbers: &[E164]| numbers.iter().map(|number| number.as_str().to_owned()).collect::<Vec<String>>();
    let bought = |it: &jobrun_shared::numbers::purchase::Bought| json!({"phoneE164": it.number.as_str(), "sid": it.sid, "found": it.found});
    let not_bought = |(number, why): &(E164, String)| json!({"phoneE164": number.as_str(), "why": why});
    let passed_over = |(number, unfit): &(String, Unfit)| json!({"phoneNumber": number, "why": unfit.to_string()});
    json!({
        "dryRun": !really,
        "complete": report.is_complete(),
        "asked": order.count,
        "country": order.country,
        "type": order.kind.name(),
        "wouldBuy": numbers(&report.would_buy),
        "bought": report.bought.iter().map(bought).collect::<Vec<Value>>(),
        "notBought": report.not_bought.iter().map(not_bought).collect::<Vec<Value>>(),
        "open": numbers(&report.open),
        "passedOver": report.passed_over.iter().map(passed_over).collect::<Vec<Value>>(),
        "why": report.shortfall.as_ref().map(ToString::to_string),
        "cap": {
            "max": settings.max,
            "bought": report.counted.bought,
            "open": report.counted.intended,
            "left": left(settings, report),
        },
    })
}
