//! `jobrun console user`: adds the people of the console, and lists, disables and changes them.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use jobrun_credentials::{self as credentials, Token};
use jobrun_shared::db::audit_log::{self, Action, Actor};
use jobrun_shared::db::console::{self, Person, Role};
use jobrun_shared::{clock, config};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::MINUTE;
use crate::commands::{connect_migrated, operator};
use crate::table::{self, Column};

/// How long a link to log in is good.
const LINK_LASTS: TimeDelta = TimeDelta::hours(1);

/// The most people that are listed.
const LISTED: i64 = 10_000;

const COLUMNS: [Column; 5] = [
    Column::text("NAME", 24),
    Column::text("ROLE", 8),
    Column::text("STATE", 8),
    Column::count("SESSIONS", 8),
    Column::text("LAST LOGIN", 0),
];

/// A change of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add the person.
    Add(Role),
    /// Give a new password.
    Password,
    /// Make a link that logs the person in once.
    Link,
    /// Give another role.
    Role(Role),
    /// Let the person log in no more, and end the sessions.
    Disable,
    /// Let the person log in again.
    Enable,
}

impl Change {
    const fn action(&self) -> &'static str {
        match self {
            Self::Add(_) => "person.added",
            Self::Password => "person.password_changed",
            Self::Link => "person.link_made",
            Self::Role(_) => "person.role_changed",
            Self::Disable => "person.disabled",
            Self::Enable => "person.enabled",
        }
    }
}

/// Makes a change, records it in the audit log, and prints the result.
///
/// # Errors
/// When the name has another form, there is no such person, or the database fails.
pub async fn change(
    settings: &config::Operator,
    name: &str,
    change: &Change,
    password_from_stdin: bool,
    json: bool,
) -> anyhow::Result<()> {
    let name = name.to_lowercase();
    if !console::is_a_name(&name) {
        bail!("{name:?} is not a name: letters, digits and ._@+- only, 100 of them at most");
    }
    let secret = if matches!(change, Change::Add(_) | Change::Password) {
        Some(if password_from_stdin { read_password()? } else { Token::new()?.secret })
    } else {
        None
    };
    let pool = connect_migrated(settings).await?;
    let link = apply(&pool, &operator(None), &name, change, secret.as_deref(), clock::now()).await?;
    let mut out = std::io::stdout().lock();
    if json {
        let shown = json!({
            "name": name,
            "action": change.action(),
            "password": secret.filter(|_| !password_from_stdin),
            "link": link.map(|link| address(settings, &link)),
        });
        return Ok(writeln!(out, "{shown:#}")?);
    }
    match (change, secret.filter(|_| !password_from_stdin), link) {
        (_, _, Some(link)) => writeln!(out, "{}", address(settings, &link))?,
        (_, Some(secret), _) => writeln!(out, "{name}: the password is {secret}")?,
        (Change::Add(role), None, None) => writeln!(out, "{name} is added as {}", role.name())?,
        (Change::Password, ..) => writeln!(out, "{name} has another password; every session of the person has ended")?,
        (Change::Role(role), ..) => writeln!(out, "{name} is {}", role.name())?,
        (Change::Disable, ..) => writeln!(out, "{name} is disabled; every session of the person has ended")?,
        (Change::Enable | Change::Link, ..) => writeln!(out, "{name} is enabled")?,
    }
    Ok(())
}

/// Returns the address of a link to log in.
fn address(settings: &config::Operator, secret: &str) -> String {
    let url = settings.console_public_url.clone().unwrap_or_else(|| format!("http://{}", settings.console_addr));
    format!("{url}/login?token={secret}")
}

fn read_password() -> anyhow::Result<String> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("type the password, and end with Ctrl-D");
    }
    let mut password = String::new();
    stdin.read_to_string(&mut password).context("reading the password")?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

