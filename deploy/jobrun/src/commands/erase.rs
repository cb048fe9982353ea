//! `jobrun client erase`: erases a person on its request, or says what that would do.

use std::io::Write;

use jobrun_onboarding::as_people_write;
use jobrun_shared::db::erasures;
use jobrun_shared::erasure::{self, Target};
use jobrun_shared::export::{self, Export};
use jobrun_shared::phone_digest::PhoneKey;
use jobrun_shared::refusal::{self, Refusal};
use jobrun_shared::{clock, config};
use jobrun_twilio::api::Api;
use sqlx::PgPool;

use crate::commands::{connect_for_account, operator};
use crate::table;

/// What an erasure does with the rows of each table.
const DONE: [(&str, &str); 21] = [
    ("clients", "deleted"),
    ("onboarding_states", "deleted"),
    ("waiting_list", "deleted"),
    ("cases", "deleted"),
    ("messages", "deleted; the words are redacted at Twilio"),
    (
        "events",
        "stay without words, phone and lane, so that they do not come back; texts that came in are redacted at Twilio",
    ),
    ("opt_changes", "deleted; an opt-out stays as a keyed digest of the phone"),
    ("unrecorded_texts", "deleted; the words are redacted at Twilio"),
    ("bulk_action_texts", "deleted"),
    ("calls", "deleted"),
    ("phone_changes", "deleted, as are those of others that name the phone"),
    ("former_payment_references", "deleted"),
    ("voicemails", "the recordings are deleted at Twilio; the rows stay without the client for a month"),
    ("subscriptions", "stay, with Stripe's names alone, for the books"),
    ("payment_events", "stay, with Stripe's names, times and amounts, for the books"),
    ("number_changes", "stay, with the client's former id: who had a number when"),
    ("audit_log", "stays, without the reasons; those of other clients, and of none, as in bulk_actions"),
    ("alerts", "stay, with the client's former id; open ones end"),
    ("bulk_actions", "stay, without the reasons that have the phone: read the others by hand"),
    ("stops", "as bulk_actions"),
    ("senders", "stay: the pace of our own number"),
];

/// Erases the person that `words` name, or with `dry_run` says what that would do.
///
/// # Errors
/// When the settings, the database, Twilio or the output fail, there is no such client, or it pays.
pub async fn run(
    settings: &config::Erasing,
    operator_settings: &config::Operator,
    words: &str,
    why: Option<String>,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<()> {
    let pool = connect_for_account(&settings.database_url, settings.twilio.account_kind()).await?;
    let key = PhoneKey::new(settings.key.clone());
    let target = find_target(&pool, &key, words).await?;
    if dry_run {
        let export = export::read(&pool, &target.client_id, clock::now()).await?;
        return Ok(print_plan(&mut table::stdout(), &export)?);
    }
    let by = operator(Some(why.ok_or(Refusal::NoReason)?));
    let api = Api::new(&settings.twilio.account)?;
    let certificate = erasure::run(&pool, &api, &key, &target, &by, operator_settings.cooling).await?;
    let mut out = table::stdout();
    if !json {
        writeln!(
            out,
            "the person is erased. Keep this certificate: after a restore from a backup, the erasure must be repeated"
        )?;
        writeln!(out, "At Stripe, the payer remains: {}", certificate["remains"]["stripeCustomers"])?;
        writeln!(
            out,
            "Reasons of operators to read, which may name the person: {}\n",
            certificate["remains"]["reasonsToRead"]
        )?;
    }
    writeln!(out, "{certificate:#}")?;
    Ok(())
}

/// Returns the client, or the person of an erasure that was cut short after the client was removed.
async fn find_target(pool: &PgPool, key: &PhoneKey, words: &str) -> anyhow::Result<Target> {
    let phone = as_people_write(words);
    let digest = phone.as_ref().map(|phone| key.digest(phone));
    let mut conn = pool.acquire().await?;
    // It comes first: the person may have signed up anew since its client was removed.
    if let Some(begun) = erasures::find_unfinished(&mut conn, words.trim(), digest.as_deref()).await? {
        return Ok(Target { client_id: begun.client_id, phone });
    }
    drop(conn);
    Ok(Target { client_id: refusal::find_client(pool, words).await?, phone: None })
}

fn print_plan(out: &mut impl Write, export: &Export) -> std::io::Result<()> {
    writeln!(out, "nothing is changed: this is what --yes would do with client {}\n", export.client_id)?;
    for (name, done) in DONE {
        writeln!(out, "{:>7}  {name:<25}  {done}", export.count(name))?;
    }
    writeln!(out, "\nIts number cools down, and its place on the waiting list ends.")?;
    let customers = export.stripe_customers.join(", ");
    writeln!(out, "At Stripe, the payer remains: {}", if customers.is_empty() { "none" } else { &customers })?;
    writeln!(out, "At Twilio, the phone remains in the list of texts and calls, until Twilio removes it.")
}
