//! What the pages share: the frame around them, tables, and words for times, states and amounts.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Html;
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use jobrun_shared::clock;
use jobrun_shared::db::console::{LoggedIn, Role};
use jobrun_shared::db::stops::{self, Stop};

use crate::app::App;
use crate::assets::{ADDRESSES, Addresses};
use crate::error::PageError;
use crate::guard;
use crate::mask::{Mask, shown};

/// What every page has: its title, the person who reads it, and the time.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The title.
    pub title: String,
    /// The entry of the menu that leads here.
    pub section: &'static str,
    /// The address of this page.
    pub here: String,
    /// The reader.
    pub person: LoggedIn,
    /// The time at which the page was made.
    pub now: DateTime<Utc>,
    /// Hides phone numbers from viewers.
    pub mask: Mask,
    /// The style sheet and the scripts.
    pub assets: &'static Addresses,
    /// Whether people log in through a proxy.
    pub through_proxy: bool,
    /// The stops that last, which every page names.
    pub stops: Vec<Stop>,
}

impl FromRequestParts<App> for Frame {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        // The guard has put the person there; a route without it has no frame.
        let person = parts.extensions.get::<LoggedIn>().cloned().ok_or(PageError::Forbidden)?;
        Ok(Self {
            title: String::new(),
            section: "",
            here: guard::here(&parts.uri),
            mask: Mask { hides: person.role == Role::Viewer },
            person,
            now: clock::now(),
            assets: &ADDRESSES,
            through_proxy: app.settings.proxy_header.is_some(),
            stops: stops::list(&mut *app.pool.acquire().await?).await?,
        })
    }
}

impl Frame {
    /// Returns the frame with a title, in a section of the menu.
    #[must_use]
    pub fn titled(self, title: impl Into<String>, section: &'static str) -> Self {
        Self { title: title.into(), section, ..self }
    }

    /// Returns the frame with another address.
    #[must_use]
    pub fn at(self, here: &str) -> Self {
        Self { here: here.to_owned(), ..self }
    }

    /// Returns whether the reader has the rights of `role`.
    #[must_use]
    pub fn may(&self, role: &str) -> bool {
        Role::named(role).is_some_and(|role| self.person.role >= role)
    }

    /// Returns a point in time, as HTML.
    #[must_use]
    pub fn time(&self, at: &DateTime<Utc>) -> String {
        let format = if at.year() == self.now.year() { "%-d %b %H:%M" } else { "%-d %b %Y" };
        self.time_tag(at, &at.format(format).to_string())
    }

    /// Returns how long ago a point in time is, or how far ahead, as HTML.
    #[must_use]
    pub fn ago(&self, at: &DateTime<Utc>) -> String {
        let past = self.now - *at;
        let words = if past < TimeDelta::zero() { format!("in {}", duration(-past)) } else { duration(past) };
        self.time_tag(at, &words)
    }

    #[expect(clippy::unused_self, reason = "called beside the others")]
    fn time_tag(&self, at: &DateTime<Utc>, words: &str) -> String {
        format!(
            r#"<time datetime="{}" title="{}">{words}</time>"#,
            at.format("%Y-%m-%dT%H:%M:%SZ"),
            at.format("%Y-%m-%d %H:%M:%S UTC")
        )
    }

    /// Returns a phone number for the reader.
    #[must_use]
    pub fn phone(&self, number: &str) -> String {
        self.mask.phone(number)
    }

    /// Returns a text that people wrote for the reader.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.mask.text(text)
    }

    /// Returns the name of a business, or words that say that it has none.
    #[must_use]
    pub fn business(&self, name: &str) -> String {
        if name.trim().is_empty() { "No name yet".to_owned() } else { self.mask.text(name) }
    }
}

