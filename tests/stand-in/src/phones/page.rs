//! The pages: all phones side by side, and one phone at an address of its own; and the fragments that replace parts of them.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use jobrun_onboarding::as_people_write;
use serde::Deserialize;

use super::calls::STRANGER;
use super::conversation::Conversation;
use super::markup::{Part, Suggestion};
use super::panel;
use crate::State;
use crate::control::{HELP, phone as typed_phone};

/// How many phones the start page shows. The others are linked to.
const SIDE_BY_SIDE_MAX: usize = 8;

/// The text that begins a sign-up, proposed to a phone without texts.
const FIRST_TEXT: &str = "Plumber from London";

/// Nothing from another host, and no script or style within a page.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                   form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The files that pages load: their name, type and contents.
const ASSETS: [(&str, &str, &str); 5] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ("phone.js", "text/javascript; charset=utf-8", include_str!("../../assets/phone.js")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_str!("../../assets/vendor/htmx.min.js")),
    ("htmx-sse.min.js", "text/javascript; charset=utf-8", include_str!("../../assets/vendor/htmx-sse.min.js")),
];

#[derive(Template)]
#[template(path = "front.html")]
struct Front {
    cards: Vec<Card>,
    others: Vec<String>,
    next: String,
    problem: Option<String>,
    panels: Vec<String>,
}

#[derive(Template)]
#[template(path = "one.html")]
struct One {
    number: String,
    card: Card,
}

#[derive(Template)]
#[template(path = "card.html")]
struct Card {
    number: String,
    slug: String,
    back: String,
    conversation: ConversationView,
    sheet: String,
    composer: Composer,
    stranger: &'static str,
    others: Vec<String>,
}

#[derive(Template)]
#[template(path = "composer.html")]
pub(super) struct Composer {
    number: String,
    slug: String,
    back: String,
    has_focus: bool,
}

#[derive(Template)]
#[template(path = "conversation.html")]
struct ConversationView {
    number: String,
    slug: String,
    back: String,
    onboarding_number: String,
    conversation: Conversation,
    suggestions: Vec<Suggestion>,
}

#[derive(Template)]
#[template(path = "sheet.html")]
struct Sheet {
    number: String,
    slug: String,
    back: String,
    other: String,
    forwards: bool,
}

/// Returns the number as part of an id: without the plus sign.
fn slug(number: &str) -> String {
    number.trim_start_matches('+').to_owned()
}

impl Composer {
    pub(super) fn of(number: &str, back: &str, has_focus: bool) -> Self {
        Self { number: number.to_owned(), slug: slug(number), back: back.to_owned(), has_focus }
    }
}

impl State {
    fn card(&self, number: &str, back: &str, other: Option<&str>) -> Card {
        let phones = self.phones().shown();
        Card {
            number: number.to_owned(),
            slug: slug(number),
            back: back.to_owned(),
            conversation: self.conversation_view(number, back),
            sheet: other.map(|other| shown(&self.sheet(number, back, other))).unwrap_or_default(),
            composer: Composer::of(number, back, false),
            stranger: STRANGER,
            others: phones.into_iter().filter(|it| it != number).collect(),
        }
    }

    fn conversation_view(&self, number: &str, back: &str) -> ConversationView {
        let conversation = self.conversation(number);
        let first = || vec![Suggestion { body: FIRST_TEXT.to_owned(), label: FIRST_TEXT.to_owned() }];
        let suggestions = if conversation.items.is_empty() { first() } else { conversation.suggestions.clone() };
        ConversationView {
            number: number.to_owned(),
            slug: slug(number),
            back: back.to_owned(),
            onboarding_number: self.account.onboarding_number.clone(),
            conversation,
            suggestions,
        }
    }

    fn sheet(&self, number: &str, back: &str, other: &str) -> Sheet {
        let forwards = self.phones().find(number).forwards_to.as_deref() == Some(other);
        let (number, other) = (number.to_owned(), other.to_owned());
        Sheet { slug: slug(&number), number, back: back.to_owned(), other, forwards }
    }

    pub(super) fn front_page(&self, problem: Option<String>) -> Response {
        let (mut numbers, next) = {
            let phones = self.phones();
            (phones.shown(), phones.next_free())
        };
        let others = numbers.split_off(numbers.len().min(SIDE_BY_SIDE_MAX));
        let cards = numbers.iter().map(|number| self.card(number, "/", None)).collect();
        html(&Front { cards, others, next, problem, panels: panel::all(self) })
    }
}

/// Returns what a template makes. A template fails only if writing to memory does.
pub(super) fn shown(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}

pub(crate) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => Html(page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Returns whether htmx made the request, which takes a fragment instead of a page.
pub(super) fn is_htmx(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

/// Returns the path to go back to: a page of the stand-in's, never another host.
pub(crate) fn local_path(given: &str) -> String {
    if given.starts_with("/phones/") { given.to_owned() } else { "/".to_owned() }
}

/// Returns the response to a form: to the page that it was on, unless htmx sent it.
pub(super) fn done(headers: &HeaderMap, back: &str) -> Response {
    if is_htmx(headers) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Redirect::to(&local_path(back)).into_response()
    }
}

/// The start page for browsers, the help for all others.
pub(crate) async fn front(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let mut answer = if accepted.contains("text/html") { state.front_page(None) } else { HELP.into_response() };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    answer
}

pub(super) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/help", get(|| async { HELP }))
        .route("/phones/{number}", get(one))
        .route("/phones/{number}/conversation", get(conversation))
        .route("/phones/{number}/sheet", get(sheet))
        .route("/assets/{file}", get(asset))
}

#[derive(Deserialize)]
struct View {
    number: Option<String>,
    back: Option<String>,
}

async fn one(Shared(state): Shared<Arc<State>>, Path(number): Path<String>, Query(view): Query<View>) -> Response {
    let Some(number) = as_people_write(&number).map(|number| number.as_str().to_owned()) else {
        return (StatusCode::NOT_FOUND, "there is no such phone\n").into_response();
    };
    let card = state.card(&number, &format!("/phones/{number}"), view.number.as_deref());
    html(&One { number, card })
}

async fn conversation(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
    Query(view): Query<View>,
) -> Response {
    html(&state.conversation_view(&typed_phone(&number), &local_path(&view.back.unwrap_or_default())))
}

async fn sheet(Shared(state): Shared<Arc<State>>, Path(number): Path<String>, Query(view): Query<View>) -> Response {
    let back = local_path(&view.back.unwrap_or_default());
    match view.number {
        Some(other) => html(&state.sheet(&typed_phone(&number), &back, &typed_phone(&other))),
        None => Html("").into_response(),
    }
}

async fn asset(Path(file): Path<String>) -> Response {
    match ASSETS.iter().find(|(name, ..)| *name == file) {
        Some((_, content_type, contents)) => ([(header::CONTENT_TYPE, *content_type)], *contents).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sets the headers of every page, and refuses forms that a page of another site sends.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").and_then(|it| it.to_str().ok());
    let is_foreign = site.is_some_and(|site| !["same-origin", "none"].contains(&site));
    if is_foreign && request.method() == axum::http::Method::POST {
        return (StatusCode::FORBIDDEN, "this form is on a page of another site\n").into_response();
    }
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// Puts [`guard`] in front of pages.
pub(crate) fn guarded(router: Router<Arc<State>>) -> Router<Arc<State>> {
    router.layer(middleware::from_fn(guard))
}
