//! The stop switch: the stops that last, and the forms that stop and start it.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::stops::{self as rows, Activity, Stop};
use jobrun_shared::refusal::Refusal;
use jobrun_shared::stops;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::Frame;

const PATH: &str = "/stops";

#[derive(Template)]
#[template(path = "stops.html")]
struct StopsPage {
    frame: Frame,
    switches: Vec<Switch>,
    problem: String,
}

struct Switch {
    name: &'static str,
    title: &'static str,
    /// What happens while it is stopped.
    about: &'static str,
    stop: Option<Stop>,
}

impl Switch {
    fn new(what: Activity, stopped: &[Stop]) -> Self {
        let (title, about) = match what {
            Activity::Sending => (
                "Sending",
                "No text leaves. Texts wait, and leave in order after the start; those that have become too old to be of use are \
                 dropped. A text that is on its way to Twilio goes on.",
            ),
            Activity::Conversations => (
                "Conversations",
                "Texts, calls and payments are recorded, and nobody is answered. They are processed in order after the start. \
                 Delivery reports and Stripe's events go on. Texts that are written already leave.",
            ),
        };
        Self { name: what.name(), title, about, stop: stopped.iter().find(|stop| stop.what == what).cloned() }
    }
}

fn page(frame: Frame, problem: String) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Stop switch", "stops").at(PATH);
    let switches = Activity::ALL.map(|what| Switch::new(what, &frame.stops)).into();
    Ok(Html(StopsPage { frame, switches, problem }.render()?))
}

/// Shows the stops that last.
///
/// # Errors
/// When the page cannot be written.
pub async fn show(frame: Frame) -> Result<Html<String>, PageError> {
    page(frame, String::new())
}

/// A change of the switch.
#[derive(Deserialize)]
pub struct Change {
    what: String,
    to: String,
    #[serde(default)]
    why: String,
    /// Whether the person has confirmed it.
    #[serde(default)]
    sure: String,
}

/// Stops or starts something.
///
/// # Errors
/// When the database fails, or the form names nothing that can be stopped.
pub async fn change(State(app): State<App>, frame: Frame, Form(form): Form<Change>) -> Result<Response, PageError> {
    let what = Activity::named(&form.what).ok_or(PageError::Invalid("this cannot be stopped"))?;
    if form.why.trim().is_empty() || form.sure != "yes" {
        let problem = "Nothing was changed: give a reason, and confirm it.".to_owned();
        return Ok((StatusCode::BAD_REQUEST, page(frame, problem)?).into_response());
    }
    let by = Actor { who: frame.person.name.clone(), via: Via::Console, why: Some(form.why.trim().to_owned()) };
    let changed = match form.to.as_str() {
        "stopped" => stops::stop(&app.pool, what, &by, frame.now).await.map(|_| ()),
        "started" => stops::start(&app.pool, what, &by, frame.now).await.map(|_| ()),
        _ => return Err(PageError::Invalid("something can be stopped or started only")),
    };
    match changed {
        Ok(()) => Ok(Redirect::to(PATH).into_response()),
        Err(Refusal::Database(error)) => Err(error.into()),
        // Another person was faster.
        Err(refusal) => {
            let stops = rows::list(&mut *app.pool.acquire().await?).await?;
            let problem = format!("Nothing was changed: {}.", frame.text(&refusal.to_string()));
            Ok((StatusCode::CONFLICT, page(Frame { stops, ..frame }, problem)?).into_response())
        }
    }
}
