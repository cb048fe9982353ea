//! Payments that name no client, or come twice.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::refusal::Refusal;
use crate::alerts::{Kind, payments as alert_of};
use crate::db::alerts::{self, NewAlert};
use crate::db::audit_log::{self, Action, Actor};
use crate::db::inbox::{self, NewEvent, Payload, Source};
use crate::db::{self, clients, subscriptions};

/// Returns the alerts about those of `clients` that pay more than once, and the causes of such alerts about the others, to be
/// cleared.
pub async fn paid_twice(conn: &mut PgConnection, clients: &[&str]) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    let served = subscriptions::list_served(conn, clients).await?;
    let (mut alerts, mut gone) = (Vec::new(), Vec::new());
    for client in clients {
        match served.get(*client) {
            Some(paid) if paid.len() > 1 => alerts.push(alert_of::paid_twice(client, paid)),
            Some(_) | None => gone.push(Kind::PaidTwice.of(client)),
        }
    }
    Ok((alerts, gone))
}

/// The result of assigning a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The new alerts.
    pub raised: Vec<NewAlert>,
    /// The causes of the cleared alerts.
    pub cleared: Vec<String>,
}

/// Assigns a payment that names no client to a client. An event tells the client's conversation, as if the payment had named the
/// client. Takes the lock on subscriptions first. Commits.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or [`Refusal::NotUnassigned`] when there is no such payment without a client.
pub async fn assign_payment(
    pool: &PgPool,
    subscription_id: &str,
    client_id: &str,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<Assigned, Refusal> {
    let mut tx = pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    if !clients::exists(&mut tx, client_id).await? {
        return Err(Refusal::NoSuchClient);
    }
    if !subscriptions::assign(&mut tx, subscription_id, client_id).await? {
        return Err(Refusal::NotUnassigned);
    }
    // Unique by time, because the payment is assigned again if its client is deleted.
    let external_id = format!("payment-assigned:{subscription_id}:{}", now.timestamp_micros());
    let changed = Payload::PaymentChanged { client_id: client_id.to_owned(), since: now };
    let news = NewEvent::new(Source::Operator, external_id, changed);
    inbox::insert(&mut tx, &[news], now).await?;
    let (paid_twice, _) = paid_twice(&mut tx, &[client_id]).await?;
    let raised = alerts::raise(&mut tx, &paid_twice, now).await?;
    let cleared = alerts::clear(&mut tx, &[Kind::PaymentUnassigned.of(subscription_id)], now).await?;
    let details = json!({ "payment": subscription_id });
    audit_log::record(&mut tx, by, &Action { name: "payment.assigned", subject: Some(client_id), details }, now)
        .await?;
    tx.commit().await?;
    Ok(Assigned { raised, cleared })
}
