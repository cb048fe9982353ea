//! Updates of open pages as server-sent events, and the stream of texts for terminals.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::phone_of;
use crate::control::phone as typed_phone;
use crate::{Direction, Message, State};

/// How many changes an open page may fall behind before it is told to load everything.
pub(crate) const CHANGES_KEPT: usize = 256;

/// How often a connection without changes is used, so that neither side takes it for dead.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// A change that open pages show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// On the phone of this number.
    Phone(String),
    /// Everywhere.
    Everything,
}

/// Returns the name of the event of a change on a phone. It is part of an attribute, so it has no plus sign.
pub(crate) fn event_of(number: &str) -> String {
    format!("phone-{}", number.trim_start_matches('+'))
}

impl State {
    /// Tells open pages that a phone has changed.
    pub(crate) fn changed(&self, number: &str) {
        // Without an open page there is no receiver.
        let _ = self.changes.send(Change::Phone(number.to_owned()));
    }

    /// Tells open pages to load everything.
    pub(crate) fn everything_changed(&self) {
        let _ = self.changes.send(Change::Everything);
    }

    /// Waits until an outbound text is added for this phone, two seconds at most: a page without scripts shows it at once.
    pub(crate) async fn wait_for_reply(&self, mut changes: Receiver<Change>, before: usize) {
        let reply = async {
            while self.message_count() == before && !matches!(changes.recv().await, Err(RecvError::Closed)) {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), reply).await;
    }

    pub(crate) fn message_count(&self) -> usize {
        self.taken.load(std::sync::atomic::Ordering::Acquire)
    }
}

pub(super) fn router() -> Router<Arc<State>> {
    Router::new().route("/phones/events", get(events)).route("/tail", get(tail))
}

async fn events(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let receiver = state.changes.subscribe();
    drop(state);
    // A page that connects again has missed changes. Browsers drop events without data.
    let all = || Event::default().event("all").data("changed");
    let changes = stream::unfold((receiver, true), move |(mut receiver, is_first)| async move {
        if is_first {
            return Some((Ok::<_, Infallible>(all()), (receiver, false)));
        }
        let event = match receiver.recv().await {
            Ok(Change::Phone(number)) => Event::default().event(event_of(&number)).data("changed"),
            Ok(Change::Everything) | Err(RecvError::Lagged(_)) => all(),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, false)))
    });
    Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_EVERY))
}

#[derive(Deserialize)]
struct TailQuery {
    phone: Option<String>,
    /// Only texts from now on.
    new: Option<String>,
}

/// Every text in both directions, then each new one. As lines of JSON for a caller that accepts them.
async fn tail(Shared(state): Shared<Arc<State>>, Query(query): Query<TailQuery>, headers: HeaderMap) -> Response {
    let is_json = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains("json"));
    let phone = query.phone.map(|phone| typed_phone(&phone));
    let from = if query.new.is_some() { state.messages().len() } else { 0 };
    let content_type = if is_json { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    let lines = texts_from(state, from).map_while_text(phone, is_json);
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(lines)).into_response()
}

/// The texts of the account from a position on, in batches as they come.
struct Texts<S>(S);

fn texts_from(state: Arc<State>, from: usize) -> Texts<impl Stream<Item = Vec<Message>> + Send> {
    let receiver = state.changes.subscribe();
    Texts(stream::unfold((state, receiver, from), |(state, mut receiver, from)| async move {
        loop {
            let (new, next) = {
                let messages = state.messages();
                // A reset leaves fewer than were read.
                let from = if from > messages.len() { 0 } else { from };
                (messages[from..].to_vec(), messages.len())
            };
            if !new.is_empty() {
                return Some((new, (state, receiver, next)));
            }
            if matches!(receiver.recv().await, Err(RecvError::Closed)) {
                return None;
            }
        }
    }))
}

impl<S: Stream<Item = Vec<Message>> + Send> Texts<S> {
    fn map_while_text(
        self,
        phone: Option<String>,
        is_json: bool,
    ) -> impl Stream<Item = Result<String, Infallible>> + Send {
        use futures::StreamExt;
        self.0.map(move |messages| {
            let wanted = messages.iter().filter(|it| phone.as_ref().is_none_or(|phone| phone == phone_of(it)));
            Ok(wanted.map(|message| if is_json { as_json_line(message) } else { as_lines(message) }).collect())
        })
    }
}

fn as_json_line(message: &Message) -> String {
    let direction = if message.direction == Direction::Inbound { "inbound" } else { "outbound" };
    let line = json!({
        "sid": message.sid, "at": message.date_created, "direction": direction, "from": message.from, "to": message.to,
        "status": message.status.name(), "error_code": message.error_code, "body": message.body,
    });
    format!("{line}\n")
}

fn as_lines(message: &Message) -> String {
    let Message { from, to, status, date_created, .. } = message;
    let mut lines = format!("{}  {from} -> {to}  ({})\n", date_created.format("%H:%M:%S"), status.name());
    for line in message.body.lines() {
        lines.extend(["  ", line, "\n"]);
    }
    lines + "\n"
}