/// Returns a duration in words, to about two digits: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
#[must_use]
pub fn duration(it: TimeDelta) -> String {
    let (days, hours, minutes) = (it.num_days(), it.num_hours(), it.num_minutes());
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", it.num_seconds()),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) if minutes % 60 == 0 => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) if days >= 7 || hours % 24 == 0 => format!("{days} d"),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

/// Returns the short name of a state of the conversation.
#[must_use]
pub fn state_words(state: &str) -> &str {
    match state {
        "S1_BUSINESS_TYPE_LOCATION" => "S1 Trade and place",
        "S2_BUSINESS_NAME" => "S2 Business name",
        "S3_OWNER_NAME" => "S3 Owner's name",
        "S4_NOTIFICATION_PREF" => "S4 Notifications",
        "S5_CONFIRM_LIVE" => "S5 Confirm and pay",
        "S6_PHONE_TYPE" => "S6 Phone type",
        "S7_FWD_SENT" => "S7 Forwarding sent",
        "S8_FWD_CONFIRM" => "S8 Forwarding check",
        "S9_TEST_CALL" => "S9 Test call",
        "COMPLETE" => "Complete",
        other => other,
    }
}

/// Returns a number with a comma after each thousand.
#[must_use]
pub fn thousands(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if count < 0 { format!("−{out}") } else { out }
}

/// How much attention something needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Under way.
    Info,
    /// Needs attention soon.
    Warn,
    /// Needs attention now.
    Bad,
    /// Of no interest.
    Mute,
}

impl Tone {
    /// Returns the class of the style sheet.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Mute => "mute",
        }
    }

    /// Returns the tone of a status, a state or an outcome.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "delivered" | "free" | "COMPLETE" | "active" | "bought" | "paid" | "applied" | "moved" => Self::Good,
            "failed" | "undelivered" | "late" | "ended" | "unreachable" => Self::Bad,
            "unknown" | "close" | "past_due" | "cooling" | "held back" | "opted out" | "waiting" | "drained"
            | "not_bought" | "awaited" | "deferred" => Self::Warn,
            "queued" | "sending" | "sent" | "held" | "intended" | "operator" | "admin" => Self::Info,
            _ => Self::Mute,
        }
    }
}

/// A piece of a cell.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text.
    Text(String),
    /// Text that is less important.
    Dim(String),
    /// A link.
    Link {
        /// Its address.
        href: String,
        /// Its text.
        text: String,
    },
    /// A coloured word.
    Badge {
        /// The colour.
        tone: Tone,
        /// The word.
        text: String,
    },
    /// HTML of ours: a time.
    Time(String),
    /// A text that people wrote, of any length.
    Body(String),
    /// A name that machines gave.
    Code(String),
    /// Text behind a word that opens it.
    More {
        /// The word.
        summary: &'static str,
        /// The text.
        body: String,
    },
    /// A box to choose the row by.
    Choice {
        /// The value that is sent for the row.
        value: String,
        /// The words that name the box, for those who hear the page.
        label: String,
    },
    /// The following pieces are on a line of their own.
    Line,
}

/// A cell of a table. No text in it reorders a line, wherever the text comes from.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Its pieces.
    pub parts: Vec<Part>,
    /// Whether it is aligned on the right.
    pub is_count: bool,
}

/// The most characters of a text that a cell shows at once.
const BODY_SHOWN: usize = 240;

