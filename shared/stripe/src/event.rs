//! The envelope of Stripe's events.
//!
//! Only the fields that are needed to keep an event, and to identify it, are read here. Its content is read later (`facts.rs`), so
//! that an event which cannot be understood today is not lost.

use chrono::{DateTime, Utc};
use jobrun_json::{repair, storable};
use serde_json::Value;

/// The deepest nesting that is accepted. The row adds to it, and a row that could not be read back would block all others.
const DEPTH_MAX: usize = 64;

/// The longest id or type of an event that is accepted. Stripe's are far shorter.
const ID_BYTES_MAX: usize = 255;

/// An event as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Stripe's id for it: `evt_…`.
    pub id: String,
    /// Stripe's type for it.
    pub kind: String,
    /// Whether it is about real money.
    pub livemode: bool,
    /// The whole event. Characters that the database cannot store are replaced.
    pub event: Value,
}

impl Incoming {
    /// Returns when it happened, in whole seconds, by Stripe's clock.
    #[must_use]
    pub fn created_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.event.get("created")?.as_i64()?, 0)
    }
}

/// The content of a body that Stripe signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An event.
    Event(Incoming),
    /// A thin event, which only says where to fetch its data. We subscribe to none.
    Thin,
}

/// The reason why a body is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnEvent {
    /// It is not JSON.
    NotJson,
    /// A field that every event has is missing, or is of another type.
    Missing(&'static str),
    /// It is nested deeper than anything that Stripe sends.
    TooDeep,
}

/// Reads a body. A broken character in it is replaced, and the rest is kept.
///
/// # Errors
/// When the body is no event: the error names the reason.
pub fn read(body: &[u8]) -> Result<Body, NotAnEvent> {
    read_value(serde_json::from_str(&repair(body)).map_err(|_| NotAnEvent::NotJson)?)
}

/// Reads an event of Stripe's list, which is the same event that a webhook brings.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_value(mut event: Value) -> Result<Body, NotAnEvent> {
    if event.get("object").and_then(Value::as_str) == Some("v2.core.event") {
        return Ok(Body::Thin);
    }
    if is_deeper_than(&event, DEPTH_MAX) {
        return Err(NotAnEvent::TooDeep);
    }
    make_storable(&mut event);
    let text = |name: &'static str| {
        let value =
            event.get(name).and_then(Value::as_str).filter(|value| !value.is_empty() && value.len() <= ID_BYTES_MAX);
        value.map(str::to_owned).ok_or(NotAnEvent::Missing(name))
    };
    let (id, kind) = (text("id")?, text("type")?);
    event.get("created").and_then(Value::as_i64).ok_or(NotAnEvent::Missing("created"))?;
    let livemode = event.get("livemode").and_then(Value::as_bool).ok_or(NotAnEvent::Missing("livemode"))?;
    event.pointer("/data/object").filter(|it| it.is_object()).ok_or(NotAnEvent::Missing("data.object"))?;
    Ok(Body::Event(Incoming { id, kind, livemode, event }))
}

fn is_deeper_than(value: &Value, depth: usize) -> bool {
    let within = |value: &Value| depth == 0 || is_deeper_than(value, depth - 1);
    match value {
        Value::Array(items) => items.iter().any(within),
        Value::Object(fields) => fields.values().any(within),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Replaces U+0000, the only character that PostgreSQL cannot store.
pub(crate) fn make_storable(value: &mut Value) {
    match value {
        Value::String(text) => *text = storable(text),
        Value::Array(items) => items.iter_mut().for_each(make_storable),
        Value::Object(fields) => {
            let named = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                make_storable(&mut value);
                (storable(&name), value)
            });
            fields.extend(named);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "livemode": false,
               "data": {"object": {"id": "in_1"}}, "api_version": "2031-01-01.whatever"})
    }

    fn read_text(event: &Value) -> Result<Body, NotAnEvent> {
        read(event.to_string().as_bytes())
    }

    #[test]
    fn a_whole_event_is_kept() {
        let expected = Incoming { id: "evt_1".into(), kind: "invoice.paid".into(), livemode: false, event: event() };
        assert_eq!(read_text(&event()), Ok(Body::Event(expected)));
        assert_eq!(read_text(&json!({"object": "v2.core.event"})), Ok(Body::Thin));
    }

    #[test]
    fn a_missing_or_mistyped_field_is_named() {
        for body in [&b"not JSON"[..], b"", b"{\"id\": \"evt_1\"", b"\xff{}", b"{\"n\": 1e999}"] {
            assert_eq!(read(body), Err(NotAnEvent::NotJson));
        }
        for name in ["id", "type", "created", "livemode"] {
            for wrong in [Value::Null, json!([1])] {
                let mut event = event();
                event[name] = wrong;
                assert_eq!(read_text(&event), Err(NotAnEvent::Missing(name)));
            }
        }
        for data in [Value::Null, json!({}), json!({"object": "in_1"})] {
            let mut event = event();
            event["data"] = data;
            assert_eq!(read_text(&event), Err(NotAnEvent::Missing("data.object")));
        }
        assert_eq!(read_text(&json!([])), Err(NotAnEvent::Missing("id")));
    }

    /// A stored event must be readable again, inside the row that contains it.
    #[test]
    fn an_event_that_could_not_be_read_back_is_refused() {
        for (depth, expected) in [(60, true), (62, true), (63, false), (90, false), (200, false)] {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let body = event().to_string().replace(r#""in_1""#, &nested);
            assert_eq!(read(body.as_bytes()).is_ok(), expected, "{depth}");
        }
        let mut event = event();
        event["id"] = json!("e".repeat(256));
        assert_eq!(read_text(&event), Err(NotAnEvent::Missing("id")));
    }

    #[test]
    fn an_event_with_any_character_is_accepted() {
        let mut event = event();
        event["data"]["object"] = json!({"name": "A\0B", "metadata": {"k\0": ["\0"]}});
        let Ok(Body::Event(read)) = read_text(&event) else { panic!("not read") };
        assert!(!read.event.to_string().contains("\\u0000"));
        assert_eq!(read.event["data"]["object"]["metadata"]["k\u{FFFD}"][0], "\u{FFFD}");

        let body = br#"{"id": "evt_1", "type": "invoice.paid", "created": 1, "livemode": false,
                        "data": {"object": {"name": "Ann \ud83d", "note": "\u0000\ud83d\ude00"}}}"#;
        let Ok(Body::Event(read)) = super::read(body) else { panic!("not read") };
        assert_eq!(read.event["data"]["object"], json!({"name": "Ann \u{FFFD}", "note": "\u{FFFD}😀"}));
    }
}
