//! Why Stripe's list is not taken.

use std::fmt;

use jobrun_stripe::api::Error;

/// Why Stripe's list is not taken.
#[derive(Debug)]
pub(super) enum Untaken {
    /// It cannot be read.
    Unread(Error),
    /// It is that of another account.
    OtherAccount,
    /// Nothing shows whose it is, and it has events that are not in the inbox.
    UnknownAccount,
    /// Nothing shows whose it is, and it has nothing that is not in the inbox.
    NothingMissed,
    /// Another worker has the step, or may take it.
    TakenOver,
    /// The worker stops.
    Stopped,
}

impl From<Error> for Untaken {
    fn from(error: Error) -> Self {
        Self::Unread(error)
    }
}

impl Untaken {
    /// Returns whether the key is at fault, so that waiting does not help.
    pub(super) const fn is_of_the_key(&self) -> bool {
        match self {
            Self::Unread(error) => error.is_of_the_key(),
            Self::OtherAccount | Self::UnknownAccount => true,
            Self::NothingMissed | Self::TakenOver | Self::Stopped => false,
        }
    }
}

impl fmt::Display for Untaken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unread(error) => return error.fmt(formatter),
            Self::OtherAccount => {
                "STRIPE_API_KEY is a key of another account, which lacks the latest payments of our clients"
            }
            Self::UnknownAccount => {
                "nothing shows that STRIPE_API_KEY is a key of the account that clients pay into: no payment of a client is \
                 recorded, and no checkout there names one"
            }
            Self::NothingMissed => "nothing shows whose list it is, and nothing in it was missed",
            Self::TakenOver => "another worker may take the step",
            Self::Stopped => "the worker stops",
        })
    }
}
