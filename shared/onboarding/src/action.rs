//! The actions of operators on a client, and the reasons for which one is refused.

use serde::{Deserialize, Serialize};

use crate::{Field, State};

/// The greatest length of a reply, in characters: Twilio takes no longer body (error 21617).
pub const REPLY_CHARS_MAX: usize = 1_600;

/// The longest silence that a takeover waits for, in minutes: 30 days.
pub const SILENCE_MINUTES_MAX: u32 = 30 * 24 * 60;

/// A reply takes the client over for this many minutes of silence, if no operator has taken it over.
pub const REPLY_SILENCE_MINUTES: u32 = 240;

/// An action on a client, as it is stored with its event. Variants may be added, and are never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Text the client in the operator's own words. It takes the client over, unless that has been done.
    Reply {
        /// The words.
        body: String,
    },
    /// Stop automatic texts, so that the operator can speak with the client.
    TakeOver {
        /// The operator from whom the client is taken, as far as the person who acts knows.
        from: Option<String>,
        /// The minutes of silence that hand the client back. `None` if only an operator does.
        silence_minutes: Option<u32>,
    },
    /// Let the conversation go on.
    HandBack {
        /// Whether the client is asked the open question again.
        ask_again: bool,
    },
    /// Move the client to another state, and ask the question of that state.
    MoveTo {
        /// The name of the state.
        state: State,
        /// The state that the operator saw. Empty in events of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<State>,
    },
    /// Correct an answer.
    Correct {
        /// Which answer.
        field: Field,
        /// The right answer.
        text: String,
    },
    /// Open the payment gate, for a client who has paid in another way.
    MarkPaid,
    /// Give a client who has paid a number.
    GiveNumber,
    /// Take the client's number. A client who has paid gets another one, or waits for one.
    TakeNumber {
        /// The number that the operator saw, E.164. Empty in events of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<String>,
    },
    /// Ask the open question again, with the payment link or the instructions that belong to it.
    AskAgain,
    /// Opt a client in that has asked for it in another way than by text.
    OptIn,
    /// Cancel the subscription of a client that has asked for it in another way than by text: the client is told how.
    Cancel,
}

/// The reason for which an action is refused. Its name is stored as the outcome of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client has opted out, so it may not be texted.
    OptedOut,
    /// Texts do not reach the client's phone.
    Unreachable,
    /// Another operator has taken the client over.
    TakenOverByOther,
    /// Nobody has taken the client over.
    NotTakenOver,
    /// The payment gate is closed to the client.
    NotPaid,
    /// The client holds no number.
    NoNumber,
    /// The kind of the client's phone is not known.
    NoPhoneType,
    /// The pool has no number for the client, who is on the waiting list from now on.
    NoNumberLeft,
    /// It is so already.
    AlreadySo,
    /// The client holds another number than the operator saw.
    NumberChanged,
    /// The client is at another state than the operator saw.
    StateChanged,
    /// The text is empty or too long.
    BadText,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::OptedOut,
        Self::Unreachable,
        Self::TakenOverByOther,
        Self::NotTakenOver,
        Self::NotPaid,
        Self::NoNumber,
        Self::NoPhoneType,
        Self::NoNumberLeft,
        Self::AlreadySo,
        Self::NumberChanged,
        Self::StateChanged,
        Self::BadText,
    ];

    /// Returns the outcome under which it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OptedOut => "refused_opted_out",
            Self::Unreachable => "refused_unreachable",
            Self::TakenOverByOther => "refused_taken_over",
            Self::NotTakenOver => "refused_not_taken_over",
            Self::NotPaid => "refused_not_paid",
            Self::NoNumber => "refused_no_number",
            Self::NoPhoneType => "refused_no_phone_type",
            Self::NoNumberLeft => "refused_no_number_left",
            Self::AlreadySo => "refused_already_so",
            Self::NumberChanged => "refused_number_changed",
            Self::StateChanged => "refused_state_changed",
            Self::BadText => "refused_bad_text",
        }
    }

    /// Returns the reason that is stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Returns the reason in words, after "refused: ".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::OptedOut => "the client has opted out of texts",
            Self::Unreachable => "texts do not reach the client's phone",
            Self::TakenOverByOther => "another operator has taken the client over",
            Self::NotTakenOver => "nobody has taken the client over",
            Self::NotPaid => "the client has not paid",
            Self::NoNumber => "the client holds no number",
            Self::NoPhoneType => "the kind of the client's phone is not known",
            Self::NoNumberLeft => "no number is left: the client is on the waiting list",
            Self::AlreadySo => "it is so already",
            Self::NumberChanged => "the client's number has changed since the operator looked",
            Self::StateChanged => "the client has moved since the operator looked",
            Self::BadText => "the text is empty or too long",
        }
    }
}
