//! `jobrun numbers`: prints the webhook addresses, compares the account's numbers with the pool, and sets the addresses of ours.

use std::io::Write;

use jobrun_shared::db::{self, installation};
use jobrun_shared::numbers::account_check::{Checked, NumberProblem, Ours, compare, mending};
use jobrun_shared::numbers::status;
use jobrun_shared::{clock, config};
use jobrun_twilio::Error;
use jobrun_twilio::api::Api;
use jobrun_twilio::webhooks::{METHOD, WEBHOOKS};
use serde_json::{Value, json};

use crate::CONNECTIONS;
use crate::table::{self, Column};

const COLUMNS: [Column; 3] = [Column::text("NUMBER", 17), Column::text("FOR", 11), Column::text("PROBLEM", 0)];

/// Prints the addresses to be entered at Twilio.
///
/// # Errors
/// When `out` cannot be written.
pub fn print_webhooks(out: &mut impl Write, public_base_url: &str) -> std::io::Result<()> {
    writeln!(out, "{:<11} {:<20} {:<7} ADDRESS", "NUMBER", "WHEN", "METHOD")?;
    for webhook in WEBHOOKS {
        let (number, when) = (webhook.purpose.name(), webhook.occasion.words());
        writeln!(out, "{number:<11} {when:<20} {METHOD:<7} {}", webhook.address(public_base_url))?;
    }
    Ok(())
}

/// The outcome of setting up a number.
struct Mended {
    number: String,
    outcome: Result<(), Error>,
}

/// Compares the numbers of the account with the pool, and prints the problems. With `fix`, first sets up the numbers that are
/// ours. Returns whether all is well: no problem is left, and no set-up failed.
///
/// # Errors
/// When Twilio does not respond, or the database belongs to an account of the other kind.
pub async fn check(settings: &config::Numbers, fix: bool, json: bool) -> anyhow::Result<bool> {
    let pool = list_pool(settings).await?;
    let ours = Ours {
        public_base_url: &settings.twilio.account.public_base_url,
        onboarding_number: settings.twilio.onboarding_number.as_str(),
        pool: &pool,
    };
    let api = Api::new(&settings.twilio.account)?;
    let mut checked = compare(&api.list_numbers().await?, &ours);
    let mut mended = Vec::new();
    if fix {
        mended = mend(&api, &checked, ours.public_base_url, !json).await?;
        // Twilio's list shows which settings took effect; our requests do not.
        checked = compare(&api.list_numbers().await?, &ours);
    }
    let well = checked.iter().all(|it| it.problems.is_empty()) && mended.iter().all(|it| it.outcome.is_ok());
    let mut out = table::stdout();
    if json {
        writeln!(out, "{:#}", as_json(well, &checked, &mended))?;
    } else {
        print_checked(&mut out, &checked)?;
        print_unmended(&mut out, &mended)?;
    }
    Ok(well)
}

async fn list_pool(settings: &config::Numbers) -> anyhow::Result<Vec<String>> {
    let pool = db::connect(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    if let Some(installation) = installation::find(&pool).await? {
        installation.ensure_is_of(settings.twilio.account_kind())?;
    }
    let numbers = status::pool_status(&pool, clock::now()).await?.numbers;
    pool.close().await;
    Ok(numbers.into_iter().map(|number| number.phone_e164).collect())
}

/// Sets up one number after the other. A failure does not stop the rest, which do not depend on it.
async fn mend(api: &Api, checked: &[Checked], public_base_url: &str, shown: bool) -> std::io::Result<Vec<Mended>> {
    let mut mended = Vec::new();
    for it in checked {
        let fields = mending(it, public_base_url);
        let Some(sid) = it.sid.as_ref().filter(|_| !fields.is_empty()) else { continue };
        let outcome = api.update_number(sid, &fields).await;
        if shown {
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let said = match &outcome {
                Ok(()) => format!("set {}", names.join(", ")),
                Err(error) => format!("not changed: {error}"),
            };
            writeln!(std::io::stdout(), "{:<17} {said}", it.number)?;
        }
        mended.push(Mended { number: it.number.clone(), outcome });
    }
    if shown && !mended.is_empty() {
        writeln!(std::io::stdout())?;
    }
    Ok(mended)
}

fn print_checked(out: &mut impl Write, checked: &[Checked]) -> std::io::Result<()> {
    let wrong: Vec<&Checked> = checked.iter().filter(|it| !it.problems.is_empty()).collect();
    if wrong.is_empty() {
        return writeln!(out, "{}: all is well", counted(checked.len(), "number"));
    }
    let problems: Vec<NumberProblem> = wrong.iter().flat_map(|it| it.problems.iter().copied()).collect();
    let row = |it: &Checked, problem: &NumberProblem| {
        let purpose = it.purpose.map_or("-", |purpose| purpose.name());
        vec![it.number.clone(), purpose.to_owned(), problem.to_string()]
    };
    let rows = wrong.iter().flat_map(|it| it.problems.iter().map(|problem| row(it, problem)));
    table::print(out, &COLUMNS, rows.collect())?;
    let (all, found) = (counted(checked.len(), "number"), counted(problems.len(), "problem"));
    writeln!(out, "\n{all}: {} well, {} with {found}\n\nWhat to do:", checked.len() - wrong.len(), wrong.len())?;
    print_advice(out, &problems)
}

/// Prints each piece of advice once, even if it is for several numbers.
fn print_advice(out: &mut impl Write, problems: &[NumberProblem]) -> std::io::Result<()> {
    let mut given: Vec<&str> = Vec::new();
    for advice in problems.iter().map(|problem| problem.advice()) {
        if !given.contains(&advice) {
            writeln!(out, "  {advice}")?;
            given.push(advice);
        }
    }
    Ok(())
}

fn print_unmended(out: &mut impl Write, mended: &[Mended]) -> std::io::Result<()> {
    match mended.iter().filter(|it| it.outcome.is_err()).count() {
        0 => Ok(()),
        failed => writeln!(out, "  {} could not be set up, as said above: try again", counted(failed, "number")),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn as_json(well: bool, checked: &[Checked], mended: &[Mended]) -> Value {
    let problem = |it: &NumberProblem| {
        json!({
            "name": it.name(),
            "field": it.field(),
            "mendable": it.is_mendable(),
            "words": it.to_string(),
            "advice": it.advice(),
        })
    };
    let number = |it: &Checked| {
        let problems: Vec<Value> = it.problems.iter().map(problem).collect();
        let purpose = it.purpose.map(|purpose| purpose.name());
        json!({"phoneE164": it.number, "for": purpose, "sid": it.sid, "problems": problems})
    };
    let outcome = |it: &Mended| {
        let error = it.outcome.as_ref().err().map(ToString::to_string);
        json!({"phoneE164": it.number, "error": error})
    };
    json!({
        "well": well,
        "numbers": checked.iter().map(number).collect::<Vec<Value>>(),
        "mended": mended.iter().map(outcome).collect::<Vec<Value>>(),
    })
}

/// Prints the addresses to be entered at Twilio.
///
/// # Errors
/// When the settings, the database or the output fail.
pub fn print_addresses(settings: &config::Operator) -> anyhow::Result<()> {
    let missing = || config::Problems::not_set("PUBLIC_BASE_URL", "https://onboarding.example.com");
    let public_base_url = settings.public_base_url.as_ref().ok_or_else(missing)?;
    Ok(print_webhooks(&mut std::io::stdout().lock(), public_base_url)?)
}
