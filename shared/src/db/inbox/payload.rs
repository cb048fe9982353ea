//! The payloads of events as they are stored, and the lanes that keep events in order.
//!
//! A *lane* is an ordering key (Kafka: partition key; SQS: message group): events of one lane are processed in order.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use jobrun_onboarding::action::Action;
use jobrun_onboarding::forwarding_checks::ForwardingCheck;
use jobrun_onboarding::reminders::Reminder;
use serde::{Deserialize, Serialize};

/// The payload of an event, as it is stored.
///
/// Variants and fields may be added. A stored one is never renamed, because the previous version could not read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Payload {
    /// A text arrived at one of our numbers.
    Text {
        /// The sender as Twilio gave it: E.164, or a short code, or a name.
        from: String,
        /// Our number, E.164.
        to: String,
        /// The body of the text.
        body: String,
        /// Twilio's OptOutType: the keyword that Twilio recognised in the text, and has replied to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opt_out_type: Option<String>,
        /// When it was answered, if that was before a restore of the database that has lost the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answered_at: Option<DateTime<Utc>>,
    },
    /// A call arrived at one of our numbers.
    CallArrived {
        /// The caller as Twilio gave it; withheld numbers have many spellings.
        from: String,
        /// Our number, E.164.
        to: String,
        /// Twilio's name for the call.
        #[serde(default)]
        sid: Option<String>,
    },
    /// A call to one of our numbers ended.
    CallEnded {
        /// The caller as Twilio gave it.
        from: String,
        /// Our number, E.164.
        to: String,
        /// Twilio's CallStatus.
        status: String,
        /// Twilio's name for the call.
        #[serde(default)]
        sid: Option<String>,
    },
    /// A caller of one of our numbers left a message.
    RecordingMade {
        /// Our number, E.164.
        to: String,
        /// Twilio's name for the recording.
        sid: String,
        /// Twilio's name for the call.
        call_sid: String,
        /// How long it is.
        seconds: Option<u32>,
    },
    /// Twilio reports the status of a text.
    DeliveryReport {
        /// Our `messages.id`, which the callback's address contains.
        message_id: Option<i64>,
        /// Twilio's name for the text.
        sid: String,
        /// Twilio's MessageStatus.
        status: String,
        /// Twilio's ErrorCode.
        error_code: Option<i32>,
        /// The text's recipient, E.164.
        #[serde(default)]
        to: Option<String>,
    },
    /// A number is due to a client that was told it will get one.
    NumberDue {
        /// `clients.id`.
        client_id: String,
    },
    /// Twilio refused a text because its recipient has opted out.
    OptedOut {
        /// The recipient, E.164.
        phone: String,
        /// Our `messages.id` of the text.
        message_id: i64,
    },
    /// The network reports that texts cannot reach a phone.
    Unreachable {
        /// The phone, E.164.
        phone: String,
        /// Our `messages.id` of the undelivered text.
        message_id: i64,
    },
    /// A text arrived after it was reported as unable to reach its phone.
    Reached {
        /// The phone, E.164.
        phone: String,
        /// Our `messages.id` of the text.
        message_id: i64,
    },
    /// Stripe sent an event.
    Stripe {
        /// Stripe's name for the event: `evt_…`.
        id: String,
        /// The whole event, as Stripe wrote it.
        event: serde_json::Value,
    },
    /// Stripe was asked about a subscription.
    SubscriptionAsked {
        /// Our name for the question, which no other one has.
        name: String,
        /// The whole subscription, as Stripe wrote it.
        subscription: serde_json::Value,
        /// A time at which it was not read yet: in whole seconds, by Stripe's clock.
        not_before: DateTime<Utc>,
    },
    /// The status of a client's payment changed; `subscriptions` has the new one.
    PaymentChanged {
        /// `clients.id`.
        client_id: String,
        /// When the event that changed it arrived: the client's place on the waiting list, if it has to wait.
        since: DateTime<Utc>,
    },
    /// An operator acts on a client.
    OperatorAction {
        /// `clients.id`.
        client_id: String,
        /// The operator: the person of the console, or the user of the machine.
        by: String,
        /// The reason that the operator gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// The action.
        action: Action,
    },
    /// A client has been silent for long, and a reminder is due.
    ReminderDue {
        /// `clients.id`.
        client_id: String,
        /// The reminder.
        reminder: Reminder,
    },
    /// A check of the forwarding of a live client is due.
    ForwardingCheckDue {
        /// `clients.id`.
        client_id: String,
        /// The check.
        check: ForwardingCheck,
    },
    /// The operator took a number from a client by hand.
    NumberLost {
        /// `clients.id`.
        client_id: String,
        /// The number, E.164.
        number: String,
    },
    /// A newcomer says that it has a new phone, and that this is its old number.
    PhoneChangeAsked {
        /// The newcomer: `clients.id`.
        client_id: String,
        /// The old number, E.164.
        old_phone: String,
        /// When its text arrived.
        asked_at: DateTime<Utc>,
    },
    /// A client has proved who it is, and moves to its new phone.
    PhoneChangeDue {
        /// `phone_changes.id`.
        change_id: i64,
        /// The client that moves: `clients.id`.
        client_id: String,
    },
}

