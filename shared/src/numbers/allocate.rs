//! The operator allocates a number to a client, exactly as the conversation does.

use chrono::{DateTime, Utc};
use jobrun_onboarding::{Allocation, E164, journal};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use crate::alerts::numbers::pool_empty;
use crate::db::alerts::{self, NewAlert};
use crate::db::audit_log::{self, Action, Actor};
use crate::db::{self, clients, numbers};

/// The output of `jobrun pool allocate`. The names of its JSON fields are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationAnswer {
    /// Whether the client has a number now.
    pub success: bool,
    /// The number, E.164.
    #[serde(rename = "phoneE164")]
    pub phone_e164: Option<String>,
    /// Why there is no number, or `ALREADY_ASSIGNED` if the client had one before.
    pub reason: Option<&'static str>,
    /// `clients.id`.
    pub client_id: String,
    /// The journal lines to print. The transaction has been committed.
    #[serde(skip)]
    pub journal: Vec<String>,
    /// New alerts, for [`crate::telemetry::raised`].
    #[serde(skip)]
    pub raised: Vec<NewAlert>,
}

/// Allocates a number to a client, or a place on the waiting list. The audit log names the operator `by`, if there is one. Locks
/// the client, then takes the allocation lock. Commits.
pub async fn allocate(
    pool: &PgPool,
    client_id: &str,
    now: DateTime<Utc>,
    by: Option<&Actor>,
) -> Result<AllocationAnswer, db::Error> {
    let refused = |reason: &'static str, words: &str| AllocationAnswer {
        success: false,
        phone_e164: None,
        reason: Some(reason),
        client_id: client_id.to_owned(),
        journal: vec![format!("❌ [POOL] {reason} - {words}")],
        raised: Vec::new(),
    };
    let mut tx = pool.begin().await?;
    if !clients::lock(&mut tx, client_id).await? {
        return Ok(refused("CLIENT_NOT_FOUND", "No client has this id"));
    }
    let Some(loaded) = clients::load(&mut tx, &[client_id.to_owned()]).await?.pop() else {
        return Ok(refused("CLIENT_NOT_FOUND", "No client has this id"));
    };
    let clients::Loaded { client, region, .. } = loaded?;
    if !client.payment_active && client.number.is_none() {
        return Ok(refused("PAYMENT_NOT_ACTIVE", "The client has not paid"));
    }
    let if_empty = pool_empty(&region);
    let request = numbers::NumberRequest { client_id: client.id.clone(), region, number: client.number, since: now };
    let allocated =
        numbers::allocate(&mut tx, &[request], now).await?.pop().unwrap_or(Allocation::PoolEmpty { told_late: false });
    let raised = match &allocated {
        Allocation::PoolEmpty { .. } => alerts::raise(&mut tx, &[if_empty], now).await?,
        Allocation::Assigned(_) | Allocation::AlreadyAssigned(_) => Vec::new(),
    };
    let (success, number, reason) = match &allocated {
        Allocation::Assigned(number) => (true, Some(number), None),
        Allocation::AlreadyAssigned(number) => (true, Some(number), Some("ALREADY_ASSIGNED")),
        Allocation::PoolEmpty { .. } => (false, None, Some("POOL_EMPTY")),
    };
    if let Some(by) = by {
        let details = json!({ "number": number.map(E164::as_str), "reason": reason });
        let action = Action { name: "number.allocated", subject: Some(&client.id), details };
        audit_log::record(&mut tx, by, &action, now).await?;
    }
    tx.commit().await?;

    Ok(AllocationAnswer {
        success,
        phone_e164: number.map(|number| number.as_str().to_owned()),
        reason,
        client_id: client.id.clone(),
        journal: journal::allocation(&client.id, &allocated, now),
        raised,
    })
}
