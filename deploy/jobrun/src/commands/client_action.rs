//! `jobrun client reply` and its like: acts on a client, and waits for what the client's conversation decides.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use jobrun_credentials::Token;
use jobrun_onboarding::action::{Action, Refused};
use jobrun_shared::db::inbox::{self, Source};
use jobrun_shared::refusal;
use jobrun_shared::{client_actions, clock, config};
use serde_json::json;
use sqlx::PgPool;

use crate::commands::{connect_migrated, operator};

/// How long the command waits for the decision. A worker that runs takes far less.
const DECIDED_WITHIN: Duration = Duration::from_secs(15);

/// How often the command looks for the decision.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// Acts on the client that `words` name, and prints the outcome. Returns exit status 1 if the action is refused.
///
/// # Errors
/// When the settings, the database or the output fail, or there is no such client.
pub async fn run(
    settings: &config::Operator,
    words: &str,
    action: Action,
    why: Option<String>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let id = refusal::find_client(&pool, words).await?;
    let name = format!("command:{}", Token::new()?.secret);
    let action = client_actions::as_seen(&pool, &id, action).await?;
    client_actions::act(&pool, &id, action, &operator(why), &name, clock::now()).await?;
    let outcome = decided_outcome(&pool, &name).await?;
    let refused = outcome.as_deref().and_then(Refused::from_name);
    let mut out = std::io::stdout();
    match (&outcome, refused) {
        _ if json => writeln!(out, "{}", json!({ "clientId": id, "event": name, "outcome": outcome }))?,
        (None, _) => writeln!(out, "client {id}: recorded; it is done once a worker runs")?,
        (Some(_), Some(refused)) => writeln!(out, "client {id}: refused, because {}", refused.words())?,
        (Some(_), None) => writeln!(out, "client {id}: done")?,
    }
    Ok(ExitCode::from(u8::from(refused.is_some())))
}

/// Waits for the outcome of the event `name`. Returns `None` if no worker has processed it in time.
///
/// # Errors
/// When the database fails.
pub(super) async fn decided_outcome(pool: &PgPool, name: &str) -> anyhow::Result<Option<String>> {
    let decided = tokio::time::timeout(DECIDED_WITHIN, async {
        loop {
            if let Some(outcome) = inbox::find_outcome(&mut *pool.acquire().await?, Source::Operator, name).await? {
                return anyhow::Ok(outcome);
            }
            tokio::time::sleep(LOOKED_EVERY).await;
        }
    });
    decided.await.ok().transpose()
}
