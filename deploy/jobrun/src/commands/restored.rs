//! `jobrun restored`: makes a database that was restored from a backup fit for the programs.

use std::io::Write;

use jobrun_shared::db::numbers::{Kept, Told};
use jobrun_shared::restore::{self, Found, KEPT_FOR, Restored};
use jobrun_shared::{clock, config};
use jobrun_twilio::api::Api;
use serde_json::{Value, json};

use crate::MINUTE;
use crate::commands::connect_for_account;
use crate::table::{self, Column};

const COLUMNS: [Column; 3] = [Column::text("CLIENT'S PHONE", 17), Column::text("WAS TOLD", 17), Column::text("NOW", 0)];

const BY_HAND: &str = "
By hand, before the workers start:
  jobrun numbers check      numbers bought or released since then
  Stripe                    start an ingress, then send every event since then again: `stripe events resend`
  jobrun pool, jobrun payments assign
                            what operators did since then
What nothing brings back: calls since then.";

/// Compares Twilio's list with the restored database, records the texts that it lacks, and prints its work and the checks that remain.
/// With `dry_run`, changes nothing.
///
/// # Errors
/// When a daemon runs, or the settings, Twilio, the database or the output fail.
pub async fn run(
    settings: &config::Numbers,
    operator: &config::Operator,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<()> {
    let pool = connect_for_account(&settings.database_url, settings.twilio.account_kind()).await?;
    let api = Api::new(&settings.twilio.account)?;
    let found = restore::find(&pool, &api, &settings.twilio.onboarding_number, clock::now()).await?;
    let restored = restore::record(&pool, &found, operator.cooling, dry_run).await?;
    pool.close().await;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{:#}", as_json(&found, &restored, dry_run))?);
    }
    Ok(print(&mut out, &found, &restored, dry_run)?)
}

fn as_json(found: &Found, restored: &Restored, dry_run: bool) -> Value {
    let told = |(it, kept): &(Told, Kept)| {
        let (phone, number) = (it.phone.as_str(), it.number.as_str());
        json!({ "phone": phone, "phoneE164": number, "holds": *kept == Kept::Holds, "words": words(kept) })
    };
    json!({
        "dryRun": dry_run,
        "since": found.since,
        "received": restored.missed,
        "answered": restored.answered,
        "sent": restored.unrecorded,
        "settled": restored.settled,
        "told": restored.told.iter().map(told).collect::<Vec<Value>>(),
    })
}

fn print(out: &mut impl Write, found: &Found, restored: &Restored, dry_run: bool) -> std::io::Result<()> {
    let Restored { missed, answered, unrecorded, settled, told } = restored;
    if dry_run {
        writeln!(out, "nothing is changed: this is what would be done\n")?;
    }
    writeln!(out, "compared Twilio's list since {} with the database", found.since.format(MINUTE))?;
    writeln!(out, "texts received and missing: {missed}, recorded now; {answered} of them had an answer")?;
    writeln!(
        out,
        "texts sent and missing: {unrecorded}; for {} days, none of them is sent again",
        KEPT_FOR.num_days()
    )?;
    writeln!(out, "queued texts that had been sent: {settled}, which count as sent now")?;
    let rows: Vec<Vec<String>> = told
        .iter()
        .filter_map(|(it, kept)| Some(vec![it.phone.as_str().to_owned(), it.number.as_str().to_owned(), words(kept)?]))
        .collect();
    if !rows.is_empty() {
        writeln!(out)?;
        table::print(out, &COLUMNS, rows)?;
    }
    writeln!(out, "{BY_HAND}")
}

/// Returns what became of a number, or `None` if the client holds it.
fn words(kept: &Kept) -> Option<String> {
    match kept {
        Kept::Holds => None,
        Kept::CoolsDown => Some("kept for the client, who gets it once it has paid".to_owned()),
        Kept::NotInPool => Some("not in the pool: add it with `jobrun pool seed`, then run this again".to_owned()),
        Kept::HeldByOther => Some("held by another client: look at both with `jobrun client`".to_owned()),
        Kept::ToldToOther => {
            Some("kept for another client, who was told it later: look at both with `jobrun client`".to_owned())
        }
        Kept::HoldsOther(number) => Some(format!(
            "kept for the client, who holds {number}, which it replaced: `jobrun pool release {number} --yes` gives it to the client"
        )),
    }
}
