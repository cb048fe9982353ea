//! The forms of a phone: to add it, to text, to ring, to forward its calls, and to begin anew.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State as Shared};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jobrun_onboarding::as_people_write;
use serde::Deserialize;

use super::calls::STRANGER;
use super::page::{Composer, done, html, is_htmx, local_path};
use crate::State;
use crate::control::phone as typed_phone;

pub(super) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/phones", post(add))
        .route("/phones/{number}/hide", post(hide))
        .route("/phones/{number}/texts", post(text))
        .route("/phones/{number}/ring", post(ring))
        .route("/phones/{number}/number", post(use_number))
        .route("/reset", get(async || html(&Reset { problem: None })).post(reset))
}

#[derive(Deserialize)]
struct NewPhone {
    number: String,
}

async fn add(Shared(state): Shared<Arc<State>>, Form(new): Form<NewPhone>) -> Response {
    let Some(number) = as_people_write(&new.number) else {
        return state.front_page(Some(format!("{:?} is no phone number: write it like +447900000002.", new.number)));
    };
    state.change_phone(number.as_str(), |phone| phone.is_shown = true);
    Redirect::to(&format!("/#phone-{}", number.as_str().trim_start_matches('+'))).into_response()
}

async fn hide(Shared(state): Shared<Arc<State>>, Path(number): Path<String>) -> Redirect {
    state.change_phone(&typed_phone(&number), |phone| phone.is_shown = false);
    Redirect::to("/")
}

#[derive(Deserialize)]
struct Text {
    body: String,
    to: Option<String>,
    #[serde(default)]
    back: String,
}

async fn text(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
    headers: HeaderMap,
    Form(text): Form<Text>,
) -> Response {
    let (number, back) = (typed_phone(&number), local_path(&text.back));
    let to = text.to.clone().unwrap_or_else(|| state.account.onboarding_number.clone());
    let (changes, before) = (state.changes.subscribe(), state.message_count());
    // The browser sends line breaks as CRLF; a phone sends LF.
    let body = text.body.replace("\r\n", "\n");
    let sent = if body.trim().is_empty() { Ok(None) } else { state.text(&number, &to, &body).await.map(Some) };
    if is_htmx(&headers) {
        let from_sheet = text.to.is_some();
        return if from_sheet { Html("").into_response() } else { html(&Composer::of(&number, &back, true)) };
    }
    if sent.is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200)) {
        state.wait_for_reply(changes, before).await;
    }
    Redirect::to(&back).into_response()
}

#[derive(Deserialize)]
struct Ring {
    from: String,
    #[serde(default)]
    back: String,
}

async fn ring(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
    headers: HeaderMap,
    Form(ring): Form<Ring>,
) -> Response {
    let (changes, before) = (state.changes.subscribe(), state.message_count());
    state.ring(&typed_phone(&number), &typed_phone(&ring.from)).await;
    if !is_htmx(&headers) {
        state.wait_for_reply(changes, before).await;
    }
    done(&headers, &ring.back)
}

#[derive(Deserialize)]
struct UseNumber {
    number: String,
    r#do: String,
    #[serde(default)]
    back: String,
}

async fn use_number(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
    headers: HeaderMap,
    Form(form): Form<UseNumber>,
) -> Response {
    let (number, other) = (typed_phone(&number), typed_phone(&form.number));
    match form.r#do.as_str() {
        "forward" => state.forward(&number, Some(&other)),
        "stop-forwarding" => state.forward(&number, None),
        "ring" => state.ring_from(&number, &other).await,
        _ => state.ring_as_stranger(&number, &other).await,
    }
    // htmx puts the response in place of the sheet.
    if is_htmx(&headers) { Html("").into_response() } else { done(&headers, &form.back) }
}

impl State {
    fn forward(&self, phone: &str, to: Option<&str>) {
        self.change_phone(phone, |it| it.forwards_to = to.map(str::to_owned));
        let words = match to {
            Some(to) => format!("Calls that this phone does not answer are forwarded to {to}."),
            None => "Calls are no longer forwarded.".to_owned(),
        };
        self.note(phone, words, None, Vec::new());
    }

    async fn ring_as_stranger(&self, phone: &str, number: &str) {
        let (words, heard, answers) = self.place(STRANGER, number).await;
        self.note(phone, format!("The stranger {STRANGER} rang {number}.{words}"), heard, answers);
    }
}

#[derive(Template)]
#[template(path = "reset.html")]
struct Reset {
    problem: Option<String>,
}

async fn reset(Shared(state): Shared<Arc<State>>) -> Response {
    let Some(system) = state.system() else {
        return html(&Reset {
            problem: Some("This stand-in runs beside a test, which begins anew itself.".to_owned()),
        });
    };
    if let Err(why) = system.reset().await {
        return html(&Reset { problem: Some(why) });
    }
    match state.forget() {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => html(&Reset { problem: Some(format!("The stand-in's file cannot be emptied: {error}")) }),
    }
}