/// The kinds that this version knows. Events of other kinds are left to the next version, which may already run.
pub(super) const KINDS: [&str; 19] = [
    "text",
    "call_arrived",
    "call_ended",
    "recording_made",
    "delivery_report",
    "number_due",
    "opted_out",
    "unreachable",
    "reached",
    "stripe",
    "subscription_asked",
    "payment_changed",
    "operator_action",
    "operator_action_cancel",
    "reminder_due",
    "forwarding_check_due",
    "number_lost",
    "phone_change_asked",
    "phone_change_due",
];

/// The kinds that no conversation processes. They go on while conversations are stopped.
pub(in crate::db) const KINDS_OF_NO_CONVERSATION: [&str; 5] =
    ["delivery_report", "stripe", "subscription_asked", "phone_change_asked", "phone_change_due"];

impl Payload {
    /// Returns the words that a client texted.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        if let Self::Text { body, .. } = self { Some(body) } else { None }
    }

    /// Returns when it was answered, if it is a text that was answered before a restore of the database.
    #[must_use]
    pub const fn answered_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Text { answered_at, .. } => *answered_at,
            _ => None,
        }
    }

    /// Returns the name of the kind, as the column `kind` contains it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::CallArrived { .. } => "call_arrived",
            Self::CallEnded { .. } => "call_ended",
            Self::RecordingMade { .. } => "recording_made",
            Self::DeliveryReport { .. } => "delivery_report",
            Self::NumberDue { .. } => "number_due",
            Self::OptedOut { .. } => "opted_out",
            Self::Unreachable { .. } => "unreachable",
            Self::Reached { .. } => "reached",
            Self::Stripe { .. } => "stripe",
            Self::SubscriptionAsked { .. } => "subscription_asked",
            Self::PaymentChanged { .. } => "payment_changed",
            Self::OperatorAction { action, .. } => kind_of(action),
            Self::ReminderDue { .. } => "reminder_due",
            Self::ForwardingCheckDue { .. } => "forwarding_check_due",
            Self::NumberLost { .. } => "number_lost",
            Self::PhoneChangeAsked { .. } => "phone_change_asked",
            Self::PhoneChangeDue { .. } => "phone_change_due",
        }
    }

    /// Returns whether a conversation processes it, in order with the other events of its client.
    #[must_use]
    pub const fn is_for_a_conversation(&self) -> bool {
        !matches!(
            self,
            Self::DeliveryReport { .. }
                | Self::Stripe { .. }
                | Self::SubscriptionAsked { .. }
                | Self::PhoneChangeAsked { .. }
                | Self::PhoneChangeDue { .. }
        )
    }

    /// Returns the lane of the event.
    #[must_use]
    pub fn lane(&self) -> String {
        match self {
            Self::Text { from: phone, .. }
            | Self::OptedOut { phone, .. }
            | Self::Unreachable { phone, .. }
            | Self::Reached { phone, .. } => phone_lane(phone),
            Self::CallArrived { to, .. } | Self::CallEnded { to, .. } | Self::RecordingMade { to, .. } => {
                number_lane(to)
            }
            Self::DeliveryReport { message_id: Some(id), .. } => format!("message:{id}"),
            Self::DeliveryReport { message_id: None, sid, .. } => format!("message:{sid}"),
            // In any order: their combined meaning does not depend on it.
            Self::Stripe { id: name, .. } | Self::SubscriptionAsked { name, .. } => format!("stripe:{name}"),
            Self::PhoneChangeAsked { client_id, .. } | Self::PhoneChangeDue { client_id, .. } => {
                phone_change_lane(client_id)
            }
            Self::NumberDue { client_id }
            | Self::PaymentChanged { client_id, .. }
            | Self::OperatorAction { client_id, .. }
            | Self::ReminderDue { client_id, .. }
            | Self::ForwardingCheckDue { client_id, .. }
            | Self::NumberLost { client_id, .. } => client_lane(client_id),
        }
    }
}

