//! What can happen to a client.

use crate::E164;

/// Something that happened to a client, as the conversation sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client texted us.
    Text {
        /// What it says, as it arrived.
        body: String,
    },
    /// A call arrived on the client's own number.
    CallArrived,
    /// A call on the client's own number is over. It may be reported before its arrival is.
    CallEnded,
    /// A client that was told "we're assigning your number now" is to be given one.
    NumberDue,
}

/// What came of asking the pool for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// A number was taken from the pool.
    Assigned(E164),
    /// The client held this number already; nothing was taken.
    AlreadyAssigned(E164),
    /// No number is left for this client, and it now stands on the waiting list.
    PoolEmpty,
}
