//! An operator moves a client to a new phone: `jobrun client change-phone`. The worker makes the change, as it makes one by a code.

use chrono::{DateTime, Utc};
use jobrun_onboarding::phone_change::{NotMoved, may_move};
use jobrun_onboarding::{Client, E164, can_hold_a_conversation};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::db::audit_log::{self, Action, Actor};
use crate::db::inbox::{self, NewEvent, Payload, Source};
use crate::db::{self, clients, erasures, numbers, phone_changes};
use crate::refusal::Refusal;

/// Why a change is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such client, or the database failed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The two clients do not allow it.
    #[error("refused, because {}", .0.words())]
    NotMoved(NotMoved),
    /// The new phone cannot text.
    #[error("{0} can hold no conversation by text: it is a landline, or a number of ours")]
    CannotText(String),
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// A change that an operator looks at before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The client that moves.
    pub client_id: String,
    /// The phone that it has.
    pub old: E164,
    /// The phone that it gets.
    pub new: E164,
    /// The client that the new phone is now, whose texts become the other's.
    pub newcomer_id: Option<String>,
}

/// Reads what a change would do. `seen` is the phone that the operator saw, if it names one.
///
/// # Errors
/// When the change would be refused, or the database fails.
pub async fn plan(
    pool: &PgPool,
    client_id: &str,
    new: &E164,
    seen: Option<&E164>,
    onboarding: &E164,
) -> Result<Plan, Error> {
    let mut conn = pool.acquire().await?;
    let client = load(&mut conn, client_id).await?.ok_or(Refusal::NoSuchClient)?;
    let is_ours = new == onboarding || !numbers::list_known(&mut conn, &[new.as_str()]).await?.is_empty();
    if is_ours || !can_hold_a_conversation(new) {
        return Err(Error::CannotText(new.as_str().to_owned()));
    }
    let newcomer_id = phone_changes::find_by_phone(&mut conn, new).await?;
    let newcomer = match &newcomer_id {
        Some(id) => load(&mut conn, id).await?,
        None => None,
    };
    let is_being_erased = any_is_being_erased(&mut conn, [Some(client_id), newcomer_id.as_deref()]).await?;
    let old = seen.unwrap_or(&client.owner_phone);
    may_move(Some(&client), newcomer.as_ref(), old, new, is_being_erased).map_err(Error::NotMoved)?;
    Ok(Plan { client_id: client.id.clone(), old: old.clone(), new: new.clone(), newcomer_id })
}

/// Records a change, with the event that makes it and its entry in the audit log. Commits.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or when the database fails. Then nothing is recorded.
pub async fn ask(pool: &PgPool, plan: &Plan, by: &Actor, name: &str, now: DateTime<Utc>) -> Result<(), Error> {
    let Plan { client_id, old, new, .. } = plan;
    let mut tx = pool.begin().await?;
    if !clients::exists(&mut tx, client_id).await? {
        return Err(Refusal::NoSuchClient.into());
    }
    let change_id = phone_changes::insert_by_operator(&mut tx, client_id, old, new, &by.who, now).await?;
    let payload = Payload::PhoneChangeDue { change_id, client_id: client_id.clone() };
    inbox::insert(&mut tx, &[NewEvent::new(Source::Operator, name, payload)], now).await?;
    // The log outlives an erasure, so it has no whole phone.
    let details = json!({ "old": old.masked(), "new": new.masked() });
    let action = Action { name: "client.change_phone", subject: Some(client_id), details };
    audit_log::record(&mut tx, by, &action, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Loads one client, if it exists.
///
/// # Errors
/// When the client cannot be read, or the database fails.
pub async fn load(conn: &mut PgConnection, id: &str) -> Result<Option<Client>, db::Error> {
    let loaded = clients::load(conn, &[id.to_owned()]).await?.into_iter().next().transpose()?;
    Ok(loaded.map(|it| it.client))
}

/// Returns whether one of two clients is being erased.
///
/// # Errors
/// When the database fails.
pub async fn any_is_being_erased(conn: &mut PgConnection, ids: [Option<&str>; 2]) -> Result<bool, db::Error> {
    let ids: Vec<&str> = ids.into_iter().flatten().collect();
    erasures::any_unfinished(conn, &ids).await
}
