//! One client's story as a conversation, with the facts beside it.

use askama::Template;
use axum::extract;
use axum::extract::{Path, Query};
use axum::response::Html;
use chrono::{DateTime, NaiveDate, Utc};
use jobrun_credentials::Token;
use jobrun_onboarding::action::{Action, Refused};
use jobrun_onboarding::{State, Takeover, TextKind};
use jobrun_shared::db::audit_log::{self, Entry};
use jobrun_shared::db::history::{self, Before, EntryKind, EventOutcome, Header, TextOut, TimelineEntry};
use jobrun_shared::db::listing::NEWEST;
use jobrun_shared::words;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::{self, Frame, Tone, client_path, moment, state_words};

/// How many entries of each table a page shows.
const ENTRIES: i64 = 150;

/// How many actions of operators are shown.
const ACTIONS: i64 = 10;

/// Where the story is to end.
#[derive(Debug, Deserialize)]
pub struct Parameters {
    /// The time, and the ids, as in [`Before`].
    before: Option<i64>,
    event: Option<i64>,
    text: Option<i64>,
}

impl Parameters {
    fn end(&self) -> Option<Before> {
        let (event_id, text_id) = (self.event.unwrap_or(i64::MAX), self.text.unwrap_or(i64::MAX));
        moment(self.before).map(|at| Before { at, event_id, text_id })
    }
}

#[derive(Template)]
#[template(path = "client.html")]
struct ClientPage {
    frame: Frame,
    client: Header,
    name: String,
    phone: String,
    number: Option<String>,
    state_words: String,
    state_tone: Tone,
    payment: (Tone, String),
    answers: Vec<(String, String)>,
    days: Vec<Day>,
    earlier: Option<String>,
    is_earlier: bool,
    actions: Vec<ActionView>,
    takeover: Option<TakeoverView>,
    /// The address of the forms.
    act_at: String,
    /// Names the next action, so that a form that is sent twice acts once.
    form_name: String,
    states: [(&'static str, &'static str); 10],
    /// The state of the client, as a form to move it names it.
    seen_state: String,
    draft: Draft,
}

/// The takeover that is in force.
struct TakeoverView {
    by: String,
    is_own: bool,
    ends_at: Option<DateTime<Utc>>,
}

impl TakeoverView {
    fn of(frame: &Frame, takeover: &Takeover) -> Self {
        Self { by: frame.text(&takeover.by), is_own: takeover.by == frame.person.name, ends_at: takeover.ends_at() }
    }
}

struct ActionView {
    at: DateTime<Utc>,
    who: String,
    action: String,
    why: String,
}

/// The entries of a day.
struct Day {
    date: String,
    entries: Vec<Item>,
}

/// An entry, as the page shows it.
struct Item {
    at: DateTime<Utc>,
    /// `in`, `out` or `step`.
    side: &'static str,
    /// The words before a step: Call, Payment, Number.
    what: &'static str,
    /// The text, or the step in words.
    body: String,
    /// The colour and the words below it: the delivery, the outcome.
    notes: Vec<(&'static str, String)>,
}

/// Shows the story.
///
/// # Errors
/// [`PageError::NotFound`], or when the database fails.
pub async fn show(
    extract::State(app): extract::State<App>,
    frame: Frame,
    Path(id): Path<String>,
    Query(asked): Query<Parameters>,
) -> Result<Html<String>, PageError> {
    render(&app, frame, &id, asked.end(), Draft::default()).await
}

/// What an operator typed into a form that is shown again, and why it is.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The problem, in a sentence. Empty if there is none.
    pub problem: String,
    /// The words of the reply.
    pub body: String,
}

