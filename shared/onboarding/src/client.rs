//! A client as it was loaded when an event arrives.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::network::NetworkQuestion;
use crate::{E164, Field, Payment, PhoneType, State, Takeover};

/// A client as loaded: its identity, its state and the facts that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `clients.id`.
    pub id: String,
    /// The phone that the client texts from.
    pub owner_phone: E164,
    /// The state of the conversation.
    pub state: State,
    /// The answers given so far.
    pub collected: Collected,
    /// The exchange of question and answer.
    pub exchange: Exchange,
    /// Whether the payment gate is open to the client: it has paid, or the operator opened the gate.
    pub payment_active: bool,
    /// The status of its payment about which the client was last told.
    pub payment: Payment,
    /// The reference in the client's own payment link: letters and digits that cannot be guessed.
    pub payment_reference: String,
    /// The number that the client holds.
    pub number: Option<E164>,
    /// Whether the client has asked for no more texts.
    pub opted_out: bool,
    /// Whether the network reports that texts cannot reach the client's phone.
    pub unreachable: bool,
    /// The takeover by an operator, which may be over by now.
    pub takeover: Option<Takeover>,
    /// When the client asked for the test of its forwarding that is not over yet.
    pub forwarding_test: Option<DateTime<Utc>>,
    /// Whether the client wants its callers texted back.
    pub text_back: bool,
    /// Whether the client was asked that.
    pub text_back_asked: bool,
}

impl Client {
    /// Returns whether the client pays, or its first payment is on its way.
    pub(crate) fn may_be_charged(&self) -> bool {
        self.payment_active || self.payment == Payment::Awaited
    }

    /// Returns the takeover that is in force.
    pub(crate) fn takeover_at(&self, now: DateTime<Utc>) -> Option<&Takeover> {
        self.takeover.as_ref().filter(|takeover| takeover.is_on(now))
    }
}

/// The exchange of question and answer, besides the state. It is empty for a client whose state was set by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// When the open question was asked. A text that arrived earlier does not answer it.
    pub asked_at: Option<DateTime<Utc>>,
    /// The text that led to the open question, and when it arrived. The same text within seconds is a repeat.
    pub led_by: Option<(String, DateTime<Utc>)>,
    /// The number of texts in a row that fitted no question.
    pub misfits: u32,
    /// The number of texts that crossed the open question since the client was loaded. It is not stored.
    pub crossed: u32,
}

/// The answers given so far, stored as `onboarding_states.collected_fields`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// The answer to S1: "Plumber from London". While the client is at S1 it is half the answer: "Plumber".
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
    /// Whether the client was asked which network its phone is with, and the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkQuestion>,
}

impl Collected {
    /// Returns the answer that contains `field`.
    pub(crate) const fn answer_mut(&mut self, field: Field) -> &mut Option<String> {
        match field {
            Field::TradeAndPlace | Field::Trade => &mut self.business_type_location,
            Field::BusinessName => &mut self.business_name,
            Field::OwnerName | Field::Surname => &mut self.owner_name,
        }
    }

    /// Returns whether an answer differs from `earlier`. The network does not count: it is no step of the sign-up.
    #[must_use]
    pub fn answers_more_than(&self, earlier: &Self) -> bool {
        *self != Self { network: self.network, ..earlier.clone() }
    }

    /// Reads the stored fields. A field that is missing or invalid (it may have been edited by hand) counts as not answered:
    /// asking a question twice is better than a client who is stuck.
    #[must_use]
    pub fn from_json(fields: &serde_json::Value) -> Self {
        let text = |name: &str| fields.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        Self {
            business_type_location: text("businessTypeLocation"),
            business_name: text("businessName"),
            owner_name: text("ownerName"),
            notification_pref: text("notificationPref"),
            phone_type: fields.get("phoneType").and_then(|value| serde_json::from_value(value.clone()).ok()),
            network: text("network").and_then(|name| NetworkQuestion::from_name(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_answers_are_read_back_and_invalid_fields_count_as_not_answered() {
        let collected = Collected {
            business_type_location: Some("Plumber from London".to_owned()),
            phone_type: Some(PhoneType::IPhone),
            network: Some(NetworkQuestion::Open),
            ..Collected::default()
        };
        let stored = serde_json::to_value(&collected).unwrap();
        let written = serde_json::json!({"businessTypeLocation": "Plumber from London", "phoneType": "iphone", "network": "asked"});
        assert_eq!(stored, written);
        assert_eq!(Collected::from_json(&stored), collected);

        let nonsense =
            serde_json::json!({"businessName": 7, "phoneType": "pager", "network": "Vodafone 2", "else": [1]});
        assert_eq!(Collected::from_json(&nonsense), Collected::default());
    }
}