/// Makes a change and records it, in one transaction. `password` is the new one, if the change needs one. Returns the secret of a
/// link, if one was made.
///
/// # Errors
/// When there is no such person, the name is taken, or the database fails.
pub async fn apply(
    pool: &PgPool,
    actor: &Actor,
    name: &str,
    change: &Change,
    password: Option<&str>,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<String>> {
    let hash = password.map(credentials::hash).transpose()?;
    let mut tx = pool.begin().await?;
    let mut link = None;
    let mut details = json!({});
    match change {
        Change::Add(role) => {
            let added = console::add_person(&mut tx, name, *role, hash.as_deref(), now).await?;
            added.with_context(|| format!("there is a person called {name} already"))?;
            details = json!({ "role": role.name() });
        }
        Change::Password => {
            let id = find(&mut tx, name).await?;
            console::set_password(&mut tx, id, &hash.context("no password")?).await?;
            details = end_everything(&mut tx, id, name).await?;
        }
        Change::Link => {
            let (id, token) = (find(&mut tx, name).await?, Token::new()?);
            console::add_login_link(&mut tx, &token.digest, id, now + LINK_LASTS).await?;
            link = Some(token.secret);
        }
        Change::Role(role) => {
            find(&mut tx, name).await?;
            console::set_role(&mut tx, name, *role).await?;
            details = json!({ "role": role.name() });
        }
        Change::Disable | Change::Enable => {
            let since = (*change == Change::Disable).then_some(now);
            let id = console::set_disabled(&mut tx, name, since).await?;
            let id = id.with_context(|| nobody(name))?;
            if since.is_some() {
                details = end_everything(&mut tx, id, name).await?;
            }
        }
    }
    let action = Action { name: change.action(), subject: Some(name), details };
    audit_log::record(&mut tx, actor, &action, now).await?;
    tx.commit().await?;
    Ok(link)
}

fn nobody(name: &str) -> String {
    format!("there is no person called {name}; `jobrun console user list` lists them")
}

async fn find(conn: &mut PgConnection, name: &str) -> anyhow::Result<i64> {
    Ok(console::find_login(conn, name).await?.with_context(|| nobody(name))?.id)
}

/// Ends the sessions of a person and its links, and forgets failed attempts to log in.
async fn end_everything(conn: &mut PgConnection, id: i64, name: &str) -> anyhow::Result<Value> {
    let ended = console::end_sessions(&mut *conn, id, None).await?;
    console::remove_login_links(&mut *conn, id).await?;
    console::forget_attempts(conn, &format!("name:{name}")).await?;
    Ok(json!({ "sessionsEnded": ended }))
}

/// Prints the people.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn list(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let pool = connect_migrated(settings).await?;
    let people = console::list_people(&mut *pool.acquire().await?, clock::now(), LISTED).await?;
    let mut out = table::stdout();
    if json {
        let people: Value = people.iter().map(as_json).collect();
        return Ok(writeln!(out, "{people:#}")?);
    }
    if people.is_empty() {
        return Ok(writeln!(out, "there is nobody; `jobrun console user add NAME --role admin` adds the first")?);
    }
    let row = |person: &Person| {
        let last = person.last_login_at.map_or_else(|| "never".to_owned(), |at| at.format(MINUTE).to_string());
        let state = if person.disabled_at.is_some() { "disabled" } else { "enabled" };
        vec![person.name.clone(), person.role.name().to_owned(), state.to_owned(), person.sessions.to_string(), last]
    };
    Ok(table::print(&mut out, &COLUMNS, people.iter().map(row).collect())?)
}

fn as_json(person: &Person) -> Value {
    json!({
        "name": person.name,
        "role": person.role.name(),
        "disabledAt": person.disabled_at,
        "sessions": person.sessions,
        "lastLoginAt": person.last_login_at,
        "createdAt": person.created_at,
    })
}

/// Makes a link for the person `admin`, who is added first if there is nobody yet. Returns its secret, or nothing if there are
/// people, and none of them is an enabled `admin` who has not logged in yet: the output of a program may be kept in a log.
///
/// # Errors
/// When the database fails.
pub async fn first_link(pool: &PgPool, now: DateTime<Utc>) -> anyhow::Result<Option<String>> {
    const ADMIN: &str = "admin";
    let people = console::list_people(&mut *pool.acquire().await?, now, LISTED).await?;
    if people.is_empty() {
        apply(pool, &operator(None), ADMIN, &Change::Add(Role::Admin), None, now).await?;
    } else if !people
        .iter()
        .any(|person| person.name == ADMIN && person.disabled_at.is_none() && person.last_login_at.is_none())
    {
        return Ok(None);
    }
    apply(pool, &operator(None), ADMIN, &Change::Link, None, now).await
}