impl Cell {
    /// An empty cell.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds text.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(Part::Text(shown(&text.into())))
    }

    /// Adds less important text.
    #[must_use]
    pub fn dim(self, text: impl Into<String>) -> Self {
        self.with(Part::Dim(shown(&text.into())))
    }

    /// Adds a link.
    #[must_use]
    pub fn link(self, href: impl Into<String>, text: impl Into<String>) -> Self {
        self.with(Part::Link { href: href.into(), text: shown(&text.into()) })
    }

    /// Adds a coloured word.
    #[must_use]
    pub fn badge(self, tone: Tone, text: impl Into<String>) -> Self {
        self.with(Part::Badge { tone, text: shown(&text.into()) })
    }

    /// Adds a point in time.
    #[must_use]
    pub fn time(self, frame: &Frame, at: &DateTime<Utc>) -> Self {
        self.with(Part::Time(frame.time(at)))
    }

    /// Adds how long ago a point in time is.
    #[must_use]
    pub fn ago(self, frame: &Frame, at: &DateTime<Utc>) -> Self {
        self.with(Part::Time(frame.ago(at)))
    }

    /// Adds a text that people wrote. The rest of a long one is behind a word that opens it.
    #[must_use]
    pub fn body(self, text: impl Into<String>) -> Self {
        let text = shown(&text.into());
        if text.chars().count() <= BODY_SHOWN {
            return self.with(Part::Body(text));
        }
        let beginning: String = text.chars().take(BODY_SHOWN).chain(['…']).collect();
        self.with(Part::Body(beginning)).more("Whole text", text)
    }

    /// Adds a name that machines gave.
    #[must_use]
    pub fn code(self, text: impl Into<String>) -> Self {
        self.with(Part::Code(shown(&text.into())))
    }

    /// Adds text behind a word that opens it.
    #[must_use]
    pub fn more(self, summary: &'static str, body: impl Into<String>) -> Self {
        self.with(Part::More { summary, body: shown(&body.into()) })
    }

    /// Adds a box to choose the row by, for a page with a [`Choosing`].
    #[must_use]
    pub fn choice(self, value: impl Into<String>, label: impl Into<String>) -> Self {
        self.with(Part::Choice { value: value.into(), label: label.into() })
    }

    /// Begins a line.
    #[must_use]
    pub fn line(self) -> Self {
        self.with(Part::Line)
    }

    /// Adds a client: a link to its story, if it is one's.
    #[must_use]
    pub fn client(self, frame: &Frame, id: Option<&str>, name: Option<&str>) -> Self {
        match id {
            Some(id) => self.link(client_path(id), frame.business(name.unwrap_or_default())),
            None => self.dim("no client"),
        }
    }

    /// Aligns it on the right.
    #[must_use]
    pub fn count(mut self) -> Self {
        self.is_count = true;
        self
    }
}

/// Returns the address of a client's story.
#[must_use]
pub fn client_path(id: &str) -> String {
    format!("/clients/{}", encoded(id))
}

/// Returns `text` as a part of an address.
#[must_use]
pub fn encoded(text: &str) -> String {
    // A space is `%20` in a path as well as in a query.
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A table, with the title above it, and the link to its next page below it.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The title; empty if the page's title says it.
    pub title: &'static str,
    /// A sentence about it.
    pub note: String,
    /// The heads of the columns.
    pub columns: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// The words in place of rows.
    pub empty: &'static str,
    /// The address of the next page.
    pub next: Option<String>,
    /// The words of the link to the next page.
    pub next_words: &'static str,
}

impl Table {
    /// Returns the cells of a row, each with the head of its column.
    #[must_use]
    pub fn headed<'a>(&'a self, row: &'a [Cell]) -> Vec<(&'static str, &'a Cell)> {
        self.columns.iter().copied().zip(row).collect()
    }
}

/// A choice that narrows a list.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The name of the parameter.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// The choices: value, words, whether it is chosen.
    pub choices: Vec<(String, String, bool)>,
}

impl Filter {
    /// A filter with these values and words. The first choice is everything.
    #[must_use]
    pub fn new(name: &'static str, label: &'static str, chosen: Option<&str>, choices: &[(&str, &str)]) -> Self {
        let chosen = chosen.unwrap_or_default();
        let choice = |(value, words): &(&str, &str)| ((*value).to_owned(), (*words).to_owned(), *value == chosen);
        Self { name, label, choices: choices.iter().map(choice).collect() }
    }
}

/// A field to search in.
#[derive(Clone, Debug)]
pub struct Search {
    /// The name of the parameter.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// What it is for, in the empty field.
    pub hint: &'static str,
    /// The words that were searched for.
    pub words: String,
}

