//! What `jobrun numbers check` found last.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::listing::{PAGE_ROWS, Page};
use super::{Error, ensure_rows};

/// A check, without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberCheck {
    /// When Twilio was asked.
    pub checked_at: DateTime<Utc>,
    /// The user of the machine on which the check ran.
    pub checked_by: String,
    /// `PUBLIC_BASE_URL`, with which the addresses were compared.
    pub public_base_url: String,
    /// How many numbers were compared.
    pub numbers: i64,
    /// How many of them have a problem.
    pub with_problems: i64,
}

/// A problem of a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundProblem {
    /// Its name, for scripts.
    pub name: String,
    /// The field of Twilio's REST API that is wrong, if one is.
    pub field: Option<String>,
    /// Its description.
    pub words: String,
    /// What the operator can do about it.
    pub advice: String,
}

/// A number of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedNumber {
    /// Its place in the check, from 1.
    pub place: i64,
    /// The number, E.164.
    pub number: String,
    /// `onboarding` or `pool`, if it is ours.
    pub purpose: Option<String>,
    /// Its SID at Twilio, if the account has it.
    pub sid: Option<String>,
    /// Its problems.
    pub problems: Json<Vec<FoundProblem>>,
}

/// Replaces the last check by this one. Two at a time wait for each other, and an older one does not replace a newer one.
pub async fn save(conn: &mut PgConnection, check: &NumberCheck, numbers: &[CheckedNumber]) -> Result<(), Error> {
    let saved = sqlx::query!(
        "INSERT INTO number_checks AS last (checked_at, checked_by, public_base_url, numbers, with_problems)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (one_row) DO UPDATE
         SET checked_at = EXCLUDED.checked_at, checked_by = EXCLUDED.checked_by,
             public_base_url = EXCLUDED.public_base_url, numbers = EXCLUDED.numbers,
             with_problems = EXCLUDED.with_problems
         WHERE last.checked_at <= EXCLUDED.checked_at",
        check.checked_at,
        check.checked_by,
        check.public_base_url,
        check.numbers,
        check.with_problems
    );
    if saved.execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!("DELETE FROM checked_numbers").execute(&mut *conn).await?;
    let places: Vec<i64> = numbers.iter().map(|it| it.place).collect();
    let names: Vec<&str> = numbers.iter().map(|it| it.number.as_str()).collect();
    let purposes: Vec<Option<&str>> = numbers.iter().map(|it| it.purpose.as_deref()).collect();
    let sids: Vec<Option<&str>> = numbers.iter().map(|it| it.sid.as_deref()).collect();
    let problems: Vec<serde_json::Value> =
        numbers.iter().map(|it| serde_json::to_value(&it.problems).unwrap_or_default()).collect();
    let inserted = sqlx::query!(
        "INSERT INTO checked_numbers (place, number, purpose, sid, problems)
         SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::JSONB[])",
        &places,
        &names as &[&str],
        &purposes as &[Option<&str>],
        &sids as &[Option<&str>],
        &problems
    );
    ensure_rows(&inserted.execute(conn).await?, numbers.len(), "keeping a check of the numbers")
}

/// Returns the last check, if there has been one.
pub async fn find(conn: &mut PgConnection) -> Result<Option<NumberCheck>, Error> {
    let check = sqlx::query_as!(
        NumberCheck,
        "SELECT checked_at, checked_by, public_base_url, numbers, with_problems FROM number_checks"
    );
    Ok(check.fetch_optional(conn).await?)
}

/// Returns a page of the numbers after the place `after`: those with problems, or all.
pub async fn list(conn: &mut PgConnection, with_problems: bool, after: i64) -> Result<Page<CheckedNumber>, Error> {
    let limit = PAGE_ROWS as i64 + 1;
    let rows = if with_problems {
        sqlx::query_as!(
            CheckedNumber,
            r#"SELECT place, number, purpose, sid, problems AS "problems: Json<Vec<FoundProblem>>" FROM checked_numbers
               WHERE problems <> '[]' AND place > $1 ORDER BY place LIMIT $2"#,
            after,
            limit
        )
        .fetch_all(conn)
        .await?
    } else {
        sqlx::query_as!(
            CheckedNumber,
            r#"SELECT place, number, purpose, sid, problems AS "problems: Json<Vec<FoundProblem>>" FROM checked_numbers
               WHERE place > $1 ORDER BY place LIMIT $2"#,
            after,
            limit
        )
        .fetch_all(conn)
        .await?
    };
    let next = rows.get(PAGE_ROWS - 1).filter(|_| rows.len() > PAGE_ROWS).map(|last| last.place);
    Ok(Page { rows: rows.into_iter().take(PAGE_ROWS).collect(), next, is_cut: false })
}