/// Returns the kind of an event with this action.
///
/// Workers of earlier versions take every `operator_action`, and those that cannot read the action record it as unreadable. So an
/// action that is added later has a kind of its own, `operator_action_…`, which stands in [`KINDS`] and is left to workers that know it.
const fn kind_of(action: &Action) -> &'static str {
    match action {
        Action::Reply { .. }
        | Action::TakeOver { .. }
        | Action::HandBack { .. }
        | Action::MoveTo { .. }
        | Action::Correct { .. }
        | Action::MarkPaid
        | Action::GiveNumber
        | Action::TakeNumber { .. }
        | Action::AskAgain
        | Action::OptIn => "operator_action",
        Action::Cancel => "operator_action_cancel",
    }
}

/// Returns the lane of the texts of a phone.
#[must_use]
pub fn phone_lane(phone: &str) -> String {
    format!("phone:{}", phone.trim_start_matches('+'))
}

fn number_lane(number: &str) -> String {
    format!("number:{number}")
}

/// Returns the lane of the changes of phone that a client asks for. It is not the client's own lane, whose events its conversation
/// processes.
#[must_use]
pub fn phone_change_lane(client_id: &str) -> String {
    format!("phone-change:{client_id}")
}

fn client_lane(client_id: &str) -> String {
    format!("client:{client_id}")
}

/// Returns the lanes in which a client's events arrive.
#[must_use]
pub fn lanes_of(client_id: &str, phone: &E164, number: Option<&E164>) -> Vec<String> {
    let mut lanes = vec![phone_lane(phone.digits()), client_lane(client_id)];
    lanes.extend(number.map(|number| number_lane(number.as_str())));
    lanes
}

#[cfg(test)]
mod tests {
    use jobrun_onboarding::{Field, State};

    use super::*;

    /// An event of a kind that is not in the list would wait for ever.
    #[test]
    fn every_kind_is_known_by_the_name_under_which_it_is_stored() {
        let (from, to) = (String::new, String::new);
        let payloads = [
            Payload::Text { from: from(), to: to(), body: String::new(), opt_out_type: None, answered_at: None },
            Payload::CallArrived { from: from(), to: to(), sid: None },
            Payload::CallEnded { from: from(), to: to(), status: String::new(), sid: None },
            Payload::RecordingMade { to: to(), sid: String::new(), call_sid: String::new(), seconds: Some(7) },
            Payload::DeliveryReport {
                message_id: None,
                sid: String::new(),
                status: String::new(),
                error_code: None,
                to: None,
            },
            Payload::NumberDue { client_id: String::new() },
            Payload::OptedOut { phone: String::new(), message_id: 1 },
            Payload::Unreachable { phone: String::new(), message_id: 1 },
            Payload::Reached { phone: String::new(), message_id: 1 },
            Payload::Stripe { id: String::new(), event: serde_json::json!({}) },
            Payload::SubscriptionAsked {
                name: String::new(),
                subscription: serde_json::json!({}),
                not_before: DateTime::UNIX_EPOCH,
            },
            Payload::PaymentChanged { client_id: String::new(), since: DateTime::UNIX_EPOCH },
            Payload::OperatorAction {
                client_id: String::new(),
                by: String::new(),
                why: Some(String::new()),
                action: Action::MoveTo { state: State::Complete, from: None },
            },
            Payload::OperatorAction { client_id: String::new(), by: String::new(), why: None, action: Action::Cancel },
            Payload::ReminderDue {
                client_id: String::new(),
                reminder: Reminder {
                    since: DateTime::UNIX_EPOCH,
                    nth: 1,
                    is_last: false,
                    payment_asked: false,
                    last_said: None,
                    until: DateTime::UNIX_EPOCH,
                },
            },
            Payload::ForwardingCheckDue {
                client_id: String::new(),
                check: ForwardingCheck::TestOver { asked_at: DateTime::UNIX_EPOCH, called: false },
            },
            Payload::NumberLost { client_id: String::new(), number: String::new() },
            Payload::PhoneChangeAsked {
                client_id: String::new(),
                old_phone: String::new(),
                asked_at: DateTime::UNIX_EPOCH,
            },
            Payload::PhoneChangeDue { change_id: 1, client_id: String::new() },
        ];
        let names = payloads.each_ref().map(Payload::kind);
        assert_eq!(names, KINDS);
        let others = payloads.iter().filter(|payload| !payload.is_for_a_conversation()).map(Payload::kind);
        assert!(others.eq(KINDS_OF_NO_CONVERSATION));
        for (payload, name) in payloads.iter().zip(names) {
            let stored = serde_json::to_value(payload).unwrap();
            // A later action has a kind of its own in the column alone.
            let tag = if matches!(payload, Payload::OperatorAction { .. }) { "operator_action" } else { name };
            assert_eq!(stored.get("kind").and_then(|kind| kind.as_str()), Some(tag));
            assert_eq!(&serde_json::from_value::<Payload>(stored).unwrap(), payload);
        }
    }

