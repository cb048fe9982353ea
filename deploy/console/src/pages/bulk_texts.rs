//! Many texts at once: a page that shows what would happen and asks for a reason, and one that shows how far it is.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawForm, RawQuery, State};
use axum::response::{Html, Redirect};
use chrono::{DateTime, Utc};
use jobrun_credentials::Token;
use jobrun_shared::bulk_actions::{self, DryRun, Started, reason_words};
use jobrun_shared::clock;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::bulk_actions::{self as rows, CHOSEN_MAX, Kind, Progress, Selection};
use jobrun_shared::db::console::LoggedIn;
use jobrun_shared::db::listing::TextFilter;

use crate::app::App;
use crate::error::PageError;
use crate::view::{Frame, Tone, moment, older_than, thousands};

/// The address of the page that shows what would happen.
pub const PATH: &str = "/texts/bulk";

/// Of so many texts the page says what would happen to each: to look at all of them would take too long for a page.
const LOOKED_AT: usize = 500;

/// The most characters of a reason that are kept.
const WHY_MAX: usize = 500;

/// The fields that say which texts are meant. They are sent on from form to form.
const FIELDS: [&str; 6] = ["action", "which", "id", "status", "code", "age"];

/// A form, as it was sent. A field may be there several times.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Returns the action, and the texts that it is about, as the operator saw them at `until`.
    fn request(&self, until: DateTime<Utc>) -> Result<(Kind, Selection), PageError> {
        let kind = self.get("action").and_then(Kind::from_name);
        let kind = kind.ok_or(PageError::Invalid("Choose what to do with the texts"))?;
        let filter = TextFilter {
            status: self.get("status").map(str::to_owned),
            code: self.get("code").and_then(|code| code.parse().ok()),
            written_before: older_than(self.get("age"), until),
            ..TextFilter::default()
        };
        let ids = match self.get("which") {
            Some("all") => None,
            _ => Some(self.ids()?),
        };
        Ok((kind, Selection { filter, ids, until, limit: CHOSEN_MAX }))
    }

    fn ids(&self) -> Result<Vec<i64>, PageError> {
        let given = self.0.iter().filter(|(key, _)| key == "id").map(|(_, value)| value.parse::<i64>());
        let ids = given.collect::<Result<Vec<i64>, _>>().map_err(|_| PageError::Invalid("An id is a number"))?;
        if ids.is_empty() {
            return Err(PageError::Invalid("Go back and choose texts, or all that match the filter"));
        }
        Ok(ids)
    }

    /// Returns the fields that say which texts are meant.
    fn of_request(&self) -> Vec<(String, String)> {
        self.0.iter().filter(|(key, _)| FIELDS.contains(&key.as_str())).cloned().collect()
    }
}

/// The words of a page for an action.
struct Words {
    title: &'static str,
    button: &'static str,
    done: &'static str,
    none: &'static str,
}

const fn words_of(kind: Kind) -> Words {
    match kind {
        Kind::Replay => Words {
            title: "Send texts again",
            button: "Send again",
            done: "sent again",
            none: "No failed text is among them: only texts that failed or were not delivered can be sent again.",
        },
        Kind::Drop => Words {
            title: "Drop texts",
            button: "Drop",
            done: "dropped",
            none: "No queued text is among them: only texts that have not been sent can be dropped.",
        },
    }
}

#[derive(Template)]
#[template(path = "bulk_check.html")]
struct CheckPage {
    frame: Frame,
    words: Words,
    found: DryRun,
    fields: Vec<(String, String)>,
    until: i64,
    token: String,
    problem: &'static str,
}

impl CheckPage {
    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn count(&self, count: &i64) -> String {
        thousands(*count)
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn reason<'a>(&self, name: &'a str) -> &'a str {
        reason_words(name)
    }
}

/// Shows what would happen, and asks for a reason. Changes nothing.
///
/// # Errors
/// [`PageError::Invalid`], or when the database fails.
pub async fn check(State(app): State<App>, frame: Frame, RawQuery(query): RawQuery) -> Result<Html<String>, PageError> {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let until = frame.now;
    show_check(&app, frame, &fields, until, Token::new()?.secret, "").await
}