/// Returns the page, with the forms as `draft` says.
///
/// # Errors
/// [`PageError::NotFound`], or when the database fails.
pub async fn render(
    app: &App,
    frame: Frame,
    id: &str,
    before: Option<Before>,
    draft: Draft,
) -> Result<Html<String>, PageError> {
    let end = before.unwrap_or(Before::EVERYTHING);
    let story = history::find_recent(&app.pool, id, end, ENTRIES).await?.ok_or(PageError::NotFound)?;
    let actions = if frame.mask.hides {
        Vec::new()
    } else {
        audit_log::list(&mut *app.pool.acquire().await?, Some(id), NEWEST, ACTIONS).await?
    };
    let client = story.client;
    let name = frame.business(&client.business_name);
    let frame = frame.titled(name.clone(), "clients");
    let page = ClientPage {
        name,
        phone: frame.phone(&client.phone),
        number: client.number.as_ref().map(|number| frame.phone(number)),
        state_words: state_words(state_of(&client)).to_owned(),
        state_tone: Tone::of(state_of(&client)),
        payment: payment(&client),
        answers: answers(&frame, &client),
        days: days(&frame, &client, &app.settings.onboarding_number, &story.entries),
        earlier: story.earlier.map(|it| earlier_path(id, &it)),
        is_earlier: before.is_some(),
        actions: actions.iter().map(|entry| action_view(&frame, entry)).collect(),
        takeover: client.takeover.as_ref().map(|takeover| TakeoverView::of(&frame, takeover)),
        act_at: format!("{}/actions", client_path(id)),
        form_name: Token::new()?.secret,
        states: State::ALL.map(|state| (state.name(), view::state_words(state.name()))),
        seen_state: state_of(&client).to_owned(),
        draft,
        client,
        frame,
    };
    Ok(Html(page.render()?))
}

fn earlier_path(id: &str, before: &Before) -> String {
    let (at, event, text) = (before.at.timestamp_micros(), before.event_id, before.text_id);
    format!("{}?before={at}&event={event}&text={text}", client_path(id))
}

fn state_of(client: &Header) -> &str {
    client.state.as_deref().unwrap_or("S1_BUSINESS_TYPE_LOCATION")
}

fn payment(client: &Header) -> (Tone, String) {
    let standing = client.payment_standing.replace('_', " ");
    match (client.payment_active, client.payment_standing.as_str()) {
        (true, "active" | "none") => (Tone::Good, "paid".to_owned()),
        (true, other) => (Tone::of(other), format!("{standing}; the gate is open")),
        (false, "none") => (Tone::Mute, "not paid".to_owned()),
        (false, other) => (Tone::of(other), standing_words(other).to_owned()),
    }
}

fn standing_words(standing: &str) -> &str {
    match standing {
        "past_due" => "past due",
        other => other,
    }
}

fn answers(frame: &Frame, client: &Header) -> Vec<(String, String)> {
    let fields = client.collected.as_ref().and_then(|collected| collected.as_object());
    let answer = |(name, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = match name.as_str() {
            "businessTypeLocation" => "Trade and place",
            "businessName" => "Business",
            "ownerName" => "Owner",
            "notificationPref" => "Notifications",
            "phoneType" => "Phone type",
            "network" => "Network",
            other => other,
        };
        (frame.text(name), frame.text(&value))
    };
    fields.into_iter().flatten().map(answer).collect()
}

fn action_view(frame: &Frame, entry: &Entry) -> ActionView {
    ActionView {
        at: entry.at,
        who: frame.text(&entry.who),
        action: entry.action.replace(['.', '_'], " "),
        why: entry.why.as_ref().map(|why| frame.text(why)).unwrap_or_default(),
    }
}

fn days(frame: &Frame, client: &Header, onboarding_number: &str, entries: &[TimelineEntry]) -> Vec<Day> {
    let mut days: Vec<(NaiveDate, Day)> = Vec::new();
    let mut state: Option<&str> = None;
    for entry in entries {
        let date = entry.at.date_naive();
        if days.last().is_none_or(|(last, _)| *last != date) {
            let shown = date.format("%A, %-d %B %Y").to_string();
            days.push((date, Day { date: shown, entries: Vec::new() }));
        }
        let Some((_, day)) = days.last_mut() else { continue };
        let item = item(frame, client, onboarding_number, entry);
        day.entries.push(item);
        // A change of state is a line of its own, after the text that led to it.
        if let Some(now) = outcome_of(&entry.what).and_then(|it| it.state.as_deref())
            && state.replace(now).is_some_and(|before| before != now)
        {
            let body = format!("moved to {}", state_words(now));
            day.entries.push(Item { at: entry.at, side: "step", what: "State", body, notes: Vec::new() });
        }
    }
    days.into_iter().map(|(_, day)| day).collect()
}

const fn outcome_of(entry: &EntryKind) -> Option<&EventOutcome> {
    match entry {
        EntryKind::TextIn { heard, .. }
        | EntryKind::CallArrived { heard, .. }
        | EntryKind::CallEnded { heard, .. }
        | EntryKind::OperatorAction { heard, .. }
        | EntryKind::Event { heard, .. } => Some(heard),
        EntryKind::OptChange { .. } | EntryKind::Payment { .. } | EntryKind::Number { .. } | EntryKind::TextOut(_) => {
            None
        }
    }
}

