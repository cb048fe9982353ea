//! What is known of a client when something happens.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{E164, Payment, PhoneType, State};

/// A client as loaded: who it is, where it stands, and the facts that decisions rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `clients.id`.
    pub id: String,
    /// The phone that the client texts from.
    pub owner_phone: E164,
    /// Where the client stands.
    pub state: State,
    /// What the client has told us.
    pub collected: Collected,
    /// How the exchange of question and answer stands.
    pub exchange: Exchange,
    /// Whether the gate is open to it: because it has paid, or because an operator says so.
    pub payment_active: bool,
    /// How its payment stood when it last heard of it.
    pub payment: Payment,
    /// What makes the payment link its own: letters and digits that cannot be guessed.
    pub payment_reference: String,
    /// The number that the client holds.
    pub number: Option<E164>,
    /// Whether the client has asked for no more texts.
    pub opted_out: bool,
    /// Whether the network says that texts cannot reach the client's phone.
    pub unreachable: bool,
}

impl Client {
    /// Whether the client pays, or its first payment is on its way.
    pub(crate) fn may_be_charged(&self) -> bool {
        self.payment_active || self.payment == Payment::Awaited
    }
}

/// How the exchange of question and answer stands, besides the state. Unknown for a client that was put there by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// When the open question was asked. A text that arrived before then is no answer to it.
    pub asked_at: Option<DateTime<Utc>>,
    /// The text that led to the open question, and when it arrived. The same text again is a repeat.
    pub led_by: Option<(String, DateTime<Utc>)>,
    /// How many texts in a row have fitted no question.
    pub misfits: u32,
    /// How many texts crossed the open question since the client was loaded. Not stored.
    pub crossed: u32,
}

/// The answers given so far, stored as `onboarding_states.collected_fields`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// The answer to S1: "Plumber from London". While the client stands at S1, half of it: "Plumber".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_type_location: Option<String>,
    /// The answer to S2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_name: Option<String>,
    /// The answer to S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
    /// The answer to S4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_pref: Option<String>,
    /// The answer to S6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_type: Option<PhoneType>,
}

impl Collected {
    /// Reads what is stored. What is missing, or was written by hand and makes no sense, counts as not answered: a
    /// question asked twice is better than a client who is stuck.
    #[must_use]
    pub fn from_json(fields: &serde_json::Value) -> Self {
        let text = |name: &str| fields.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        Self {
            business_type_location: text("businessTypeLocation"),
            business_name: text("businessName"),
            owner_name: text("ownerName"),
            notification_pref: text("notificationPref"),
            phone_type: fields.get("phoneType").and_then(|value| serde_json::from_value(value.clone()).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back_and_nonsense_counts_as_not_answered() {
        let collected = Collected {
            business_type_location: Some("Plumber from London".to_owned()),
            phone_type: Some(PhoneType::IPhone),
            ..Collected::default()
        };
        let stored = serde_json::to_value(&collected).unwrap();
        assert_eq!(stored, serde_json::json!({"businessTypeLocation": "Plumber from London", "phoneType": "iphone"}));
        assert_eq!(Collected::from_json(&stored), collected);

        let nonsense = serde_json::json!({"businessName": 7, "phoneType": "pager", "else": [1]});
        assert_eq!(Collected::from_json(&nonsense), Collected::default());
    }
}
