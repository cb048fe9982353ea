//! `jobrun client change-phone`: moves a client to a new phone, once an operator knows who it is.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use jobrun_credentials::Token;
use jobrun_onboarding::E164;
use jobrun_onboarding::phone_change::NotMoved;
use jobrun_shared::phone_changes::{self, Error};
use jobrun_shared::{clock, config, refusal};
use serde_json::json;

use crate::commands::client_action::decided_outcome;
use crate::commands::{connect_migrated, operator};

/// The options of the command.
pub struct Options {
    /// The new phone, E.164.
    pub new: String,
    /// The phone that the operator saw.
    pub from: Option<String>,
    /// Whether to change it, and not only to show what that would do.
    pub yes: bool,
    /// The reason, for the audit log.
    pub why: Option<String>,
    /// Whether to print JSON.
    pub json: bool,
}

/// Moves the client that `words` name to a new phone, and prints the outcome. Returns exit status 1 if that is refused.
///
/// # Errors
/// When the settings, the database or the output fail, or there is no such client.
pub async fn run(settings: &config::Operator, words: &str, options: Options) -> anyhow::Result<ExitCode> {
    let Options { new, from, yes, why, json } = options;
    let new = E164::parse(&new).with_context(|| format!("the new phone, {new}"))?;
    let seen =
        from.map(|from| E164::parse(&from).with_context(|| format!("the phone after --from, {from}"))).transpose()?;
    let pool = connect_migrated(settings).await?;
    let id = refusal::find_client(&pool, words).await?;
    let mut out = std::io::stdout();
    let plan = match phone_changes::plan(&pool, &id, &new, seen.as_ref(), &settings.onboarding_number).await {
        Ok(plan) => plan,
        Err(Error::NotMoved(why)) => {
            print(&mut out, &id, Some(why.name()), json)?;
            return Ok(ExitCode::FAILURE);
        }
        Err(other) => return Err(other.into()),
    };
    if !yes {
        let (old, new) = (plan.old.as_str(), plan.new.as_str());
        let newcomer = plan.newcomer_id.as_deref();
        if json {
            let would = json!({ "clientId": id, "old": old, "new": new, "newcomerId": newcomer, "outcome": null });
            writeln!(out, "{would}")?;
        } else {
            writeln!(out, "client {id} would move from {old} to {new}: its history, number and payment follow")?;
            if let Some(newcomer) = newcomer {
                writeln!(out, "client {newcomer}, which that phone is now, would become one with it")?;
            }
            writeln!(out, "both phones would be told. With --yes, it is done")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = format!("command:{}", Token::new()?.secret);
    phone_changes::ask(&pool, &plan, &operator(why), &name, clock::now()).await?;
    let outcome = decided_outcome(&pool, &name).await?;
    print(&mut out, &id, outcome.as_deref(), json)?;
    Ok(ExitCode::from(u8::from(outcome.as_deref().and_then(NotMoved::from_name).is_some())))
}

fn print(out: &mut impl Write, id: &str, outcome: Option<&str>, json: bool) -> std::io::Result<()> {
    match (outcome, outcome.and_then(NotMoved::from_name)) {
        _ if json => writeln!(out, "{}", json!({ "clientId": id, "outcome": outcome })),
        (None, _) => writeln!(out, "client {id}: recorded; it is done once a worker runs"),
        (Some(_), Some(refused)) => writeln!(out, "client {id}: refused, because {}", refused.words()),
        (Some(_), None) => writeln!(out, "client {id}: done"),
    }
}
