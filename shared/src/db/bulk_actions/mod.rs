//! Bulk actions: many texts that an operator chose at once, to be sent again or to be dropped.
//!
//! The texts are chosen in the statement that begins the action, and stay the same from then on. Workers take batches of those that
//! wait, and skip rows that another worker has locked. Outcomes commit with their effect on the texts, so an action goes on from
//! where it was cut off.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::Error;
use super::audit_log::{Actor, Via};
use super::listing::TextFilter;

/// The most texts that one action handles.
pub const CHOSEN_MAX: i64 = 10_000;

/// How many of the newest failed, or queued, texts are looked through for those that match.
const LOOKED_THROUGH: i64 = 100_000;

/// The action on the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Failed texts are sent again.
    Replay,
    /// Queued texts are dropped.
    Drop,
}

impl Kind {
    /// Returns the name under which it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }

    /// Returns the kind that is stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Replay, Self::Drop].into_iter().find(|kind| kind.name() == name)
    }
}

/// Which texts are chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// The conditions.
    #[serde(flatten)]
    pub filter: TextFilter,
    /// The texts that were chosen one by one, if they were.
    pub ids: Option<Vec<i64>>,
    /// When the operator looked: texts that failed, or were written, later are not chosen.
    pub until: DateTime<Utc>,
    /// The most texts that are chosen: the newest. At most [`CHOSEN_MAX`].
    pub limit: i64,
}

/// An action that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// `bulk_actions.id`.
    pub id: i64,
    /// How many texts were chosen.
    pub chosen: i32,
}

/// Begins an action, and chooses its texts. Returns nothing if no text matches, or if the form has begun an action before.
pub async fn begin(
    conn: &mut PgConnection,
    kind: Kind,
    selection: &Selection,
    actor: &Actor,
    form_token: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<Begun>, Error> {
    let row = choose(conn, (kind, selection), actor, form_token, false, now).await?;
    Ok(row.map(|row| Begun { id: row.id, chosen: row.chosen }))
}

/// Returns the texts that [`begin`] would choose, newest first: ids of `messages`. The caller rolls back.
pub async fn list_choice(
    conn: &mut PgConnection,
    kind: Kind,
    selection: &Selection,
    actor: &Actor,
    now: DateTime<Utc>,
) -> Result<Vec<i64>, Error> {
    let row = choose(conn, (kind, selection), actor, None, true, now).await?;
    Ok(row.map(|row| row.would_choose).unwrap_or_default())
}

struct Choice {
    id: i64,
    chosen: i32,
    would_choose: Vec<i64>,
}

async fn choose(
    conn: &mut PgConnection,
    (kind, selection): (Kind, &Selection),
    actor: &Actor,
    form_token: Option<&str>,
    is_dry_run: bool,
    now: DateTime<Utc>,
) -> Result<Option<Choice>, Error> {
    let filter = &selection.filter;
    let (statuses, limit) = (filter.statuses(), selection.limit.clamp(0, CHOSEN_MAX));
    let via = match actor.via {
        Via::Console => "console",
        Via::Command => "command",
    };
    let why = actor.why.as_deref().unwrap_or_default();
    let stored = serde_json::to_value(selection).unwrap_or_default();
    macro_rules! choose {
        ($file:literal) => {
            sqlx::query_file_as!(
                Choice,
                $file,
                LOOKED_THROUGH,
                statuses as Option<Vec<&str>>,
                filter.is_held(),
                filter.code,
                filter.kind.as_deref(),
                filter.client_id.as_deref(),
                filter.written_since,
                filter.written_before,
                selection.ids.as_deref(),
                selection.until,
                limit,
                kind.name(),
                actor.who,
                via,
                why,
                stored,
                form_token,
                now,
                is_dry_run
            )
            .fetch_optional(conn)
            .await?
        };
    }
    Ok(match kind {
        Kind::Replay => choose!("src/db/bulk_actions/choose_failed.sql"),
        Kind::Drop => choose!("src/db/bulk_actions/choose_queued.sql"),
    })
}

/// Returns the action that a form has begun, if it has.
pub async fn find_by_form(conn: &mut PgConnection, form_token: &str) -> Result<Option<i64>, Error> {
    let id = sqlx::query_scalar!("SELECT id FROM bulk_actions WHERE form_token = $1", form_token);
    Ok(id.fetch_optional(conn).await?)
}

/// Texts that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alike {
    /// Their kind.
    pub kind: String,
    /// Their status.
    pub status: String,
    /// Twilio's error code.
    pub error_code: Option<i32>,
    /// How many there are.
    pub count: i64,
}