    /// Workers of earlier versions take every `operator_action`, and know these alone.
    #[test]
    fn an_action_that_is_added_later_has_a_kind_of_its_own() {
        let known = [
            "ask_again",
            "correct",
            "give_number",
            "hand_back",
            "mark_paid",
            "move_to",
            "opt_in",
            "reply",
            "take_number",
            "take_over",
        ];
        let text = String::new;
        let actions = [
            Action::Reply { body: text() },
            Action::TakeOver { from: None, silence_minutes: None },
            Action::HandBack { ask_again: false },
            Action::MoveTo { state: State::Complete, from: Some(State::S9TestCall) },
            Action::Correct { field: Field::OwnerName, text: text() },
            Action::MarkPaid,
            Action::GiveNumber,
            Action::TakeNumber { number: Some(text()) },
            Action::AskAgain,
            Action::OptIn,
            Action::Cancel,
        ];
        // Serde names every action that it can read when it is given one that it cannot.
        let refusal = serde_json::from_value::<Action>(serde_json::json!({ "action": "" })).unwrap_err().to_string();
        let named = refusal.matches('`').count() / 2 - 1;
        assert_eq!(named, actions.len(), "an action is missing here: {refusal}");
        for action in actions {
            let name = serde_json::to_value(&action).unwrap()["action"].as_str().unwrap().to_owned();
            let payload = Payload::OperatorAction { client_id: text(), by: text(), why: None, action };
            let (kind, is_known) = (payload.kind(), known.contains(&name.as_str()));
            assert_eq!(kind == "operator_action", is_known, "{name}");
            assert!(kind.starts_with("operator_action") && KINDS.contains(&kind), "{name}: {kind}");
        }
    }

    /// The previous version stores these actions without the state and the number that the operator saw, and skips them here.
    #[test]
    fn an_action_of_the_previous_version_can_be_read() {
        let read = |action: serde_json::Value| {
            let stored =
                serde_json::json!({ "kind": "operator_action", "client_id": "ann", "by": "ada", "action": action });
            match serde_json::from_value(stored) {
                Ok(Payload::OperatorAction { action, .. }) => action,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read(serde_json::json!({ "action": "take_number" })), Action::TakeNumber { number: None });
        let moved = serde_json::json!({ "action": "move_to", "state": "COMPLETE" });
        assert_eq!(read(moved), Action::MoveTo { state: State::Complete, from: None });
    }

    /// Rows of earlier versions still exist.
    #[test]
    fn a_payload_of_an_earlier_version_can_be_read() {
        let call = serde_json::json!({"kind": "call_arrived", "from": "+447700900123", "to": "+447111111111"});
        assert!(matches!(serde_json::from_value(call), Ok(Payload::CallArrived { sid: None, .. })));
    }
}
