//! The ten states of the conversation, and the kinds of phone that it distinguishes.
//!
//! The names of the states are a contract: they are stored, and operators query them.

use serde::{Deserialize, Serialize};

/// The state of a client's conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum State {
    /// Asked for trade and place. It is also the state of a client who has never written.
    S1BusinessTypeLocation,
    /// Asked for the name of the business.
    S2BusinessName,
    /// Asked for the owner's name.
    S3OwnerName,
    /// Asked how to be told about missed calls.
    S4NotificationPref,
    /// Asked to confirm. The payment gate and the allocation of a number come between S5 and S6.
    S5ConfirmLive,
    /// Asked for the kind of phone.
    S6PhoneType,
    /// Has the forwarding instructions.
    S7FwdSent,
    /// Says that forwarding is set up. A test call has to prove it.
    S8FwdConfirm,
    /// The test call has arrived and is not over yet.
    S9TestCall,
    /// Live.
    Complete,
}

impl State {
    /// Every state, in the order of the conversation.
    pub const ALL: [Self; 10] = [
        Self::S1BusinessTypeLocation,
        Self::S2BusinessName,
        Self::S3OwnerName,
        Self::S4NotificationPref,
        Self::S5ConfirmLive,
        Self::S6PhoneType,
        Self::S7FwdSent,
        Self::S8FwdConfirm,
        Self::S9TestCall,
        Self::Complete,
    ];

    /// Returns the name under which the state is stored and printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S1BusinessTypeLocation => "S1_BUSINESS_TYPE_LOCATION",
            Self::S2BusinessName => "S2_BUSINESS_NAME",
            Self::S3OwnerName => "S3_OWNER_NAME",
            Self::S4NotificationPref => "S4_NOTIFICATION_PREF",
            Self::S5ConfirmLive => "S5_CONFIRM_LIVE",
            Self::S6PhoneType => "S6_PHONE_TYPE",
            Self::S7FwdSent => "S7_FWD_SENT",
            Self::S8FwdConfirm => "S8_FWD_CONFIRM",
            Self::S9TestCall => "S9_TEST_CALL",
            Self::Complete => "COMPLETE",
        }
    }

    /// Returns the state that is stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl From<State> for &'static str {
    fn from(state: State) -> Self {
        state.name()
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::from_name(&name).ok_or_else(|| format!("{name} is no state of the conversation"))
    }
}

/// The kind of phone that calls are forwarded from. Each kind is set up differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhoneType {
    /// The reply 1 at S6.
    IPhone,
    /// The reply 2.
    Android,
    /// The reply 3.
    Landline,
}
