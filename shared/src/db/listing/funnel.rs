//! The funnel of the newest clients, and the texts of the last hour.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::db::Error;

/// Clients that began within this time are in the funnel.
pub const FUNNEL_DAYS: TimeDelta = TimeDelta::days(30);

/// The most clients that are counted, and the most whose times are measured: the newest.
pub const FUNNEL_MAX: i64 = 10_000;
const SAMPLE_MAX: i64 = 500;

/// The most texts that are counted by minute, each way: the newest.
pub const RATE_MAX: i64 = 20_000;

/// A state of the funnel.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The state.
    pub state: String,
    /// How many clients are in it now.
    pub here: i64,
}

/// The time that clients take in a state.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The state.
    pub state: String,
    /// The median, in seconds.
    pub median_seconds: f64,
    /// How many clients it was measured of.
    pub clients: i64,
}

/// Counts the states of the newest clients.
pub async fn count_funnel(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Step>, Error> {
    let steps = sqlx::query_as!(
        Step,
        r#"WITH newest AS MATERIALIZED (
               SELECT id FROM clients WHERE "createdAt" > $1 ORDER BY "createdAt" DESC LIMIT $2
           )
           SELECT COALESCE(s.current_state, 'S1_BUSINESS_TYPE_LOCATION') AS "state!", count(*) AS "here!"
           FROM newest LEFT JOIN onboarding_states s ON s.client_id = newest.id GROUP BY 1"#,
        now - FUNNEL_DAYS,
        FUNNEL_MAX
    );
    Ok(steps.fetch_all(conn).await?)
}

/// Measures how long the newest clients took in each state that they have left.
pub async fn measure_steps(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<StepTime>, Error> {
    let times = sqlx::query_file_as!(StepTime, "src/db/listing/measure_steps.sql", now - FUNNEL_DAYS, SAMPLE_MAX);
    Ok(times.fetch_all(conn).await?)
}

/// How many texts there were in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCount {
    /// How many minutes ago, from 0 to 59.
    pub minutes_ago: i32,
    /// How many texts.
    pub texts: i64,
}

/// Counts the texts that were written in each minute of the last hour.
pub async fn count_texts_out(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<MinuteCount>, Error> {
    let counts = sqlx::query_as!(
        MinuteCount,
        r#"SELECT floor(extract(epoch FROM $1 - created_at) / 60)::INT AS "minutes_ago!", count(*) AS "texts!"
           FROM (SELECT created_at FROM messages WHERE id < 9223372036854775807 ORDER BY id DESC LIMIT $2) AS newest
           WHERE created_at > $1::TIMESTAMPTZ - INTERVAL '1 hour' AND created_at <= $1 GROUP BY 1"#,
        now,
        RATE_MAX
    );
    Ok(counts.fetch_all(conn).await?)
}

/// Counts the texts that arrived in each minute of the last hour.
pub async fn count_texts_in(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<MinuteCount>, Error> {
    let counts = sqlx::query_as!(
        MinuteCount,
        r#"SELECT floor(extract(epoch FROM $1 - received_at) / 60)::INT AS "minutes_ago!", count(*) AS "texts!"
           FROM (SELECT received_at, kind FROM events WHERE id < 9223372036854775807 ORDER BY id DESC LIMIT $2) AS newest
           WHERE kind = 'text' AND received_at > $1::TIMESTAMPTZ - INTERVAL '1 hour' AND received_at <= $1 GROUP BY 1"#,
        now,
        RATE_MAX
    );
    Ok(counts.fetch_all(conn).await?)
}
