//! The waiting list: clients who paid while there was no number for them.
//!
//! Clients join the list and are offered numbers under the exclusive allocation lock of [`super::numbers`], so that two
//! places never stand for one number. A client that leaves the list takes no number from another client.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::waiting::{Offers, Place, WaitingClient, Watch};
use sqlx::PgConnection;

use super::numbers::NumberRequest;
use super::{Error, ensure_rows};

/// How soon a waiting client was promised a number.
const PROMISE: TimeDelta = TimeDelta::hours(24);

/// Returns the clients who wait in `region`, in the order in which they are served.
pub async fn list(conn: &mut PgConnection, region: &str) -> Result<Vec<WaitingClient>, Error> {
    let waiting = sqlx::query_as!(
        WaitingClient,
        r#"SELECT w.client_id, w.held_until, r.payment_active AND r.may_be_offered AS "reachable!"
           FROM waiting_list w JOIN client_reach r ON r.id = w.client_id
           WHERE w.region = $1 AND r.number IS NULL ORDER BY w.lapsed, w.joined_at, w.client_id"#,
        region
    )
    .fetch_all(conn)
    .await?;
    Ok(waiting)
}

/// Returns every place on the list, by region, in the order in which they are served.
pub async fn list_places(conn: &mut PgConnection) -> Result<Vec<Place>, Error> {
    let places = sqlx::query_as!(
        Place,
        r#"SELECT w.client_id, w.region, w.joined_at, w.promised_by, w.held_until, w.lapsed,
                  r.payment_active AND r.may_be_offered AS "reachable!",
                  w.told_late_at IS NOT NULL AS "told_late!", w.alerted_hours
           FROM waiting_list w JOIN client_reach r ON r.id = w.client_id
           WHERE r.number IS NULL ORDER BY w.region, w.lapsed, w.joined_at, w.client_id"#
    );
    Ok(places.fetch_all(conn).await?)
}

/// Returns the regions in which clients wait.
pub async fn list_regions(conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    let regions = sqlx::query_scalar!("SELECT DISTINCT region FROM waiting_list ORDER BY region");
    Ok(regions.fetch_all(conn).await?)
}

/// Puts clients on the list for whom no number is left, each at the place of the time when it asked. A client already
/// on the list keeps its place, but its hold ends, as no number is behind it: a number will be offered again. Returns
/// the clients who were told that it takes longer than promised.
pub(crate) async fn join(
    conn: &mut PgConnection,
    region: &str,
    requests: impl Iterator<Item = &NumberRequest>,
) -> Result<HashSet<String>, Error> {
    let (ids, since): (Vec<&str>, Vec<DateTime<Utc>>) =
        requests.map(|request| (request.client_id.as_str(), request.since)).unzip();
    let promised: Vec<DateTime<Utc>> = since.iter().map(|since| *since + PROMISE).collect();
    let joined = sqlx::query!(
        r#"INSERT INTO waiting_list (client_id, region, joined_at, promised_by)
           SELECT client_id, $1, since, promised
           FROM unnest($2::TEXT[], $3::TIMESTAMPTZ[], $4::TIMESTAMPTZ[]) AS s (client_id, since, promised)
           ON CONFLICT ON CONSTRAINT a_client_waits_once
           DO UPDATE SET region = EXCLUDED.region, held_at = NULL, held_until = NULL
           RETURNING client_id, told_late_at IS NOT NULL AS "told_late!""#,
        region,
        &ids as &[&str],
        &since,
        &promised
    );
    let joined = joined.fetch_all(conn).await?.into_iter();
    Ok(joined.filter(|row| row.told_late).map(|row| row.client_id).collect())
}

/// Removes clients from the list, and ignores those that are not on it. Returns how many were on it.
pub(crate) async fn remove(conn: &mut PgConnection, client_ids: &[&str]) -> Result<u64, Error> {
    let left = sqlx::query!("DELETE FROM waiting_list WHERE client_id = ANY($1)", client_ids as &[&str]);
    Ok(left.execute(conn).await?.rows_affected())
}

/// Removes the clients who were given a number by hand.
pub(crate) async fn remove_served(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!(
        r#"DELETE FROM waiting_list USING clients
           WHERE clients.id = waiting_list.client_id AND clients."twilioNumber" IS NOT NULL"#
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves which places were offered a number, until when it is held, and which holds lapsed.
pub(crate) async fn save_offers(
    conn: &mut PgConnection,
    offers: &Offers,
    now: DateTime<Utc>,
    held_until: DateTime<Utc>,
) -> Result<(), Error> {
    let lapsed = sqlx::query!(
        "UPDATE waiting_list SET held_at = NULL, held_until = NULL, lapsed = lapsed + 1
         WHERE client_id = ANY($1) AND held_until <= $2",
        &offers.lapse,
        now
    )
    .execute(&mut *conn)
    .await?;
    ensure_rows(&lapsed, offers.lapse.len(), "letting holds lapse")?;
    let held = sqlx::query!(
        "UPDATE waiting_list SET held_at = $2, held_until = $3 WHERE client_id = ANY($1) AND held_until IS NULL",
        &offers.offer,
        now,
        held_until
    )
    .execute(conn)
    .await?;
    ensure_rows(&held, offers.offer.len(), "holding places")
}

/// Returns whether a number is held for a client.
pub(crate) async fn any_hold(conn: &mut PgConnection) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM waiting_list WHERE held_until IS NOT NULL) AS "any!""#);
    Ok(any.fetch_one(conn).await?)
}

/// Prolongs each hold that lasted at `from` by its time between `from` and `until`.
pub(crate) async fn prolong_holds(
    conn: &mut PgConnection,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE waiting_list SET held_until = held_until + ($2 - GREATEST(held_at, $1))
         WHERE held_until > $1 AND GREATEST(held_at, $1) < $2",
        from,
        until
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves which clients are told that it takes longer, and after how many hours the operator was alerted of each.
pub(crate) async fn save_watch(conn: &mut PgConnection, watch: &Watch, now: DateTime<Utc>) -> Result<(), Error> {
    let told = sqlx::query!(
        "UPDATE waiting_list SET told_late_at = $2 WHERE client_id = ANY($1) AND told_late_at IS NULL",
        &watch.tell,
        now
    )
    .execute(&mut *conn)
    .await?;
    ensure_rows(&told, watch.tell.len(), "writing down who was told that it takes longer")?;
    let (ids, hours): (Vec<&str>, Vec<i32>) = watch.marked.iter().map(|(id, hours)| (id.as_str(), *hours)).unzip();
    let marked = sqlx::query!(
        "UPDATE waiting_list SET alerted_hours = marked.hours
         FROM unnest($1::TEXT[], $2::INTEGER[]) AS marked (client_id, hours)
         WHERE waiting_list.client_id = marked.client_id",
        &ids as &[&str],
        &hours
    )
    .execute(conn)
    .await?;
    ensure_rows(&marked, watch.marked.len(), "writing down how long clients have waited")
}
