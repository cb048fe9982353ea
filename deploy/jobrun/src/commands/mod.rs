//! The commands of `jobrun`, one file each.

pub mod alerts;

pub mod buy;

pub mod call;

pub mod cases;

pub mod client;

pub mod client_action;

pub mod change_phone;

pub mod clients;

pub mod console;

pub mod demo;

pub mod doctor;

pub mod erase;

pub mod export;

pub mod migrate;

pub mod numbers;

pub mod pay;

pub mod payments;

pub mod pool;

pub mod restored;

pub mod settings;

pub mod stand_in;

pub mod stops;

pub mod sweep;

pub mod tail;

pub mod text;

pub mod texts;

pub mod up;

pub mod waiting;

pub mod wording;

use jobrun_shared::config;
use jobrun_shared::config::AccountKind;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::{self, installation};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::CONNECTIONS;

/// Connects to the database.
///
/// # Errors
/// When `DATABASE_URL` is not set, or the database cannot be reached.
pub async fn connect(settings: &config::Operator) -> anyhow::Result<PgPool> {
    let missing = || config::Problems::not_set("DATABASE_URL", "postgres://jobrun:password@localhost/jobrun");
    let url = settings.database_url.as_ref().ok_or_else(missing)?;
    Ok(db::connect(url, CONNECTIONS).await?)
}

/// Connects, and fails if the database is not migrated: every command but `migrate` needs the tables.
pub async fn connect_migrated(settings: &config::Operator) -> anyhow::Result<PgPool> {
    let pool = connect(settings).await?;
    db::ensure_migrated(&pool).await?;
    Ok(pool)
}

/// Connects to the migrated database at `url`, and fails if another kind of account at Twilio works on it.
///
/// # Errors
/// When the database cannot be reached, is not migrated, or belongs to an account of another kind.
pub async fn connect_for_account(url: &SecretString, account: AccountKind) -> anyhow::Result<PgPool> {
    let pool = db::connect(url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    if let Some(installation) = installation::find(&pool).await? {
        installation.ensure_is_of(account)?;
    }
    Ok(pool)
}

/// Returns the operator who runs a command, and why: the user of this machine.
#[must_use]
pub fn operator(why: Option<String>) -> Actor {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let who = user.map_or_else(|| format!("user {uid}"), |user| user.name);
    Actor { who, via: Via::Command, why }
}
