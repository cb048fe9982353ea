//! Actions on one client, from its page. Each is recorded as an event, and the client's conversation decides it.

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use jobrun_onboarding::action::{Action, REPLY_CHARS_MAX, SILENCE_MINUTES_MAX};
use jobrun_onboarding::{ANSWER_CHARS_MAX, Field, State as ConversationState};
use jobrun_shared::client_actions::{self, Recording};
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::console::LoggedIn;
use jobrun_shared::db::history;
use jobrun_shared::refusal::Refusal;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::pages::client::{self, Draft};
use crate::view::{Frame, client_path};

/// The longest reason, in characters.
const WHY_CHARS_MAX: usize = 500;

/// The problem of a form that lacks what its page put into it.
const INCOMPLETE: &str = "The form is incomplete. Load the page again.";

/// The fields of all forms for actions. Each form has some of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ActionForm {
    /// Which action.
    action: String,
    /// The name of this one, given with the page: a form that is sent twice acts once.
    name: String,
    why: String,
    body: String,
    from: String,
    silence_minutes: String,
    ask_again: String,
    state: String,
    /// The state that the page showed.
    from_state: String,
    /// The number that the page showed.
    number: String,
    field: String,
    text: String,
}

/// Records an action, and leads back to the client. A form that makes no sense, or that another operator's takeover has overtaken,
/// is shown again with what was typed.
///
/// # Errors
/// [`PageError::NotFound`] if there is no such client, or when the database fails.
pub async fn act(
    State(app): State<App>,
    Extension(person): Extension<LoggedIn>,
    frame: Frame,
    Path(id): Path<String>,
    Form(form): Form<ActionForm>,
) -> Result<Response, PageError> {
    let now = frame.now;
    let frame = frame.at(&client_path(&id));
    let again = async |status: StatusCode, problem: String| {
        let draft = Draft { problem, body: form.body.clone() };
        Ok((status, client::render(&app, frame.clone(), &id, None, draft).await?).into_response())
    };
    let action = match read(&form) {
        Ok(action) => action,
        Err(problem) => return again(StatusCode::BAD_REQUEST, problem.to_owned()).await,
    };
    let takeover = history::find_takeover(&mut *app.pool.acquire().await?, &id, now).await?;
    let other = takeover.map(|takeover| takeover.by).filter(|by| *by != person.name && Some(by) != taken_from(&action));
    if let Some(other) = other {
        let problem = format!("{other} has taken this client over. Nothing was done. Take the client over first.");
        return again(StatusCode::CONFLICT, problem).await;
    }
    let why = Some(form.why.trim().to_owned()).filter(|why| !why.is_empty());
    let by = Actor { who: person.name, via: Via::Console, why };
    let name = format!("console:{}", form.name);
    match client_actions::act(&app.pool, &id, action, &by, &name, now).await {
        Ok(Recording::Done) => Ok(Redirect::to(&format!("{}#act", client_path(&id))).into_response()),
        Ok(Recording::NameIsTaken) => {
            let problem = "This form was sent before, with other words. Nothing was done: send it again.".to_owned();
            again(StatusCode::CONFLICT, problem).await
        }
        Err(Refusal::NoSuchClient) => Err(PageError::NotFound),
        Err(Refusal::Database(error)) => Err(error.into()),
        Err(other) => again(StatusCode::BAD_REQUEST, other.to_string()).await,
    }
}

const fn taken_from(action: &Action) -> Option<&String> {
    if let Action::TakeOver { from, .. } = action { from.as_ref() } else { None }
}

