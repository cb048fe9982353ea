//! The part of an event that bookkeeping needs: Stripe's names, times, amounts and statuses. It has no name, e-mail, address, phone or
//! reference of a payer in it.
//!
//! What stays is listed, so that a field which Stripe adds is left out. `facts.rs` reads the same facts from it.

use serde_json::{Map, Value, json};

/// The fields of an event that stay.
const OF_EVENT: [&str; 6] = ["id", "object", "type", "api_version", "created", "livemode"];

/// The fields of its object that stay: numbers, times, statuses and words of Stripe's.
const OF_OBJECT: [&str; 14] = [
    "id",
    "object",
    "mode",
    "status",
    "payment_status",
    "currency",
    "created",
    "amount",
    "amount_total",
    "amount_paid",
    "amount_due",
    "amount_refunded",
    "refunded",
    "period_end",
];

/// The fields that name another object. Of one that is given as a whole, its name stays.
const NAMES: [&str; 7] =
    ["customer", "subscription", "invoice", "payment_intent", "charge", "latest_invoice", "dispute"];

/// The longest text that stays. Stripe's names and statuses are far shorter.
const TEXT_BYTES_MAX: usize = 255;

/// Returns the part of an event that bookkeeping needs.
#[must_use]
pub fn of_event(event: &Value) -> Value {
    let mut kept = plain_fields(event, &OF_EVENT);
    let mut data = Map::new();
    data.insert("object".to_owned(), of_object(event.pointer("/data/object").unwrap_or(&Value::Null)));
    if let Some(before) = event.pointer("/data/previous_attributes") {
        let mut fields = plain_fields(before, &["status"]);
        keep_pause(&mut fields, before);
        data.insert("previous_attributes".to_owned(), Value::Object(fields));
    }
    kept.insert("data".to_owned(), Value::Object(data));
    Value::Object(kept)
}

/// Returns the part of an event's object, or of a subscription, that bookkeeping needs.
#[must_use]
pub fn of_object(object: &Value) -> Value {
    let mut kept = plain_fields(object, &OF_OBJECT);
    kept.extend(names(object));
    keep_pause(&mut kept, object);
    if let Some(details) = object.pointer("/parent/subscription_details") {
        kept.insert("parent".to_owned(), json!({ "subscription_details": names(details) }));
    }
    if let Some(payment) = object.get("payment").filter(|it| it.is_object()) {
        kept.insert("payment".to_owned(), Value::Object(names(payment)));
    }
    if let Some(due_by) = object.pointer("/evidence_details/due_by").filter(|it| it.is_number()) {
        kept.insert("evidence_details".to_owned(), json!({ "due_by": due_by }));
    }
    keep_list(&mut kept, object, "payments", |payment| {
        let mut fields = plain_fields(payment, &["status"]);
        fields.insert("payment".to_owned(), Value::Object(payment.get("payment").map(names).unwrap_or_default()));
        fields
    });
    keep_list(&mut kept, object, "lines", |line| {
        let mut fields = plain_fields(line, &["amount"]);
        let period = line.get("period").map(|period| plain_fields(period, &["start", "end"]));
        fields.insert("period".to_owned(), Value::Object(period.unwrap_or_default()));
        fields
    });
    Value::Object(kept)
}

/// Returns the payer that an event is about, `cus_…`, also if it tells nothing that concerns us.
#[must_use]
pub fn payer(event: &Value) -> Option<String> {
    payer_of(event.pointer("/data/object")?)
}

/// Returns the payer that an object of Stripe's is or names.
#[must_use]
pub fn payer_of(object: &Value) -> Option<String> {
    let is_payer = object.get("object").and_then(Value::as_str) == Some("customer");
    if is_payer { name(object) } else { name(object.get("customer")?) }
}

fn plain_fields(value: &Value, fields: &[&str]) -> Map<String, Value> {
    let is_plain = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= TEXT_BYTES_MAX,
        Value::Array(_) | Value::Object(_) => false,
    };
    let kept = fields.iter().filter_map(|field| Some(((*field).to_owned(), value.get(field)?.clone())));
    kept.filter(|(_, value)| is_plain(value)).collect()
}

fn names(value: &Value) -> Map<String, Value> {
    NAMES.iter().filter_map(|field| Some(((*field).to_owned(), Value::String(name(value.get(field)?)?)))).collect()
}

