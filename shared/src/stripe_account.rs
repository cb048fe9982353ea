//! Whether `STRIPE_API_KEY` is a key of the account that our clients pay into.
//!
//! A restricted key may not read the account's id, and webhooks do not name it. But a payment of a client carries the reference of
//! its payment link, which cannot be guessed, so no other account has one.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_stripe::api::{Api, Error, KEPT_FOR, Page};
use jobrun_stripe::facts;
use sqlx::PgPool;

use crate::db::{self, subscriptions};

/// The number of our clients' events, or subscriptions, that Stripe is asked for. All are of the account, unless the account was changed.
const EVENTS_MAX: i64 = 3;

/// Stripe is not asked for events that it may have forgotten.
const AGE_MAX: TimeDelta = TimeDelta::days(29);

/// The most pages of checkouts that are read.
const PAGES_MAX: usize = 3;

/// What the recorded payments of clients show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The account has one of the latest.
    Ours,
    /// The account has none of the latest.
    Other,
    /// No client has paid yet.
    Unknown,
}

/// Asks Stripe for the latest recorded events about payments of clients, or for their subscriptions. The inner error is Stripe's.
pub async fn check(pool: &PgPool, api: &Api, now: DateTime<Utc>) -> Result<Result<Account, Error>, db::Error> {
    let ids = subscriptions::list_of_clients(&mut *pool.acquire().await?, now - AGE_MAX, EVENTS_MAX).await?;
    for id in &ids {
        match api.has_event(id).await {
            Ok(true) => return Ok(Ok(Account::Ours)),
            Ok(false) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    if !ids.is_empty() {
        return Ok(Ok(Account::Other));
    }
    // A quiet installation has no event that Stripe still keeps. Stripe keeps subscriptions for ever.
    let ids = subscriptions::list_newest_of_clients(&mut *pool.acquire().await?, EVENTS_MAX).await?;
    for id in &ids {
        match api.find_subscription(id).await {
            Ok(Some(_)) => return Ok(Ok(Account::Ours)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(if ids.is_empty() { Account::Unknown } else { Account::Other }))
}

/// Returns whether the account has the newest payment of a client: then it is the one that clients pay into now, and what it lacks
/// is of a former one. The inner error is Stripe's.
pub async fn has_newest(pool: &PgPool, api: &Api, now: DateTime<Utc>) -> Result<Result<bool, Error>, db::Error> {
    let events = subscriptions::list_of_clients(&mut *pool.acquire().await?, now - AGE_MAX, 1).await?;
    if let Some(id) = events.first() {
        return Ok(api.has_event(id).await);
    }
    let ids = subscriptions::list_newest_of_clients(&mut *pool.acquire().await?, 1).await?;
    Ok(match ids.first() {
        Some(id) => api.find_subscription(id).await.map(|it| it.is_some()),
        None => Ok(false),
    })
}

/// Returns whether one of the account's latest checkouts names a client: for an installation that no webhook has reached. The inner
/// error is Stripe's.
pub async fn names_a_client(pool: &PgPool, api: &Api, now: DateTime<Utc>) -> Result<Result<bool, Error>, db::Error> {
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let Page { events, next } = match api.list_checkouts(now - KEPT_FOR, now, after.as_deref()).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let references: Vec<String> = events.iter().filter_map(|it| facts::read(&it.event)?.reference).collect();
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        if subscriptions::any_of_a_client(&mut *pool.acquire().await?, &references).await? {
            return Ok(Ok(true));
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    Ok(Ok(false))
}
