//! What people use: text us, ring us, and read what was sent, with a browser or with curl.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;

use crate::{Answer, State, Undelivered};

const HELP: &str = "\
This stands in for Twilio. Be a client with curl:

  curl -d from=+447900000001 --data-urlencode 'body=Plumber from London' HOST/texts   text the onboarding number
  curl -d from=+447700900123 -d to=+447111111111 HOST/calls                           ring a number
  curl HOST/messages                                                                  read what was sent to everybody
  curl -G -d to=+447900000001 HOST/messages                                           read what was sent to one phone

A plus sign in -d is fine as it is.
";

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/", get(|| async { HELP }))
        .route("/texts", post(text))
        .route("/calls", post(call))
        .route("/messages", get(messages))
}

#[derive(Deserialize)]
struct Text {
    from: String,
    to: Option<String>,
    body: String,
}

#[derive(Deserialize)]
struct Call {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct Filter {
    to: Option<String>,
}

type Outcome = Result<String, (StatusCode, String)>;

fn undelivered(error: &Undelivered) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, format!("the webhook was not delivered: {error}\n"))
}

fn describe(what: &str, answer: &Answer) -> String {
    format!("{what}: answered {} {}\n", answer.status, answer.body.trim())
}

/// A plus sign in a form is a space, unless somebody escaped it: in a phone number it can only be a plus.
fn phone(given: &str) -> String {
    format!("+{}", given.trim().trim_start_matches('+'))
}

async fn text(Shared(state): Shared<Arc<State>>, Form(text): Form<Text>) -> Outcome {
    let to = text.to.map_or_else(|| state.account.onboarding_number.clone(), |to| phone(&to));
    let answer = state.text(&phone(&text.from), &to, &text.body).await.map_err(|error| undelivered(&error))?;
    Ok(describe("text", &answer))
}

async fn call(Shared(state): Shared<Arc<State>>, Form(call): Form<Call>) -> Outcome {
    let called = state.call(&phone(&call.from), &phone(&call.to)).await;
    let (arrived, ended) = called.map_err(|error| undelivered(&error))?;
    Ok(describe("call arrived", &arrived) + &describe("call ended", &ended))
}

async fn messages(Shared(state): Shared<Arc<State>>, Query(filter): Query<Filter>) -> String {
    let to = filter.to.map(|to| phone(&to));
    let mut page = String::new();
    for message in state.messages().iter().filter(|message| to.as_ref().is_none_or(|to| *to == message.to)) {
        // Writing to a string does not fail.
        let _ =
            writeln!(page, "{} -> {}  ({}, {})", message.from, message.to, message.status.name(), message.date_created);
        for line in message.body.lines() {
            let _ = writeln!(page, "  {line}");
        }
        page.push('\n');
    }
    page
}