/// Reads a form. The problem is a sentence for the person.
fn read(form: &ActionForm) -> Result<Action, &'static str> {
    let is_name = (16..=100).contains(&form.name.len())
        && form.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_name {
        return Err(INCOMPLETE);
    }
    if form.why.chars().count() > WHY_CHARS_MAX {
        return Err("The reason is longer than 500 characters.");
    }
    let needs_reason = !matches!(form.action.as_str(), "reply" | "take_over" | "hand_back" | "ask_again");
    if needs_reason && form.why.trim().is_empty() {
        return Err("Say why: the reason is kept in the audit log.");
    }
    match form.action.as_str() {
        "reply" => Ok(Action::Reply { body: text_of(&form.body, REPLY_CHARS_MAX)? }),
        "take_over" => {
            let from = Some(form.from.clone()).filter(|from| !from.is_empty());
            Ok(Action::TakeOver { from, silence_minutes: minutes_of(&form.silence_minutes)? })
        }
        "hand_back" => Ok(Action::HandBack { ask_again: !form.ask_again.is_empty() }),
        "move_to" => {
            let state = ConversationState::from_name(&form.state).ok_or("There is no such state.")?;
            let from = ConversationState::from_name(&form.from_state).ok_or(INCOMPLETE)?;
            Ok(Action::MoveTo { state, from: Some(from) })
        }
        "correct" => {
            Ok(Action::Correct { field: field_of(&form.field)?, text: text_of(&form.text, ANSWER_CHARS_MAX)? })
        }
        "mark_paid" => Ok(Action::MarkPaid),
        "give_number" => Ok(Action::GiveNumber),
        "take_number" if form.number.is_empty() => Err(INCOMPLETE),
        "take_number" => Ok(Action::TakeNumber { number: Some(form.number.clone()) }),
        "ask_again" => Ok(Action::AskAgain),
        "opt_in" => Ok(Action::OptIn),
        "cancel" => Ok(Action::Cancel),
        _ => Err("There is no such action."),
    }
}

/// Browsers write line breaks as two characters, and the client's phone shows one.
fn text_of(text: &str, max: usize) -> Result<String, &'static str> {
    let text = text.replace("\r\n", "\n").trim().to_owned();
    match text.chars().count() {
        0 => Err("The text is empty."),
        length if length > max => Err("The text is too long."),
        _ => Ok(text),
    }
}

fn minutes_of(given: &str) -> Result<Option<u32>, &'static str> {
    if given.is_empty() {
        return Ok(None);
    }
    let minutes = given.parse().ok().filter(|minutes| (1..=SILENCE_MINUTES_MAX).contains(minutes));
    minutes.map(Some).ok_or("The silence is a number of minutes, at most 30 days.")
}

fn field_of(given: &str) -> Result<Field, &'static str> {
    match given {
        "trade_and_place" => Ok(Field::TradeAndPlace),
        "business_name" => Ok(Field::BusinessName),
        "owner_name" => Ok(Field::OwnerName),
        _ => Err("There is no such answer."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(action: &str) -> ActionForm {
        ActionForm { action: action.to_owned(), name: "0123456789abcdef".to_owned(), ..ActionForm::default() }
    }

    #[test]
    fn a_form_that_makes_no_sense_is_refused_with_a_sentence() {
        assert_eq!(read(&form("reply")), Err("The text is empty."));
        assert_eq!(read(&ActionForm { body: "a".repeat(1_601), ..form("reply") }), Err("The text is too long."));
        assert_eq!(read(&form("mark_paid")), Err("Say why: the reason is kept in the audit log."));
        assert_eq!(read(&ActionForm { why: "cash".to_owned(), ..form("mark_paid") }), Ok(Action::MarkPaid));
        assert!(read(&ActionForm { name: "short".to_owned(), ..form("ask_again") }).is_err());
        assert!(read(&ActionForm { silence_minutes: "-1".to_owned(), ..form("take_over") }).is_err());
        assert!(read(&ActionForm { silence_minutes: "43201".to_owned(), ..form("take_over") }).is_err());
        assert!(read(&ActionForm { why: "x".to_owned(), state: "S10".to_owned(), ..form("move_to") }).is_err());
        assert!(read(&form("erase everything")).is_err());
        let move_to = ActionForm { why: "x".to_owned(), state: "S5_CONFIRM_LIVE".to_owned(), ..form("move_to") };
        assert_eq!(read(&move_to), Err(INCOMPLETE));
        assert_eq!(read(&ActionForm { why: "x".to_owned(), ..form("take_number") }), Err(INCOMPLETE));
    }

    #[test]
    fn a_reply_keeps_its_lines() {
        let given = ActionForm { body: " Hi Ann\r\n\r\nBye ".to_owned(), ..form("reply") };
        assert_eq!(read(&given), Ok(Action::Reply { body: "Hi Ann\n\nBye".to_owned() }));
    }
}
