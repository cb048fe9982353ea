//! Events of the inbox.

use axum::extract::{Query, State};
use axum::response::Html;
use jobrun_shared::db::inbox::Payload;
use jobrun_shared::db::listing::{self, EventFilter, EventRow, LOOKED_THROUGH, NEWEST, Page};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::view::{
    AGES, Cell, Filter, Frame, ListPage, Search, Table, Tone, address, given, older_than, state_words, thousands,
};

const PATH: &str = "/events";

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    show: Option<String>,
    kind: Option<String>,
    outcome: Option<String>,
    age: Option<String>,
    before: Option<i64>,
}

const KINDS: [(&str, &str); 15] = [
    ("", "Any kind"),
    ("text", "Text"),
    ("call_arrived", "Call arrived"),
    ("call_ended", "Call ended"),
    ("recording_made", "Message left"),
    ("delivery_report", "Delivery report"),
    ("stripe", "Stripe"),
    ("payment_changed", "Payment changed"),
    ("number_due", "Number due"),
    ("reminder_due", "Reminder due"),
    ("forwarding_check_due", "Forwarding check due"),
    ("number_lost", "Number lost"),
    ("opted_out", "Opted out"),
    ("unreachable", "Unreachable"),
    ("reached", "Reached"),
];

/// Shows events.
///
/// # Errors
/// When the database fails.
pub async fn show(
    State(app): State<App>,
    frame: Frame,
    Query(asked): Query<Parameters>,
) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Events", "events");
    let filter = EventFilter {
        only_waiting: given(asked.show.as_ref()) == Some("waiting"),
        kind: given(asked.kind.as_ref()).map(str::to_owned),
        outcome: given(asked.outcome.as_ref()).map(str::to_owned),
        received_before: older_than(given(asked.age.as_ref()), frame.now),
    };
    let before = asked.before.unwrap_or(NEWEST);
    let page = listing::list_events(&mut *app.pool.acquire().await?, &filter, before).await?;
    let table = table(&frame, &asked, page);
    let intro = "Everything that has happened, newest first: texts, calls, reports, payments.";
    let mut page = ListPage::new(frame, PATH, intro, vec![table]);
    page.search = Some(Search {
        name: "outcome",
        label: "Outcome",
        hint: "moved",
        words: given(asked.outcome.as_ref()).unwrap_or_default().to_owned(),
    });
    page.filters = vec![
        Filter::new("show", "Show", given(asked.show.as_ref()), &[("", "All"), ("waiting", "Waiting")]),
        Filter::new("kind", "Kind", given(asked.kind.as_ref()), &KINDS),
        Filter::new("age", "Age", given(asked.age.as_ref()), &AGES),
    ];
    page.is_later = asked.before.is_some();
    page.into_html()
}

fn table(frame: &Frame, asked: &Parameters, page: Page<EventRow>) -> Table {
    let next = page.next.map(|id| {
        let parameters = [
            ("show", given(asked.show.as_ref())),
            ("kind", given(asked.kind.as_ref())),
            ("outcome", given(asked.outcome.as_ref())),
            ("age", given(asked.age.as_ref())),
            ("before", Some(&*id.to_string())),
        ];
        address(PATH, &parameters)
    });
    let looked = format!("Found among {} events, newest first.", thousands(LOOKED_THROUGH as i64));
    Table {
        columns: vec!["Arrived", "Kind", "Client", "Content", "Outcome"],
        rows: page.rows.iter().map(|event| row(frame, event)).collect(),
        note: if page.is_cut { looked } else { String::new() },
        empty: "There is no such event here.",
        next,
        next_words: if page.is_cut { "Look through older events" } else { "Older events" },
        ..Table::default()
    }
}

fn row(frame: &Frame, event: &EventRow) -> Vec<Cell> {
    let client = Cell::new().client(frame, event.client_id.as_deref(), event.business_name.as_deref());
    vec![
        Cell::new().time(frame, &event.received_at),
        Cell::new().text(event.kind.replace('_', " ")).line().dim(event.source.clone()),
        client.line().dim(frame.text(&event.lane)),
        content(frame, event).line().code(event.external_id.clone()),
        outcome(frame, event),
    ]
}

/// The words of the event. The whole payload is for operators: Stripe's names the payer.
fn content(frame: &Frame, event: &EventRow) -> Cell {
    let cell = match serde_json::from_value(event.payload.clone()) {
        Ok(Payload::Text { body, .. }) => Cell::new().body(frame.text(&body)),
        Ok(Payload::CallArrived { from, .. }) => Cell::new().text(format!("from {}", frame.phone(&from))),
        Ok(Payload::CallEnded { from, status, .. }) => {
            Cell::new().text(format!("from {}: {}", frame.phone(&from), frame.text(&status)))
        }
        Ok(Payload::DeliveryReport { status, error_code, .. }) => {
            let code = error_code.map(|code| format!(" ({code})")).unwrap_or_default();
            Cell::new().text(format!("{}{code}", frame.text(&status)))
        }
        Ok(Payload::Stripe { event, .. }) => {
            Cell::new().text(event.get("type").and_then(|it| it.as_str()).unwrap_or("unreadable").to_owned())
        }
        Ok(_) | Err(_) => Cell::new(),
    };
    if frame.mask.hides {
        return cell;
    }
    let whole = serde_json::to_string_pretty(&event.payload).unwrap_or_default();
    cell.more("Payload", frame.text(&whole))
}

fn outcome(frame: &Frame, event: &EventRow) -> Cell {
    let Some(outcome) = &event.outcome else {
        let waiting = Cell::new().badge(Tone::Warn, if event.due_at.is_some() { "deferred" } else { "waiting" });
        return match &event.due_at {
            Some(at) => waiting.line().dim("due").ago(frame, at),
            None => waiting.line().ago(frame, &event.received_at),
        };
    };
    let cell = Cell::new().badge(Tone::of(outcome), frame.text(outcome));
    match &event.state {
        Some(state) => cell.line().dim(state_words(state)),
        None => cell,
    }
}