fn item(frame: &Frame, client: &Header, onboarding_number: &str, entry: &TimelineEntry) -> Item {
    let step = |what, body| Item { at: entry.at, side: "step", what, body, notes: Vec::new() };
    let caller = |from: &str| {
        if from == client.phone { "the client's own phone".to_owned() } else { frame.phone(from) }
    };
    match &entry.what {
        EntryKind::TextIn { to, body, heard } => {
            let mut notes = vec![note_of(frame, heard)];
            if to != onboarding_number {
                notes.push(("mute", format!("to {}", frame.phone(to))));
            }
            Item { at: entry.at, side: "in", what: "", body: frame.text(body), notes }
        }
        EntryKind::CallArrived { from, .. } => step("Call", format!("from {}", caller(from))),
        EntryKind::CallEnded { from, status, .. } => {
            step("Call", format!("from {} is over: {}", caller(from), frame.text(status)))
        }
        EntryKind::OperatorAction { by, why, action, heard } => {
            let why = why.as_ref().map(|why| format!(", because: {why}")).unwrap_or_default();
            let did = format!("{by} {}{why}", words::action_words(action));
            let refused = heard.outcome.as_deref().is_none_or(|outcome| Refused::from_name(outcome).is_some());
            let outcome = if refused { format!(" ({})", words::outcome_words(heard)) } else { String::new() };
            // A reply that was not sent is shown here: it stands nowhere else.
            let words = match action {
                Action::Reply { body } if refused => format!(": {body}"),
                _ => String::new(),
            };
            step("Operator", frame.text(&format!("{did}{outcome}{words}")))
        }
        EntryKind::Event { event, heard } => {
            let outcome = heard.outcome.as_deref().unwrap_or("not looked at yet");
            step("Event", format!("{}: {}", words::event_words(event), frame.text(outcome)))
        }
        EntryKind::OptChange { change } => {
            step("Texts", if change == "out" { "opted out" } else { "opted in again" }.to_owned())
        }
        EntryKind::Payment { stripe_kind, amount, currency, status, .. } => {
            let amount = amount.zip(currency.as_deref()).map(|(amount, currency)| words::money(amount, currency));
            let status = status.as_ref().map(|status| format!(": {}", status.replace('_', " ")));
            let amount = amount.map(|amount| format!(", {amount}"));
            let (status, amount) = (status.unwrap_or_default(), amount.unwrap_or_default());
            step("Payment", format!("{}{status}{amount}", words::payment_words(stripe_kind)))
        }
        EntryKind::Number { number, change, why } => {
            step("Number", format!("{} {}: {}", frame.phone(number), change.replace('_', " "), frame.text(why)))
        }
        EntryKind::TextOut(text) => {
            let notes = delivery_notes(frame, text);
            Item { at: entry.at, side: "out", what: "", body: frame.text(&text.body), notes }
        }
    }
}

fn note_of(frame: &Frame, heard: &EventOutcome) -> (&'static str, String) {
    match &heard.outcome {
        None => ("warn", "not looked at yet".to_owned()),
        Some(outcome) => (Tone::of(outcome).class(), frame.text(outcome).replace('_', " ")),
    }
}

fn delivery_notes(frame: &Frame, text: &TextOut) -> Vec<(&'static str, String)> {
    let status = if text.held_back { "held back" } else { &text.status };
    let mut notes = vec![(Tone::of(status).class(), status.to_owned())];
    if let Some(why) = &text.why {
        let code = text.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
        notes.push(("mute", format!("{}{code}", frame.text(why))));
    }
    if text.second_try {
        notes.push(("mute", "second try".to_owned()));
    }
    if text.attempts > 1 {
        notes.push(("mute", format!("{} attempts", text.attempts)));
    }
    if let Some(at) = text.next_attempt_at.filter(|_| ["queued", "unknown"].contains(&text.status.as_str())) {
        notes.push(("mute", format!("next at {}", at.format("%H:%M:%S UTC"))));
    }
    notes.push(("mute", frame.text(&text.text_kind).replace('_', " ")));
    if TextKind::from_name(&text.text_kind).is_some_and(TextKind::is_to_a_caller) {
        notes.push(("mute", format!("to {}", frame.phone(&text.to))));
    }
    notes
}
