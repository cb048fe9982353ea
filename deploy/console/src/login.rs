//! Logging in and out, by a password or by a link that is good once, and changing one's password.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use jobrun_credentials::{self as credentials, Token};
use jobrun_shared::clock;
use jobrun_shared::db::audit_log::{self, Action, Actor, Via};
use jobrun_shared::db::console::{self, LoggedIn};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::app::App;
use crate::assets::{ADDRESSES, Addresses};
use crate::error::PageError;
use crate::guard::{self, ClientAddress, SessionDigest, safe_next};
use crate::view::Frame;

/// How often a name, and an address, may be tried within [`console::COUNTED_FOR`].
const TRIES_OF_A_NAME: i32 = 10;
const TRIES_FROM_AN_ADDRESS: i32 = 30;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    assets: &'static Addresses,
    next: &'a str,
    name: &'a str,
    problem: &'a str,
    /// The secret of a link, if the person follows one.
    link: &'a str,
    through_proxy: bool,
}

/// The address of the page to log in at.
#[derive(Debug, Deserialize)]
pub struct LoginQuery {
    next: Option<String>,
    token: Option<String>,
}

/// Shows the page to log in at.
///
/// # Errors
/// When the page cannot be written.
pub async fn show(State(app): State<App>, Query(query): Query<LoginQuery>) -> Result<Response, PageError> {
    let next = safe_next(query.next.as_deref());
    let page = LoginPage {
        assets: &ADDRESSES,
        next,
        name: "",
        problem: "",
        link: query.token.as_deref().unwrap_or_default(),
        through_proxy: app.settings.proxy_header.is_some(),
    };
    Ok(Html(page.render()?).into_response())
}

/// A name and a password.
#[derive(Deserialize)]
pub struct LoginForm {
    name: String,
    password: String,
    next: Option<String>,
}

/// Logs a person in by a password.
///
/// # Errors
/// When the database fails.
pub async fn log_in(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, PageError> {
    let name = form.name.trim().to_lowercase();
    let next = safe_next(form.next.as_deref());
    let refuse = |status: StatusCode, problem: &str| {
        let page = LoginPage {
            assets: &ADDRESSES,
            next,
            name: &name,
            problem,
            link: "",
            through_proxy: app.settings.proxy_header.is_some(),
        };
        Ok::<Response, PageError>((status, Html(page.render()?)).into_response())
    };
    if app.settings.proxy_header.is_some() {
        return refuse(StatusCode::FORBIDDEN, "People log in through the proxy.");
    }
    if !may_try(&app, &name, &address).await? {
        let problem = "Too many attempts. Wait a quarter of an hour, or ask an admin for a link to log in.";
        return refuse(StatusCode::TOO_MANY_REQUESTS, problem);
    }
    let login = console::find_login(&mut *app.pool.acquire().await?, &name).await?;
    let stored = login.as_ref().and_then(|login| login.password_hash.clone());
    let matches = check(&app, form.password, stored).await?;
    match login.filter(|login| matches && !login.is_disabled) {
        Some(login) => {
            let mut tx = app.pool.begin().await?;
            console::forget_attempts(&mut tx, &of_name(&name)).await?;
            console::take_attempt_back(&mut tx, &of_address(&address)).await?;
            let response = begin_session(&app, &mut tx, &headers, (login.id, &name), "password", next).await?;
            tx.commit().await?;
            Ok(response)
        }
        None => refuse(StatusCode::UNAUTHORIZED, "This name and password do not belong together."),
    }
}

fn of_name(name: &str) -> String {
    format!("name:{name}")
}

fn of_address(address: &str) -> String {
    format!("address:{address}")
}

/// Counts an attempt. Returns whether the password may be checked.
async fn may_try(app: &App, name: &str, address: &str) -> Result<bool, PageError> {
    let mut subjects = vec![of_address(address)];
    // Nobody can have another name, so there is nothing to protect, and nothing to store.
    subjects.extend(console::is_a_name(name).then(|| of_name(name)));
    let mut tx = app.pool.begin().await?;
    let counts = console::count_attempt(&mut tx, &subjects, clock::now()).await?;
    tx.commit().await?;
    let limits = [TRIES_FROM_AN_ADDRESS, TRIES_OF_A_NAME];
    Ok(counts.iter().zip(limits).all(|(count, limit)| *count <= limit))
}

/// Checks a password on a thread of its own, because it takes long.
async fn check(app: &App, password: String, stored: Option<String>) -> Result<bool, PageError> {
    let permit = Arc::clone(&app.checks).acquire_owned().await.map_err(|_| PageError::Task)?;
    let check = move || {
        // Held to the end of the check, also if the browser hangs up.
        let _permit = permit;
        credentials::verify(&password, stored.as_deref())
    };
    tokio::task::spawn_blocking(check).await.map_err(|_| PageError::Task)
}

/// Begins a session with a new secret, ends the one that the browser had, and sends the person on.
async fn begin_session(
    app: &App,
    conn: &mut PgConnection,
    headers: &HeaderMap,
    (person_id, name): (i64, &str),
    how: &str,
    next: &str,
) -> Result<Response, PageError> {
    let (token, now) = (Token::new()?, clock::now());
    if let Some(earlier) = guard::cookie(app, headers) {
        console::end_session(&mut *conn, &credentials::digest(earlier)).await?;
    }
    let lifetime = app.settings.session_lifetime;
    let expires_at = now + TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::hours(12));
    console::begin_session(&mut *conn, &token.digest, person_id, now, expires_at).await?;
    let actor = Actor { who: name.to_owned(), via: Via::Console, why: None };
    let action = Action { name: "session.began", subject: Some(name), details: serde_json::json!({ "by": how }) };
    audit_log::record(conn, &actor, &action, now).await?;
    let cookie = guard::set_cookie(app, &token.secret, lifetime.as_secs());
    Ok(([cookie], Redirect::to(next)).into_response())
}

