//! Many texts at once, on an operator's request: failed ones are sent again, queued ones are dropped.
//!
//! [`dry_run`] shows what would happen, and [`start`] chooses the texts and begins. The worker's job `bulk-actions` handles them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use jobrun_onboarding::replay::{FailedText, NotReplayed, ReplayFacts, may_be_replayed};
use jobrun_onboarding::{Client, TextKind};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::db::audit_log::{self, Action, Actor};
use crate::db::bulk_actions::{self as rows, Alike, Kind, Selection};
use crate::db::inbox;
use crate::db::outbox::{self, Ended, LaterActivity};
use crate::db::{self, clients};
use crate::queue::{self, Queue};

/// How many texts are looked at in one step of a dry run.
const STEP: usize = 500;

/// How many texts a dry run shows.
const EXAMPLES: usize = 5;

/// The reason for which a text is skipped that was tried again already. As those below and those of the core, its name is stored.
pub const TRIED_AGAIN: &str = "tried_again";

/// It, or the text of which it is the second try, has arrived.
const NOT_FAILED: &str = "not_failed";

/// Its client's row, or the row itself, cannot be read.
pub const UNREADABLE: &str = "unreadable";

/// Its recipient has just been sent the same words too often.
pub const SAID_TOO_OFTEN: &str = "said_too_often";

/// It is to be dropped, and may be at Twilio.
pub const UNDER_WAY: &str = "under_way";

/// It is to be dropped, and has ended by itself.
pub const ENDED: &str = "ended";

/// Returns why a text is skipped, in words, by the stored name of the reason.
#[must_use]
pub fn reason_words(name: &str) -> &str {
    match NotReplayed::ALL.into_iter().find(|reason| reason.name() == name) {
        Some(NotReplayed::OptedOut) => "the recipient opted out",
        Some(NotReplayed::Unreachable) => "no text reaches the recipient",
        Some(NotReplayed::TooOld) => "too old to be of use",
        Some(NotReplayed::SaidAgain) => "a later text says the same",
        Some(NotReplayed::WentOn) => "the conversation went on without it",
        Some(NotReplayed::OutOfDate) => "the client has moved on: the question is closed, or it is not true any more",
        Some(NotReplayed::NumberChanged) => "it tells a number that is not the client's any more",
        Some(NotReplayed::LinkChanged) => "its payment link is not used any more",
        Some(NotReplayed::TakenOver) => "an operator has taken the client over",
        Some(NotReplayed::UnknownKind) => "this version does not know its kind",
        None => match name {
            TRIED_AGAIN => "it was tried again already",
            NOT_FAILED => "it has not failed",
            UNREADABLE => "its row, or that of its client, cannot be read",
            SAID_TOO_OFTEN => "the recipient has just been sent the same words too often",
            UNDER_WAY => "it may be at Twilio already",
            ENDED => "it has ended already",
            other => other,
        },
    }
}

/// A failed text, and whether it may be sent again.
#[derive(Clone, Debug)]
pub struct Assessed {
    /// The text.
    pub text: Ended,
    /// The stored name of the reason against it, if there is one.
    pub against: Option<&'static str>,
    /// Whether its client has events that are to be processed: they may give or take a reason, so the text waits for them.
    pub waits: bool,
}

/// Assesses failed texts. The worker locks their clients and the texts first, so that nothing changes before it acts on the result.
pub async fn assess(
    conn: &mut PgConnection,
    ids: &[i64],
    payment_link: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<Assessed>, db::Error> {
    let texts = outbox::list_ended(&mut *conn, ids, now).await?;
    let later = outbox::list_later_activity(&mut *conn, ids).await?;
    let mut client_ids: Vec<String> = texts.iter().filter_map(|text| text.client_id.clone()).collect();
    client_ids.sort_unstable();
    client_ids.dedup();
    let loaded = clients::load(&mut *conn, &client_ids).await?.into_iter().filter_map(Result::ok);
    let clients: HashMap<String, Client> = loaded.map(|it| (it.client.id.clone(), it.client)).collect();
    let lanes_of = |it: &Client| inbox::lanes_of(&it.id, &it.owner_phone, it.number.as_ref());
    let lanes: Vec<String> = clients.values().flat_map(lanes_of).collect();
    let unprocessed = inbox::list_lanes_with_due(conn, &lanes, now).await?;
    let waits = |id: &String| clients.get(id).is_some_and(|it| lanes_of(it).iter().any(|it| unprocessed.contains(it)));
    let one = |text: Ended| {
        let later = later.get(&text.id).copied().unwrap_or_default();
        let waits = text.client_id.as_ref().is_some_and(waits);
        Assessed { against: reason_against(&text, later, &clients, payment_link, now), waits, text }
    };
    Ok(texts.into_iter().map(one).collect())
}

fn reason_against(
    text: &Ended,
    later: LaterActivity,
    clients: &HashMap<String, Client>,
    payment_link: Option<&str>,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    if text.first_arrived || !["failed", "undelivered"].contains(&text.status.as_str()) {
        return Some(NOT_FAILED);
    }
    if text.tried_again {
        return Some(TRIED_AGAIN);
    }
    let client = text.client_id.as_ref().map(|id| clients.get(id));
    if client == Some(None) {
        return Some(UNREADABLE);
    }
    let failed = FailedText {
        kind: TextKind::from_name(&text.kind),
        body: &text.body,
        written_at: text.written_at,
        went_on: later.went_on,
        said_again: text.said_again,
    };
    let facts =
        ReplayFacts { payment_link, number_held: text.number_held, stranger_opted_out: text.phone_opted_out, now };
    may_be_replayed(client.flatten(), &failed, &facts).err().map(NotReplayed::name)
}

/// What an action would do.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// How many texts match.
    pub chosen: i64,
    /// How many of them were looked at: the newest. The following counts are of these.
    pub looked_at: i64,
    /// How many would be sent again, or dropped.
    pub would_do: i64,
    /// How many would wait for the events of their clients, which are not processed yet.
    pub would_wait: i64,
    /// How many would be skipped for each reason.
    pub would_skip: BTreeMap<&'static str, i64>,
    /// The texts by kind, status and error code.
    pub alike: Vec<Alike>,
    /// Some of the texts.
    pub examples: Vec<Example>,
}