async fn show_check(
    app: &App,
    frame: Frame,
    fields: &Fields,
    until: DateTime<Utc>,
    token: String,
    problem: &'static str,
) -> Result<Html<String>, PageError> {
    let (kind, selection) = fields.request(until)?;
    let found = bulk_actions::dry_run(&app.pool, kind, &selection, LOOKED_AT, None, frame.now).await?;
    let words = words_of(kind);
    let page = CheckPage {
        frame: frame.titled(words.title, "texts").at(PATH),
        words,
        found,
        fields: fields.of_request(),
        until: until.timestamp_micros(),
        token,
        problem,
    };
    Ok(Html(page.render()?))
}

/// What follows when a form was sent.
#[derive(Debug)]
pub enum Next {
    /// The page that shows how far the action is.
    Progress(Redirect),
    /// The form again, because a field is missing.
    Form(Html<String>),
}

impl axum::response::IntoResponse for Next {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::Progress(to) => to.into_response(),
            Self::Form(page) => (axum::http::StatusCode::BAD_REQUEST, page).into_response(),
        }
    }
}

/// Begins an action, once for each form that was shown.
///
/// # Errors
/// [`PageError::Invalid`], or when the database fails.
pub async fn begin(
    State(app): State<App>,
    Extension(person): Extension<LoggedIn>,
    frame: Frame,
    RawForm(form): RawForm,
) -> Result<Next, PageError> {
    let fields = Fields::read(&form);
    let until = moment(fields.get("until").and_then(|it| it.parse().ok())).filter(|until| *until <= frame.now);
    let until = until.ok_or(PageError::Invalid("This form is not complete"))?;
    let token = fields.get("token").filter(|token| (40..=100).contains(&token.len()));
    let token = token.ok_or(PageError::Invalid("This form is not complete"))?;
    let Some(why) = fields.get("why") else {
        let page = show_check(&app, frame, &fields, until, token.to_owned(), "Say why, for the audit log.").await?;
        return Ok(Next::Form(page));
    };
    let (kind, selection) = fields.request(until)?;
    let actor = Actor { who: person.name, via: Via::Console, why: Some(why.chars().take(WHY_MAX).collect()) };
    let started = bulk_actions::start(&app.pool, kind, &selection, &actor, Some(token), clock::now()).await?;
    let id = match started {
        Started::Begun(begun) => begun.id,
        Started::Before(id) => id,
        Started::NoTexts => {
            let page = show_check(&app, frame, &fields, until, token.to_owned(), "").await?;
            return Ok(Next::Form(page));
        }
    };
    Ok(Next::Progress(Redirect::to(&format!("{PATH}/{id}"))))
}

#[derive(Template)]
#[template(path = "bulk_action.html")]
struct ProgressPage {
    frame: Frame,
    done_words: &'static str,
    progress: Progress,
    waiting: i64,
    share: i64,
}

impl ProgressPage {
    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn count(&self, count: &i64) -> String {
        thousands(*count)
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn reason<'a>(&self, name: &'a str) -> &'a str {
        reason_words(name)
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn tone(&self, status: &str) -> &'static str {
        Tone::of(status).class()
    }
}

/// Shows how far an action is.
///
/// # Errors
/// [`PageError::NotFound`], or when the database fails.
pub async fn show(State(app): State<App>, frame: Frame, Path(id): Path<i64>) -> Result<Html<String>, PageError> {
    let progress = rows::find(&mut *app.pool.acquire().await?, id).await?.ok_or(PageError::NotFound)?;
    let words = Kind::from_name(&progress.action).map(words_of);
    let settled = progress.done + progress.skipped;
    let page = ProgressPage {
        frame: frame.titled(words.as_ref().map_or("Texts", |words| words.title), "texts"),
        done_words: words.map_or("done", |words| words.done),
        waiting: if progress.finished_at.is_some() { 0 } else { progress.chosen - settled },
        share: 100 * settled / progress.chosen.max(1),
        progress,
    };
    Ok(Html(page.render()?))
}
