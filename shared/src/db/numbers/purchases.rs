//! Purchases of numbers at Twilio, made and intended.
//!
//! A purchase is a row before it is a request, so that the next run finds a purchase whose response was lost. Only one
//! run buys at a time, so every 'intended' row that it finds was left by a run that has ended.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use jobrun_twilio::numbers::NumberType;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool};

use crate::db::audit_log::{self, Action, Actor};
use crate::db::{Error, ensure_rows, numbers};
use crate::queue::{self, Queue};

/// The key of the purchase lock among the database's advisory locks.
const RUN: i32 = 4;

/// A purchase whose result is unknown.
#[derive(Clone, Debug)]
pub struct Intended {
    /// The number.
    pub number: E164,
    /// The country in which it was searched for, ISO 3166.
    pub country: String,
    /// Twilio's type of it.
    pub kind: NumberType,
    /// When the last request to Twilio was about to be made.
    pub intended_at: DateTime<Utc>,
}

/// How many numbers may be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// `POOL_BUY_MAX`.
    pub max: u32,
    /// Purchases since then count.
    pub since: DateTime<Utc>,
}

/// The purchases that count towards the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Numbers bought in the period of the cap.
    pub bought: u32,
    /// Purchases whose result is unknown, however old.
    pub intended: u32,
}

/// Opens a connection whose holder is the only one to buy numbers. The lock ends with the connection, however the
/// holder ends. Waits for another holder.
///
/// The lock belongs to the session, because no transaction is open during a request to Twilio. A run writes only over
/// this connection, so that a run that has lost the lock cannot go on.
pub async fn begin_run(pool: &PgPool) -> Result<PgConnection, Error> {
    let mut conn = pool.acquire().await?.detach();
    let alone = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, 0) AS "alone!""#, RUN);
    if !alone.fetch_one(&mut conn).await? {
        tracing::info!("somebody else is buying numbers: waiting until that is done");
        sqlx::query!("SELECT pg_advisory_lock($1, 0)", RUN).execute(&mut conn).await?;
    }
    Ok(conn)
}

/// Returns every unsettled purchase, in the order in which they were intended.
pub async fn list_intended(conn: &mut PgConnection) -> Result<Vec<Intended>, Error> {
    let rows = sqlx::query!(
        "SELECT number, country, number_type, intended_at FROM number_purchases WHERE state = 'intended' ORDER BY id"
    );
    let read = |number: &str, kind: &str| Some((E164::parse(number).ok()?, NumberType::named(kind)?));
    let rows = rows.fetch_all(conn).await?.into_iter();
    rows.map(|row| {
        let (number, kind) = read(&row.number, &row.number_type).ok_or(Error::UnreadableNumber)?;
        Ok(Intended { number, country: row.country, kind, intended_at: row.intended_at })
    })
    .collect()
}

/// Counts the purchases that count towards the cap since `since`.
pub async fn count(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<Counted, Error> {
    let counted = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE state = 'bought' AND settled_at > $1) AS "bought!",
                  count(*) FILTER (WHERE state = 'intended') AS "intended!"
           FROM number_purchases WHERE state <> 'not_bought'"#,
        since
    );
    let counted = counted.fetch_one(conn).await?;
    let number = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Counted { bought: number(counted.bought), intended: number(counted.intended) })
}

/// Records that a number is going to be bought, or tried again, in a transaction of its own. The audit log names the
/// operator `by`, as it does for the outcome. Returns false, and writes nothing, if the cap does not allow it.
pub async fn intend(
    conn: &mut PgConnection,
    number: &E164,
    (country, kind): (&str, NumberType),
    cap: Cap,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let mut tx = conn.begin().await?;
    let result = sqlx::query!(
        "INSERT INTO number_purchases (number, country, number_type, intended_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (number) WHERE state = 'intended' DO UPDATE SET intended_at = EXCLUDED.intended_at",
        number.as_str(),
        country,
        kind.name(),
        now
    );
    ensure_rows(&result.execute(&mut *tx).await?, 1, "writing down what is going to be bought")?;
    // The count includes the row just written.
    let counted = count(&mut tx, cap.since).await?;
    if counted.bought.saturating_add(counted.intended) > cap.max {
        return Ok(false);
    }
    let details = json!({ "country": country, "type": kind.name() });
    log(&mut tx, by, "number.ordered", number, details, now).await?;
    tx.commit().await?;
    Ok(true)
}

async fn log(
    conn: &mut PgConnection,
    by: &Actor,
    name: &str,
    number: &E164,
    details: Value,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    audit_log::record(conn, by, &Action { name, subject: Some(number.as_str()), details }, now).await
}

/// Settles a purchase that was made, adds the number to the pool, and enqueues the job that offers it to waiting
/// clients, in a transaction of its own. Takes the allocation lock exclusively.
///
/// # Errors
/// [`Error::RowCount`], when the purchase is settled already.
pub async fn save_bought(
    conn: &mut PgConnection,
    number: &E164,
    country: &str,
    sid: &str,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    numbers::lock_allocation_exclusive(&mut tx).await?;
    let result = sqlx::query!(
        "UPDATE number_purchases SET state = 'bought', sid = $2, settled_at = $3 WHERE number = $1 AND state = 'intended'",
        number.as_str(),
        sid,
        now
    );
    ensure_rows(&result.execute(&mut *tx).await?, 1, "settling a purchase")?;
    numbers::insert(&mut tx, &[(number.clone(), country.to_owned())], "bought", now).await?;
    queue::enqueue(&mut tx, Queue::Sweep).await?;
    log(&mut tx, by, "number.bought", number, json!({ "sid": sid }), now).await?;
    Ok(tx.commit().await?)
}

/// Settles a purchase that was certainly not made, in a transaction of its own.
///
/// # Errors
/// [`Error::RowCount`], when the purchase is settled already.
pub async fn save_not_bought(
    conn: &mut PgConnection,
    number: &E164,
    why: &str,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    let result = sqlx::query!(
        "UPDATE number_purchases SET state = 'not_bought', why = $2, settled_at = $3
         WHERE number = $1 AND state = 'intended'",
        number.as_str(),
        why,
        now
    );
    ensure_rows(&result.execute(&mut *tx).await?, 1, "settling a purchase")?;
    log(&mut tx, by, "number.not_bought", number, json!({ "because": why }), now).await?;
    Ok(tx.commit().await?)
}