/// A text, as a dry run shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// `messages.id`.
    pub id: i64,
    /// The client it is for.
    pub client_id: Option<String>,
    /// The recipient, E.164.
    pub to: String,
    /// Its kind.
    pub kind: String,
    /// Its words.
    pub body: String,
    /// The stored name of the reason for which it would be skipped.
    pub would_skip: Option<&'static str>,
}

/// Returns what an action would do. It chooses the texts by the statement of the action, in a transaction that is rolled back, so
/// that both choose the same. Of the texts, `look_at` are assessed at most. `payment_link` as in [`ReplayFacts`].
pub async fn dry_run(
    pool: &PgPool,
    kind: Kind,
    selection: &Selection,
    look_at: usize,
    payment_link: Option<&str>,
    now: DateTime<Utc>,
) -> Result<DryRun, db::Error> {
    let mut tx = pool.begin().await?;
    let nobody = Actor { who: "dry run".to_owned(), via: audit_log::Via::Command, why: Some("dry run".to_owned()) };
    let ids = rows::list_choice(&mut tx, kind, selection, &nobody, now).await?;
    let found = look_through(&mut tx, kind, &ids, look_at, payment_link, now).await;
    tx.rollback().await?;
    found
}

async fn look_through(
    conn: &mut PgConnection,
    kind: Kind,
    ids: &[i64],
    look_at: usize,
    payment_link: Option<&str>,
    now: DateTime<Utc>,
) -> Result<DryRun, db::Error> {
    let alike = rows::count_alike(&mut *conn, ids).await?;
    let mut found = DryRun { chosen: ids.len() as i64, alike, ..DryRun::default() };
    for step in ids.get(..look_at).unwrap_or(ids).chunks(STEP) {
        for Assessed { text, against, waits } in assess(&mut *conn, step, payment_link, now).await? {
            let would_wait = waits && kind == Kind::Replay;
            let would_skip = against.filter(|_| kind == Kind::Replay && !waits);
            found.looked_at += 1;
            match would_skip {
                Some(reason) => *found.would_skip.entry(reason).or_default() += 1,
                None if would_wait => found.would_wait += 1,
                None => found.would_do += 1,
            }
            if found.examples.len() < EXAMPLES {
                let Ended { id, client_id, to, kind, body, .. } = text;
                found.examples.push(Example { id, client_id, to, kind, body, would_skip });
            }
        }
    }
    Ok(found)
}

/// An action that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It has begun with this id and so many texts.
    Begun(rows::Begun),
    /// The same form has begun it before.
    Before(i64),
    /// No text matches.
    NoTexts,
}

/// Chooses the texts, begins the action, records it in the audit log, and enqueues its job. `form_token` is the secret of the form,
/// if there is one: a form begins one action. Commits.
pub async fn start(
    pool: &PgPool,
    kind: Kind,
    selection: &Selection,
    actor: &Actor,
    form_token: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Started, db::Error> {
    let mut tx = pool.begin().await?;
    let Some(begun) = rows::begin(&mut tx, kind, selection, actor, form_token, now).await? else {
        let before = match form_token {
            Some(token) => rows::find_by_form(&mut tx, token).await?,
            None => None,
        };
        return Ok(before.map_or(Started::NoTexts, Started::Before));
    };
    let name = match kind {
        Kind::Replay => "texts.replayed",
        Kind::Drop => "texts.dropped",
    };
    let details = json!({ "bulkAction": begun.id, "texts": begun.chosen, "filter": selection });
    let subject = selection.filter.client_id.as_deref();
    audit_log::record(&mut tx, actor, &Action { name, subject, details }, now).await?;
    queue::enqueue(&mut tx, Queue::BulkActions).await?;
    tx.commit().await?;
    Ok(Started::Begun(begun))
}
