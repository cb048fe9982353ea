//! Cases: what clients said that a person has to answer, and the form that closes a case.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::cases::{self as rows, Case};
use jobrun_shared::{cases, telemetry};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::{Frame, client_path, state_words};

const PATH: &str = "/cases";

/// The most open cases that the page shows, the oldest first.
const SHOWN: i64 = 100;

#[derive(Template)]
#[template(path = "cases.html")]
struct CasesPage {
    frame: Frame,
    cases: Vec<CaseView>,
    problem: String,
}

/// A case, as the page shows it.
struct CaseView {
    id: i64,
    client: String,
    reason: &'static str,
    said: String,
    state: String,
    times: i32,
    opened_at: DateTime<Utc>,
}

impl CaseView {
    fn of(frame: &Frame, case: &Case) -> Self {
        Self {
            id: case.id,
            client: client_path(&case.client_id),
            reason: reason(&case.kind),
            said: frame.text(&case.said),
            state: state_words(&case.state).to_owned(),
            times: case.times,
            opened_at: case.opened_at,
        }
    }
}

fn reason(kind: &str) -> &'static str {
    match kind {
        "misfits" => "not understood",
        "person" => "wants a person",
        "help" => "asks for help",
        "question" => "asks a question",
        "doubt" => "doubts us",
        "cancel" => "cancels",
        _ => "needs a person",
    }
}

async fn page(app: &App, frame: Frame, problem: String) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Cases", "cases").at(PATH);
    let open = rows::list_open(&mut *app.pool.acquire().await?, SHOWN).await?;
    let cases = open.iter().map(|case| CaseView::of(&frame, case)).collect();
    Ok(Html(CasesPage { frame, cases, problem }.render()?))
}

/// Shows the open cases.
///
/// # Errors
/// When the database fails.
pub async fn show(State(app): State<App>, frame: Frame) -> Result<Html<String>, PageError> {
    page(&app, frame, String::new()).await
}

/// The form that closes a case.
#[derive(Deserialize)]
pub struct Closing {
    #[serde(default)]
    why: String,
    /// How many texts the page showed.
    seen: Option<i32>,
}

/// Closes a case.
///
/// # Errors
/// When the database fails.
pub async fn close(
    State(app): State<App>,
    frame: Frame,
    Path(id): Path<i64>,
    Form(form): Form<Closing>,
) -> Result<Response, PageError> {
    let why = form.why.trim();
    if why.is_empty() {
        let problem = "Nothing was changed: say how the case was answered.".to_owned();
        return Ok((StatusCode::BAD_REQUEST, page(&app, frame, problem).await?).into_response());
    }
    let by = Actor { who: frame.person.name.clone(), via: Via::Console, why: Some(why.to_owned()) };
    let Some(closed) = cases::close(&app.pool, id, form.seen, &by, frame.now).await? else {
        let problem = "Nothing was changed: this case is closed already, or the client has said more.".to_owned();
        return Ok((StatusCode::CONFLICT, page(&app, frame, problem).await?).into_response());
    };
    telemetry::cleared(&closed.cleared);
    Ok(Redirect::to(PATH).into_response())
}
