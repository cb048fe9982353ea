//! What can happen to a client.

use chrono::{DateTime, Utc};

use crate::{E164, Keyword, Payment};

/// Something that happened to a client, as the conversation sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client texted us.
    Text {
        /// What it says, as it arrived.
        body: String,
        /// What Twilio took it for, and has answered already: its lists of words can be changed, and it has the last word.
        taken_for: Option<Keyword>,
        /// When it reached us.
        received_at: DateTime<Utc>,
    },
    /// A call arrived on the client's own number.
    CallArrived(Call),
    /// A call on the client's own number is over. It may be reported before its arrival is.
    CallEnded(Call),
    /// A client that was told "we're assigning your number now" is to be given one.
    NumberDue,
    /// The client's payment stands so; it may have stood so before.
    PaymentStands(Payment),
    /// This number was taken from the client by hand. It may hold another by now, or the same again.
    NumberLost(E164),
    /// Twilio refused a text because the client has opted out, in a way that we did not hear of.
    OptedOut,
    /// The network says that texts cannot reach the client's phone.
    Unreachable,
    /// A text that was reported as not having reached the client's phone has arrived after all.
    Reached,
}

/// A call on the client's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name under which both its arrival and its end are reported; empty if an earlier version recorded it.
    pub sid: Option<String>,
    /// Who rings, unless that is withheld.
    pub caller: Option<E164>,
}

/// What came of asking the pool for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// A number was taken from the pool.
    Assigned(E164),
    /// The client held this number already; nothing was taken.
    AlreadyAssigned(E164),
    /// No number is left for this client, and it now stands on the waiting list.
    PoolEmpty {
        /// Whether it stood there before, and has been told that it takes longer than promised.
        told_late: bool,
    },
}