/// Counts texts by kind, status and error code, most first.
pub async fn count_alike(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Alike>, Error> {
    let alike = sqlx::query_as!(
        Alike,
        r#"SELECT m.kind, m.status, m.error_code, count(*) AS "count!"
           FROM messages m WHERE m.id = ANY($1)
           GROUP BY m.kind, m.status, m.error_code ORDER BY count(*) DESC, m.kind, m.status, m.error_code"#,
        ids
    );
    Ok(alike.fetch_all(conn).await?)
}

/// A chosen text that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenText {
    /// `messages.id`.
    pub id: i64,
    /// Its place among the chosen texts: the id of the text of which it is a try, in the order in which they were written.
    pub place: i64,
}

/// Locks an action. Returns whether no other session has locked it.
pub async fn lock(conn: &mut PgConnection, action_id: i64) -> Result<bool, Error> {
    let row = sqlx::query_scalar!("SELECT id FROM bulk_actions WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED", action_id);
    Ok(row.fetch_optional(conn).await?.is_some())
}

/// Locks the next chosen texts after a place and a text that wait, at most `limit`, and returns them in the order of their places.
/// Skips those that another worker has locked.
pub async fn lock_waiting(
    conn: &mut PgConnection,
    action_id: i64,
    (after_place, after_id): (i64, i64),
    limit: i64,
) -> Result<Vec<ChosenText>, Error> {
    let waiting = sqlx::query_as!(
        ChosenText,
        r#"SELECT message_id AS id, COALESCE(original_id, message_id) AS "place!" FROM bulk_action_texts
           WHERE action_id = $1 AND (COALESCE(original_id, message_id), message_id) > ($2, $3) AND outcome IS NULL
           ORDER BY COALESCE(original_id, message_id), message_id LIMIT $4 FOR UPDATE SKIP LOCKED"#,
        action_id,
        after_place,
        after_id,
        limit
    );
    Ok(waiting.fetch_all(conn).await?)
}

/// What became of a chosen text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was queued once more.
    Replayed,
    /// It was dropped.
    Dropped,
    /// Nothing was done, for this reason, by its stored name.
    Skipped(&'static str),
}

/// Records what became of chosen texts, in the transaction that does it. The caller must have locked them.
pub async fn settle(
    conn: &mut PgConnection,
    action_id: i64,
    outcomes: &[(i64, Outcome)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ids: Vec<i64> = outcomes.iter().map(|(id, _)| *id).collect();
    let (names, reasons): (Vec<&str>, Vec<Option<&str>>) = outcomes
        .iter()
        .map(|(_, outcome)| match outcome {
            Outcome::Replayed => ("replayed", None),
            Outcome::Dropped => ("dropped", None),
            Outcome::Skipped(reason) => ("skipped", Some(*reason)),
        })
        .unzip();
    let settled = sqlx::query!(
        "UPDATE bulk_action_texts t SET outcome = came.outcome, reason = came.reason, settled_at = $5
         FROM unnest($2::BIGINT[], $3::TEXT[], $4::TEXT[]) AS came (message_id, outcome, reason)
         WHERE t.action_id = $1 AND t.message_id = came.message_id AND t.outcome IS NULL",
        action_id,
        &ids,
        &names as &[&str],
        &reasons as &[Option<&str>],
        now
    );
    super::ensure_rows(&settled.execute(conn).await?, outcomes.len(), "settling chosen texts")
}

/// An action that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// `bulk_actions.id`.
    pub id: i64,
    /// What it does; empty if this version does not know.
    pub kind: Option<Kind>,
}

/// Returns the unfinished actions, oldest first.
pub async fn list_unfinished(conn: &mut PgConnection) -> Result<Vec<Unfinished>, Error> {
    let rows = sqlx::query!("SELECT id, action FROM bulk_actions WHERE finished_at IS NULL ORDER BY id");
    let rows = rows.fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| Unfinished { id: row.id, kind: Kind::from_name(&row.action) }).collect())
}