/// A form that does something with the rows that the reader chooses, or with all that match.
#[derive(Clone, Debug)]
pub struct Choosing {
    /// Where the form leads.
    pub path: &'static str,
    /// The filters of the list, so that all that match can be meant.
    pub filters: Vec<(&'static str, String)>,
    /// What can be done: value and words.
    pub actions: &'static [(&'static str, &'static str)],
}

/// A page of tables.
#[derive(Template, Debug)]
#[template(path = "list.html")]
pub struct ListPage {
    /// The frame.
    pub frame: Frame,
    /// A sentence about the page.
    pub intro: &'static str,
    /// The address of the list without filters.
    pub path: &'static str,
    /// The field to search in, if there is one.
    pub search: Option<Search>,
    /// The filters.
    pub filters: Vec<Filter>,
    /// Whether the page is not the first one of its list.
    pub is_later: bool,
    /// What can be done with chosen rows, if the reader may do something.
    pub choosing: Option<Choosing>,
    /// The tables.
    pub tables: Vec<Table>,
}

impl ListPage {
    /// A page without filters.
    #[must_use]
    pub const fn new(frame: Frame, path: &'static str, intro: &'static str, tables: Vec<Table>) -> Self {
        Self { frame, intro, path, search: None, filters: Vec::new(), is_later: false, choosing: None, tables }
    }

    /// Returns the page as a response.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn into_html(self) -> Result<Html<String>, PageError> {
        Ok(Html(self.render()?))
    }
}

/// Returns an address with the parameters that have a value.
#[must_use]
pub fn address(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.filter(|it| !it.is_empty())?)));
    for (place, (name, value)) in given.enumerate() {
        let sign = if place == 0 { '?' } else { '&' };
        // Writing to a string cannot fail.
        let _ = write!(out, "{sign}{name}={}", encoded(value));
    }
    out
}

/// Returns a parameter that is not empty.
#[must_use]
pub fn given(parameter: Option<&String>) -> Option<&str> {
    parameter.map(|it| it.trim()).filter(|it| !it.is_empty())
}

/// Returns a point in time that an address holds, if it is one of these ages of the world.
#[must_use]
pub fn moment(microseconds: Option<i64>) -> Option<DateTime<Utc>> {
    let at = DateTime::<Utc>::from_timestamp_micros(microseconds?)?;
    (1..=9_999).contains(&at.year()).then_some(at)
}

/// The ages that lists are filtered by.
pub const AGES: [(&str, &str); 6] = [
    ("", "Any age"),
    ("1m", "Over a minute"),
    ("10m", "Over 10 minutes"),
    ("1h", "Over an hour"),
    ("1d", "Over a day"),
    ("7d", "Over a week"),
];

/// Returns the time before which something is older than `age`, one of [`AGES`].
#[must_use]
pub fn older_than(age: Option<&str>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let delta = match age? {
        "1m" => TimeDelta::minutes(1),
        "10m" => TimeDelta::minutes(10),
        "1h" => TimeDelta::hours(1),
        "1d" => TimeDelta::days(1),
        "7d" => TimeDelta::days(7),
        _ => return None,
    };
    Some(now - delta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let words = |seconds| duration(TimeDelta::seconds(seconds));
        assert_eq!([words(0), words(59), words(60), words(3_600)], ["0 s", "59 s", "1 min", "1 h"]);
        assert_eq!([words(5_000), words(90_000), words(900_000)], ["1 h 23 min", "1 d 1 h", "10 d"]);
    }

    #[test]
    fn addresses_keep_their_parameters() {
        let parameters = [("q", Some("a&b c")), ("state", None), ("before", Some("5"))];
        assert_eq!(address("/clients", &parameters), "/clients?q=a%26b%20c&before=5");
        assert_eq!(address("/clients", &[("q", Some(""))]), "/clients");
        assert_eq!([thousands(1_234_567), thousands(12), thousands(-1_000)], ["1,234,567", "12", "−1,000"]);
    }
}