/// The secret of a link.
#[derive(Deserialize)]
pub struct LinkForm {
    token: String,
}

/// Logs a person in by a link that is good once. The link itself leads to a page with a button, because programs that look
/// links up would use it up.
///
/// # Errors
/// When the database fails.
pub async fn follow_link(
    State(app): State<App>,
    headers: HeaderMap,
    Form(form): Form<LinkForm>,
) -> Result<Response, PageError> {
    let mut tx = app.pool.begin().await?;
    let taken = console::take_login_link(&mut tx, &credentials::digest(&form.token), clock::now()).await?;
    let Some((id, name)) = taken.filter(|_| app.settings.proxy_header.is_none()) else {
        tx.commit().await?;
        let problem = "This link has been used, or has expired. Ask for another one: jobrun console user link NAME.";
        let page = LoginPage { assets: &ADDRESSES, next: "/", name: "", problem, link: "", through_proxy: false };
        return Ok((StatusCode::UNAUTHORIZED, Html(page.render()?)).into_response());
    };
    console::forget_attempts(&mut tx, &of_name(&name)).await?;
    let response = begin_session(&app, &mut tx, &headers, (id, &name), "link", "/").await?;
    tx.commit().await?;
    Ok(response)
}

/// Ends the session.
///
/// # Errors
/// When the database fails.
pub async fn log_out(
    State(app): State<App>,
    Extension(SessionDigest(digest)): Extension<SessionDigest>,
) -> Result<Response, PageError> {
    if let Some(digest) = digest {
        console::end_session(&mut *app.pool.acquire().await?, &digest).await?;
    }
    Ok(([guard::set_cookie(&app, "", 0)], Redirect::to("/login")).into_response())
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: Frame,
    problem: &'a str,
    is_done: bool,
}

/// Shows one's own account.
///
/// # Errors
/// When the page cannot be written.
pub async fn account(frame: Frame) -> Result<Html<String>, PageError> {
    let page = AccountPage { frame: frame.titled("Your account", "account"), problem: "", is_done: false };
    Ok(Html(page.render()?))
}

/// The old password, and the new one twice.
#[derive(Deserialize)]
pub struct PasswordForm {
    current: String,
    new: String,
    again: String,
}

/// Changes one's password, and ends one's other sessions.
///
/// # Errors
/// When the database fails.
pub async fn change_password(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Extension(person): Extension<LoggedIn>,
    Extension(SessionDigest(digest)): Extension<SessionDigest>,
    frame: Frame,
    Form(form): Form<PasswordForm>,
) -> Result<Response, PageError> {
    let frame = frame.titled("Your account", "account").at("/account");
    let problem = problem_of(&app, &address, &person, &form).await?;
    if let Some((status, problem)) = problem {
        let page = AccountPage { frame, problem, is_done: false };
        return Ok((status, Html(page.render()?)).into_response());
    }
    let permit = Arc::clone(&app.checks).acquire_owned().await.map_err(|_| PageError::Task)?;
    let hash = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        credentials::hash(&form.new)
    });
    let hash = hash.await.map_err(|_| PageError::Task)??;
    let mut tx = app.pool.begin().await?;
    console::set_password(&mut tx, person.id, &hash).await?;
    let ended = console::end_sessions(&mut tx, person.id, digest.as_deref()).await?;
    console::remove_login_links(&mut tx, person.id).await?;
    let actor = Actor { who: person.name.clone(), via: Via::Console, why: None };
    let details = serde_json::json!({ "sessionsEnded": ended });
    let action = Action { name: "person.password_changed", subject: Some(&person.name), details };
    audit_log::record(&mut tx, &actor, &action, clock::now()).await?;
    console::forget_attempts(&mut tx, &of_name(&person.name)).await?;
    tx.commit().await?;
    Ok(Html(AccountPage { frame, problem: "", is_done: true }.render()?).into_response())
}

/// Returns why a password is not changed, if so.
async fn problem_of(
    app: &App,
    address: &str,
    person: &LoggedIn,
    form: &PasswordForm,
) -> Result<Option<(StatusCode, &'static str)>, PageError> {
    if form.new != form.again {
        return Ok(Some((StatusCode::BAD_REQUEST, "The new password was not typed the same twice.")));
    }
    if !credentials::LENGTHS.contains(&form.new.chars().count()) {
        return Ok(Some((StatusCode::BAD_REQUEST, "A password has 12 to 200 characters.")));
    }
    if !may_try(app, &person.name, address).await? {
        return Ok(Some((StatusCode::TOO_MANY_REQUESTS, "Too many attempts. Wait a quarter of an hour.")));
    }
    let login = console::find_login(&mut *app.pool.acquire().await?, &person.name).await?;
    let Some(stored) = login.and_then(|login| login.password_hash) else {
        // A person who came by a link sets a first password.
        return Ok(None);
    };
    let matches = check(app, form.current.clone(), Some(stored)).await?;
    Ok((!matches).then_some((StatusCode::FORBIDDEN, "That is not your present password.")))
}
