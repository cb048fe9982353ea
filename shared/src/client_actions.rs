//! Actions of operators on a client, recorded as events. The client's conversation decides them, in order with everything else.

use chrono::{DateTime, Utc};
use jobrun_onboarding::action::Action;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::db::audit_log::{self, Actor};
use crate::db::clients;
use crate::db::inbox::{self, NewEvent, Payload, Source};
use crate::refusal::Refusal;

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// It is recorded, now or by an earlier request with the same name.
    Done,
    /// Its name is that of another action, and nothing is recorded.
    NameIsTaken,
}

/// Records an action, with the job that decides it and its entry in the audit log. Commits. The same `name` is the same action,
/// however often it is sent.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or when the database fails. Then nothing is recorded.
pub async fn act(
    pool: &PgPool,
    client_id: &str,
    action: Action,
    by: &Actor,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Recording, Refusal> {
    let mut tx = pool.begin().await?;
    if !clients::exists(&mut tx, client_id).await? {
        return Err(Refusal::NoSuchClient);
    }
    let (audited, details) = of_audit_log(&action);
    let payload =
        Payload::OperatorAction { client_id: client_id.to_owned(), by: by.who.clone(), why: by.why.clone(), action };
    let event = NewEvent::new(Source::Operator, name, payload);
    if inbox::insert(&mut tx, std::slice::from_ref(&event), now).await? == 0 {
        let earlier = inbox::find_payload(&mut tx, Source::Operator, name).await?;
        return Ok(if earlier.as_ref() == Some(&event.payload) { Recording::Done } else { Recording::NameIsTaken });
    }
    let action = audit_log::Action { name: audited, subject: Some(client_id), details };
    audit_log::record(&mut tx, by, &action, now).await?;
    tx.commit().await?;
    Ok(Recording::Done)
}

/// Returns the action with the state or the number that the client has now, unless the action names what the operator saw. Two
/// commands at once then take one number, and move the client once.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or when the database fails.
pub async fn as_seen(pool: &PgPool, client_id: &str, action: Action) -> Result<Action, Refusal> {
    if !matches!(action, Action::MoveTo { from: None, .. } | Action::TakeNumber { number: None }) {
        return Ok(action);
    }
    let loaded = clients::load(&mut *pool.acquire().await?, &[client_id.to_owned()]).await?;
    let client = loaded.into_iter().next().ok_or(Refusal::NoSuchClient)??.client;
    Ok(match action {
        Action::MoveTo { state, from: None } => Action::MoveTo { state, from: Some(client.state) },
        // Without a number there is none to take, also if the client gets one in this moment.
        Action::TakeNumber { number: None } => {
            Action::TakeNumber { number: Some(client.number.map_or_else(String::new, |it| it.as_str().to_owned())) }
        }
        other => other,
    })
}

/// Returns the name and the details of an action in the audit log. What was texted or corrected stands in the client's history.
fn of_audit_log(action: &Action) -> (&'static str, Value) {
    match action {
        Action::Reply { .. } => ("client.reply", json!({})),
        Action::TakeOver { from, silence_minutes } => {
            ("client.take_over", json!({ "from": from, "silenceMinutes": silence_minutes }))
        }
        Action::HandBack { ask_again } => ("client.hand_back", json!({ "askAgain": ask_again })),
        Action::MoveTo { state, from } => ("client.move_to", json!({ "state": state, "from": from })),
        Action::Correct { field, .. } => ("client.correct", json!({ "field": field })),
        Action::MarkPaid => ("client.mark_paid", json!({})),
        Action::GiveNumber => ("client.give_number", json!({})),
        Action::TakeNumber { number } => ("client.take_number", json!({ "number": number })),
        Action::AskAgain => ("client.ask_again", json!({})),
        Action::OptIn => ("client.opt_in", json!({})),
        Action::Cancel => ("client.cancel", json!({})),
    }
}