/// Returns whether an action is not finished.
pub async fn any_unfinished(conn: &mut PgConnection) -> Result<bool, Error> {
    let any =
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM bulk_actions WHERE finished_at IS NULL) AS "unfinished!""#);
    Ok(any.fetch_one(conn).await?)
}

/// Finishes an action none of whose texts waits any more. Returns whether it is finished by this.
pub async fn finish(conn: &mut PgConnection, action_id: i64, now: DateTime<Utc>) -> Result<bool, Error> {
    let finished = sqlx::query!(
        "UPDATE bulk_actions SET finished_at = $2, done = counted.done, skipped = counted.skipped
         FROM (SELECT count(*) FILTER (WHERE outcome <> 'skipped') AS done,
                      count(*) FILTER (WHERE outcome = 'skipped') AS skipped
               FROM bulk_action_texts WHERE action_id = $1) AS counted
         WHERE id = $1 AND finished_at IS NULL
           AND NOT EXISTS (SELECT FROM bulk_action_texts WHERE action_id = $1 AND outcome IS NULL)",
        action_id,
        now
    );
    Ok(finished.execute(conn).await?.rows_affected() == 1)
}

/// An action, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `bulk_actions.id`.
    pub id: i64,
    /// `replay` or `drop`.
    pub action: String,
    /// Who began it.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// What the texts were chosen by.
    pub filter: Value,
    /// When it began.
    pub begun_at: DateTime<Utc>,
    /// When it was finished.
    pub finished_at: Option<DateTime<Utc>>,
    /// How many texts were chosen.
    pub chosen: i64,
    /// How many were sent again, or dropped.
    pub done: i64,
    /// How many were skipped.
    pub skipped: i64,
    /// How many were skipped for each reason.
    pub reasons: BTreeMap<String, i64>,
    /// How many of the texts that are sent again have each status.
    pub statuses: BTreeMap<String, i64>,
}

/// Returns an action and how far it is, if there is one with this id.
pub async fn find(conn: &mut PgConnection, id: i64) -> Result<Option<Progress>, Error> {
    let row = sqlx::query!(
        "SELECT id, action, who, why, filter, begun_at, finished_at, chosen, done, skipped FROM bulk_actions WHERE id = $1",
        id
    );
    let Some(row) = row.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let counts = sqlx::query!(
        r#"SELECT t.outcome AS "outcome!", t.reason, again.status AS "status?", count(*) AS "count!"
           FROM bulk_action_texts t
           -- The latest try.
           LEFT JOIN LATERAL (WITH RECURSIVE tries AS (
                                  SELECT a.id, a.status FROM messages a WHERE a.retry_of = t.message_id AND t.outcome = 'replayed'
                                  UNION ALL
                                  SELECT a.id, a.status FROM tries JOIN messages a ON a.retry_of = tries.id
                              ) SELECT status FROM tries ORDER BY id DESC LIMIT 1) again ON TRUE
           WHERE t.action_id = $1 AND t.outcome IS NOT NULL
           GROUP BY t.outcome, t.reason, again.status"#,
        id
    );
    let mut progress = Progress {
        id: row.id,
        action: row.action,
        who: row.who,
        why: row.why,
        filter: row.filter,
        begun_at: row.begun_at,
        finished_at: row.finished_at,
        chosen: row.chosen.into(),
        done: 0,
        skipped: 0,
        reasons: BTreeMap::new(),
        statuses: BTreeMap::new(),
    };
    for counted in counts.fetch_all(conn).await? {
        match counted.reason {
            Some(reason) => {
                progress.skipped += counted.count;
                *progress.reasons.entry(reason).or_default() += counted.count;
            }
            None => progress.done += counted.count,
        }
        if let Some(status) = counted.status {
            *progress.statuses.entry(status).or_default() += counted.count;
        }
    }
    // The rows of the texts may be gone by now.
    if let (Some(done), Some(skipped)) = (row.done, row.skipped) {
        (progress.done, progress.skipped) = (done.into(), skipped.into());
    }
    Ok(Some(progress))
}