/// Returns the name of an object that is given by its name or as a whole.
fn name(value: &Value) -> Option<String> {
    let name = value.as_str().or_else(|| value.get("id")?.as_str())?;
    (name.len() <= TEXT_BYTES_MAX).then(|| name.to_owned())
}

/// Keeps that a subscription is paused, without the details.
fn keep_pause(kept: &mut Map<String, Value>, value: &Value) {
    if let Some(pause) = value.get("pause_collection") {
        kept.insert("pause_collection".to_owned(), if pause.is_null() { Value::Null } else { json!({}) });
    }
}

fn keep_list(kept: &mut Map<String, Value>, object: &Value, name: &str, each: impl Fn(&Value) -> Map<String, Value>) {
    if let Some(items) = object.get(name).and_then(|list| list.get("data")).and_then(Value::as_array) {
        let items: Vec<Value> = items.iter().map(|item| Value::Object(each(item))).collect();
        kept.insert(name.to_owned(), json!({ "data": items }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{self, TYPES};

    /// An object with every field that is read, in both versions of the API, and with a payer in every place that Stripe has for one.
    fn object(is_old: bool) -> Value {
        let payer = json!({"id": "cus_1", "name": "Ann Smith", "email": "ann@example.com", "phone": "+447900123456"});
        let payment = json!({"payment_intent": {"id": "pi_1", "receipt_email": "ann@example.com"}, "charge": "ch_1"});
        let mut object = json!({
            "id": "x_1", "object": "thing", "mode": "subscription", "status": "failed", "payment_status": "paid",
            "customer": payer, "customer_details": payer, "customer_email": "ann@example.com", "customer_name": "Ann Smith",
            "billing_details": payer, "shipping": payer, "receipt_email": "ann@example.com", "client_reference_id": "Ann",
            "description": "for Ann Smith", "metadata": {"name": "Ann Smith"}, "custom_fields": [{"text": {"value": "Ann"}}],
            "currency": "gbp", "created": 7, "amount": 1, "amount_total": 2, "amount_paid": 3, "amount_due": 4,
            "amount_refunded": 5, "refunded": true, "period_end": 50, "evidence_details": {"due_by": 60},
            "pause_collection": {"behavior": "void"},
            "lines": {"data": [{"amount": 3, "description": "Ann", "period": {"start": 1, "end": 100}},
                               {"amount": -1, "period": {"end": 200}}]},
            "payment": payment, "payments": {"data": [{"status": "paid", "payment": payment}]},
        });
        if is_old {
            object["subscription"] = json!({"id": "sub_1", "metadata": {"name": "Ann"}});
            object["payment_intent"] = json!("pi_1");
            object["charge"] = json!({"id": "ch_1", "billing_details": payer});
            object["invoice"] = json!("in_1");
        } else {
            object["parent"] = json!({"subscription_details": {"subscription": "sub_1", "metadata": {"name": "Ann"}}});
        }
        object
    }

    #[test]
    fn the_same_facts_are_read_from_the_part_that_stays_and_no_payer_is_in_it() {
        for kind in TYPES {
            for is_old in [true, false] {
                let event = json!({
                    "id": "evt_1", "object": "event", "type": kind, "created": 1_700_000_000, "livemode": false,
                    "request": {"id": "Ann"},
                    "data": {"object": object(is_old),
                             "previous_attributes": {"status": "active", "name": "Ann", "pause_collection": {"Ann": 1}}},
                });
                let mut facts = facts::read(&event).unwrap();
                facts.reference = None;
                let kept = of_event(&event);
                assert_eq!(facts::read(&kept), Some(facts), "{kind}");
                for word in ["Ann", "ann@", "7900123456"] {
                    assert!(!kept.to_string().contains(word), "{kind}: {word} is in {kept}");
                }
                assert_eq!(of_event(&kept), kept);
            }
        }
    }

    #[test]
    fn the_payer_is_known_also_from_events_that_do_not_concern_us() {
        let event = |object: Value| json!({"data": {"object": object}});
        assert_eq!(payer(&event(json!({"object": "customer", "id": "cus_1"}))).as_deref(), Some("cus_1"));
        assert_eq!(payer(&event(json!({"object": "card", "customer": {"id": "cus_1"}}))).as_deref(), Some("cus_1"));
        assert_eq!(payer(&event(json!({"object": "product", "id": "prod_1"}))), None);
    }
}
