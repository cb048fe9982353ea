//! What was bought at Twilio, and what was meant to be.
//!
//! A purchase is a row before it is a request, so that one whose answer is lost is found by whoever comes next. One run buys
//! at a time: what it finds 'intended' was left by a run that is no more.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::{Connection, PgConnection, PgPool};

use super::{Error, ensure_rows, pool};
use crate::queue::{self, Queue};
use crate::twilio::numbers::NumberType;

/// The key of the run that buys among PostgreSQL's advisory locks of this database.
const RUN: i32 = 4;

/// A purchase of which nobody knows what came of it.
#[derive(Clone, Debug)]
pub struct Intended {
    /// The number.
    pub number: E164,
    /// The ISO 3166 country in which it was looked for.
    pub country: String,
    /// Twilio's type of it.
    pub kind: NumberType,
    /// When Twilio was last going to be asked.
    pub intended_at: DateTime<Utc>,
}

/// How many numbers may be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// `POOL_BUY_MAX`.
    pub max: u32,
    /// What was bought since then counts.
    pub since: DateTime<Utc>,
}

/// What counts towards the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Numbers bought within the time of the cap.
    pub bought: u32,
    /// Purchases of which nobody knows what came of them, however old.
    pub intended: u32,
}

/// Opens a connection whose holder is alone in buying, until it closes: then the lock is gone, however the holder ended.
/// Waits for another.
///
/// The lock is the session's, because no transaction is open while Twilio is asked. Everything that a run writes goes over
/// this connection, so that a run that has lost the lock cannot go on.
///
/// # Errors
/// When the database does not answer.
pub async fn begin_run(pool: &PgPool) -> Result<PgConnection, Error> {
    let mut conn = pool.acquire().await?.detach();
    let alone = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, 0) AS "alone!""#, RUN);
    if !alone.fetch_one(&mut conn).await? {
        tracing::info!("somebody else is buying numbers: waiting until that is done");
        sqlx::query!("SELECT pg_advisory_lock($1, 0)", RUN).execute(&mut conn).await?;
    }
    Ok(conn)
}

/// Every purchase that is not settled, in the order in which they were meant.
///
/// # Errors
/// When the database does not answer.
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

/// What counts towards the cap since then.
///
/// # Errors
/// When the database does not answer.
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

/// Writes down that a number is going to be bought, or once more, in a transaction of its own. Answers false, and has
/// written nothing, if the cap does not allow it.
///
/// # Errors
/// When the database does not answer.
pub async fn intend(
    conn: &mut PgConnection,
    number: &E164,
    (country, kind): (&str, NumberType),
    cap: Cap,
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
    // The row itself counts.
    let counted = count(&mut tx, cap.since).await?;
    if counted.bought.saturating_add(counted.intended) > cap.max {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// Settles a purchase that was made, puts the number into the pool, and lets the waiting list know, in a transaction of its
/// own. Closes the pool's gate.
///
/// # Errors
/// When the database does not answer, or the purchase is settled already.
pub async fn save_bought(
    conn: &mut PgConnection,
    number: &E164,
    country: &str,
    sid: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    pool::close_gate(&mut tx).await?;
    let result = sqlx::query!(
        "UPDATE number_purchases SET state = 'bought', sid = $2, settled_at = $3 WHERE number = $1 AND state = 'intended'",
        number.as_str(),
        sid,
        now
    );
    ensure_rows(&result.execute(&mut *tx).await?, 1, "settling a purchase")?;
    pool::insert(&mut tx, &[(number.clone(), country.to_owned())], "bought", now).await?;
    queue::nudge(&mut tx, Queue::Sweep).await?;
    Ok(tx.commit().await?)
}

/// Settles a purchase that was surely not made.
///
/// # Errors
/// When the database does not answer, or the purchase is settled already.
pub async fn save_not_bought(
    conn: &mut PgConnection,
    number: &E164,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let result = sqlx::query!(
        "UPDATE number_purchases SET state = 'not_bought', why = $2, settled_at = $3
         WHERE number = $1 AND state = 'intended'",
        number.as_str(),
        why,
        now
    );
    ensure_rows(&result.execute(conn).await?, 1, "settling a purchase")
}
