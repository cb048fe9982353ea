//! `jobrun clients`: lists clients: the newest, those in a state, those who are stuck, or those whom words find.

use std::io::Write;
use std::process::ExitCode;

use chrono::TimeDelta;
use clap::Args;
use clap::builder::PossibleValuesParser;
use jobrun_onboarding::State;
use jobrun_shared::db::listing::{self, ClientFilter, ClientRow, StuckClient};
use jobrun_shared::{clock, config, words};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::MINUTE;
use crate::commands::connect_migrated;
use crate::table::{self, Column};

/// Which clients are listed.
#[derive(Args)]
#[group(multiple = true)]
pub struct Options {
    /// Only clients who do not get on by themselves, the most urgent first, with the reason and what can be done
    #[arg(long, conflicts_with_all = ["state", "search", "show"])]
    stuck: bool,
    /// Only clients at this state
    #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.map(State::name)), conflicts_with = "search")]
    state: Option<String>,
    /// Only clients like this
    #[arg(long, value_parser = ["paid", "unpaid", "waiting", "optedout", "unreachable"], conflicts_with = "search")]
    show: Option<String>,
    /// Find clients by a phone, a number, a name, an id, or a name of Twilio's or Stripe's
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

const CLIENTS: [Column; 7] = [
    Column::text("BUSINESS", 16),
    Column::text("OWNER", 12),
    Column::text("PHONE", 13),
    Column::state("STATE", 16),
    Column::text("NUMBER", 13),
    Column::text("SINCE (UTC)", 16),
    Column::text("CLIENT", 0),
];

const STUCK: [Column; 6] = [
    Column::text("BUSINESS", 16),
    Column::text("PHONE", 13),
    Column::state("STATE", 16),
    Column::text("SINCE (UTC)", 16),
    Column::text("WHY, AND WHAT CAN BE DONE", 40),
    Column::text("CLIENT", 0),
];

/// Lists clients. Returns exit status 1 if there is none.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn run(settings: &config::Operator, options: &Options) -> anyhow::Result<ExitCode> {
    let mut conn = connect_migrated(settings).await?.acquire().await?;
    let mut out = table::stdout();
    let count = if options.stuck {
        let stuck = listing::list_stuck(&mut conn, clock::now()).await?;
        if options.json {
            writeln!(out, "{:#}", stuck.iter().map(stuck_as_json).collect::<Value>())?;
        } else if !stuck.is_empty() {
            table::print(&mut out, &STUCK, stuck.iter().map(stuck_row).collect())?;
        }
        stuck.len()
    } else {
        let (clients, are_more) = find(&mut conn, options).await?;
        if options.json {
            writeln!(out, "{:#}", clients.iter().map(as_json).collect::<Value>())?;
        } else if !clients.is_empty() {
            table::print(&mut out, &CLIENTS, clients.iter().map(row).collect())?;
        }
        if are_more {
            eprintln!("jobrun: there may be more; these are the newest that were found");
        }
        clients.len()
    };
    if count == 0 && !options.json {
        writeln!(out, "no client is like this")?;
    }
    Ok(ExitCode::from(u8::from(count == 0)))
}

/// Returns clients, and whether there may be more.
async fn find(conn: &mut PgConnection, options: &Options) -> anyhow::Result<(Vec<ClientRow>, bool)> {
    // A client that begins meanwhile is listed too.
    let newest = clock::now() + TimeDelta::days(1);
    if let Some(words) = &options.search {
        let found = listing::search_clients(conn, words, true, newest).await?;
        return Ok((found.clients, found.are_more));
    }
    let filter = ClientFilter { state: options.state.clone(), flag: options.show.clone() };
    let page = listing::list_clients(conn, &filter, &(newest, String::new())).await?;
    Ok((page.rows, page.next.is_some()))
}

fn row(it: &ClientRow) -> Vec<String> {
    let or_none = |given: &Option<String>| given.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        it.business_name.clone(),
        or_none(&it.owner_name),
        format!("+{}", it.phone),
        it.state.clone(),
        or_none(&it.number),
        it.created_at.format(MINUTE).to_string(),
        it.id.clone(),
    ]
}

fn as_json(it: &ClientRow) -> Value {
    json!({
        "clientId": it.id,
        "businessName": it.business_name,
        "ownerName": it.owner_name,
        "phone": format!("+{}", it.phone),
        "region": it.region,
        "state": it.state,
        "paymentActive": it.payment_active,
        "paymentStanding": it.payment_standing,
        "number": it.number,
        "createdAt": it.created_at,
        "movedAt": it.moved_at,
        "optedOut": it.opted_out,
        "unreachable": it.unreachable,
        "waiting": it.waiting,
    })
}

fn stuck_row(it: &StuckClient) -> Vec<String> {
    let (why, action) = words::stuck_words(it.reason);
    vec![
        it.business_name.clone(),
        format!("+{}", it.phone),
        it.state.clone(),
        it.since.format(MINUTE).to_string(),
        format!("{why} (one of {}). {action}", words::stuck_count(it.alike)),
        it.id.clone(),
    ]
}

fn stuck_as_json(it: &StuckClient) -> Value {
    let (why, action) = words::stuck_words(it.reason);
    json!({
        "clientId": it.id,
        "businessName": it.business_name,
        "phone": format!("+{}", it.phone),
        "state": it.state,
        "since": it.since,
        "why": why,
        "stuckForThisReason": it.alike,
        "whatCanBeDone": action,
    })
}
