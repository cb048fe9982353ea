//! The events of a client's conversation, and the result of asking the pool for a number.

use chrono::{DateTime, Utc};

use crate::action::Action;
use crate::forwarding_check::ForwardingCheck;
use crate::phone_change::CodeReply;
use crate::reminder::Reminder;
use crate::{E164, Keyword, Payment};

/// An event of a client, as the conversation sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client texted us.
    Text {
        /// The words of the text, unchanged.
        body: String,
        /// Twilio's `OptOutType`: the keyword that Twilio recognised, and to which it has replied already. It takes precedence over
        /// [`keyword`](crate::keyword), because Twilio's lists of keywords can be configured.
        taken_for: Option<Keyword>,
        /// When the text reached us.
        received_at: DateTime<Utc>,
    },
    /// The client gave a code, and has an open request for a change of phone.
    CodeReply(CodeReply),
    /// A call arrived on the client's own number.
    CallArrived(Call),
    /// A call on the client's own number has ended. The end may be reported before the arrival.
    CallEnded(Call),
    /// A caller of the client's own number left a message.
    MessageLeft(VoiceMessage),
    /// The client was told "we're assigning your number now", and a number has to be allocated.
    NumberDue,
    /// The status of the client's payment. It may be the same as before.
    PaymentStands(Payment),
    /// The operator took this number from the client. By now the client may hold another number, or the same one again.
    NumberLost(E164),
    /// Twilio refused a text because the client has opted out. No opt-out had reached us.
    OptedOut,
    /// The network reports that texts cannot reach the client's phone.
    Unreachable,
    /// A text that was reported as undelivered was delivered after all.
    Reached,
    /// The client has been silent for long, and a reminder is due.
    ReminderDue(Reminder),
    /// A check of the forwarding of a live client is due.
    ForwardingCheckDue(ForwardingCheck),
    /// An operator acts on the client.
    Operator {
        /// The operator.
        by: String,
        /// The action.
        action: Action,
    },
}

/// A call on the client's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Twilio's `CallSid`, the same in the reports of arrival and end. `None` if an earlier version recorded the call.
    pub sid: Option<String>,
    /// The number of the caller, unless it is withheld.
    pub caller: Option<E164>,
    /// When this report reached us.
    pub at: DateTime<Utc>,
}

/// A message that a caller left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceMessage {
    /// Twilio's name for its recording.
    pub recording: String,
    /// The number of the caller, unless it is withheld or not known any more.
    pub caller: Option<E164>,
    /// How long it is, in seconds, if that is known.
    pub seconds: Option<u32>,
    /// The address at which it can be heard, if one could be made.
    pub link: Option<String>,
}

impl Call {
    /// Returns the key by which a text about the call with this CallSid is sent once.
    #[must_use]
    pub fn once_key(sid: &str) -> String {
        format!("call:{sid}")
    }
}

/// The result of asking the pool for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// A number was taken from the pool.
    Assigned(E164),
    /// The client held this number already. Nothing was taken from the pool.
    AlreadyAssigned(E164),
    /// No number is left for this client: the pool has none that it can take, or clients who wait longer have a claim on each. The
    /// client is on the waiting list from now on.
    PoolEmpty {
        /// Whether the client was on the list before, and has been told that it takes longer than promised.
        told_late: bool,
    },
}
