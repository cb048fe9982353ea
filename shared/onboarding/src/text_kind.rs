//! The kinds of our texts: their stored names, which of them matter, and how long each one stays useful.

use chrono::TimeDelta;

/// The kind of a text. Its name is stored with every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the function of `wording.rs` that words it")]
pub enum TextKind {
    Welcome,
    AskBusinessName,
    AskOwnerName,
    AskNotificationPref,
    AskConfirmLive,
    NoHurry,
    PaymentRequired,
    PaymentAwaited,
    PaymentFailed,
    PaymentOverdue,
    ServiceEnded,
    AtCapacity,
    NumberReady,
    StillWaiting,
    NumberChanged,
    NumberTakenBack,
    AskPhoneType,
    AssigningNumber,
    ForwardingInstructions,
    RemindForwarding,
    AskTestCall,
    RemindTestCall,
    TestCallUnderWay,
    Live,
    AlreadyLive,
    MissedCall,
    Voicemail,
    Misdirected,
    AskOtherHalf,
    OwnNameWillDo,
    TooLong,
    Crossed,
    Corrected,
    WhoWeAre,
    OfferPerson,
    HowToCancel,
    CancelAtPortal,
    NothingCharged,
    NoNumbersThere,
    RefundAsked,
    Terms,
    Closing,
    OperatorReply,
    Reminder,
    ForwardAnotherWay,
    PhoneCodeAsked,
    PhoneCode,
    PhoneCodeWrong,
    PhoneMoved,
    PhoneMovedAway,
    PhoneNotMoved,
    TestForwarding,
    ForwardingWorks,
    ForwardingBroken,
    NoCallsLately,
    AskNetwork,
    ForwardOnNetwork,
    AskTextBack,
    TextBackChosen,
    TextBack,
}

impl TextKind {
    /// Every kind.
    pub const ALL: [Self; 60] = [
        Self::Welcome,
        Self::AskBusinessName,
        Self::AskOwnerName,
        Self::AskNotificationPref,
        Self::AskConfirmLive,
        Self::NoHurry,
        Self::PaymentRequired,
        Self::PaymentAwaited,
        Self::PaymentFailed,
        Self::PaymentOverdue,
        Self::ServiceEnded,
        Self::AtCapacity,
        Self::NumberReady,
        Self::StillWaiting,
        Self::NumberChanged,
        Self::NumberTakenBack,
        Self::AskPhoneType,
        Self::AssigningNumber,
        Self::ForwardingInstructions,
        Self::RemindForwarding,
        Self::AskTestCall,
        Self::RemindTestCall,
        Self::TestCallUnderWay,
        Self::Live,
        Self::AlreadyLive,
        Self::MissedCall,
        Self::Voicemail,
        Self::Misdirected,
        Self::AskOtherHalf,
        Self::OwnNameWillDo,
        Self::TooLong,
        Self::Crossed,
        Self::Corrected,
        Self::WhoWeAre,
        Self::OfferPerson,
        Self::HowToCancel,
        Self::CancelAtPortal,
        Self::NothingCharged,
        Self::NoNumbersThere,
        Self::RefundAsked,
        Self::Terms,
        Self::Closing,
        Self::OperatorReply,
        Self::Reminder,
        Self::ForwardAnotherWay,
        Self::PhoneCodeAsked,
        Self::PhoneCode,
        Self::PhoneCodeWrong,
        Self::PhoneMoved,
        Self::PhoneMovedAway,
        Self::PhoneNotMoved,
        Self::TestForwarding,
        Self::ForwardingWorks,
        Self::ForwardingBroken,
        Self::NoCallsLately,
        Self::AskNetwork,
        Self::ForwardOnNetwork,
        Self::AskTextBack,
        Self::TextBackChosen,
        Self::TextBack,
    ];

    /// Returns the kind that is stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the name under which the kind is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::AskBusinessName => "ask_business_name",
            Self::AskOwnerName => "ask_owner_name",
            Self::AskNotificationPref => "ask_notification_pref",
            Self::AskConfirmLive => "ask_confirm_live",
            Self::NoHurry => "no_hurry",
            Self::PaymentRequired => "payment_required",
            Self::PaymentAwaited => "payment_awaited",
            Self::PaymentFailed => "payment_failed",
            Self::PaymentOverdue => "payment_overdue",
            Self::ServiceEnded => "service_ended",
            Self::AtCapacity => "at_capacity",
            Self::NumberReady => "number_ready",
            Self::StillWaiting => "still_waiting",
            Self::NumberChanged => "number_changed",
            Self::NumberTakenBack => "number_taken_back",
            Self::AskPhoneType => "ask_phone_type",
            Self::AssigningNumber => "assigning_number",
            Self::ForwardingInstructions => "forwarding_instructions",
            Self::RemindForwarding => "remind_forwarding",
            Self::AskTestCall => "ask_test_call",
            Self::RemindTestCall => "remind_test_call",
            Self::TestCallUnderWay => "test_call_under_way",
            Self::Live => "live",
            Self::AlreadyLive => "already_live",
            Self::MissedCall => "missed_call",
            Self::Voicemail => "voicemail",
            Self::Misdirected => "misdirected",
            Self::AskOtherHalf => "ask_other_half",
            Self::OwnNameWillDo => "own_name_will_do",
            Self::TooLong => "too_long",
            Self::Crossed => "crossed",
            Self::Corrected => "corrected",
            Self::WhoWeAre => "who_we_are",
            Self::OfferPerson => "offer_person",
            Self::HowToCancel => "how_to_cancel",
            Self::CancelAtPortal => "cancel_at_portal",
            Self::NothingCharged => "nothing_charged",
            Self::NoNumbersThere => "no_numbers_there",
            Self::RefundAsked => "refund_asked",
            Self::Terms => "terms",
            Self::Closing => "closing",
            Self::OperatorReply => "operator_reply",
            Self::Reminder => "reminder",
            Self::ForwardAnotherWay => "forward_another_way",
            Self::PhoneCodeAsked => "phone_code_asked",
            Self::PhoneCode => "phone_code",
            Self::PhoneCodeWrong => "phone_code_wrong",
            Self::PhoneMoved => "phone_moved",
            Self::PhoneMovedAway => "phone_moved_away",
            Self::PhoneNotMoved => "phone_not_moved",
            Self::TestForwarding => "test_forwarding",
            Self::ForwardingWorks => "forwarding_works",
            Self::ForwardingBroken => "forwarding_broken",
            Self::NoCallsLately => "no_calls_lately",
            Self::AskNetwork => "ask_network",
            Self::ForwardOnNetwork => "forward_on_network",
            Self::AskTextBack => "ask_text_back",
            Self::TextBackChosen => "text_back_chosen",
            Self::TextBack => "text_back",
        }
    }

    /// The kinds that a client gets also while an operator has taken it over: the news that it pays for, what operators write or
    /// have it told, and what concerns its change of phone.
    pub const SENT_IN_A_TAKEOVER: [Self; 7] = [
        Self::MissedCall,
        Self::Voicemail,
        Self::OperatorReply,
        Self::CancelAtPortal,
        Self::PhoneCode,
        Self::PhoneMoved,
        Self::PhoneMovedAway,
    ];

    /// Returns whether this text goes to a caller of the client, and not to the client.
    #[must_use]
    pub fn is_to_a_caller(self) -> bool {
        self == Self::TextBack
    }

    /// Returns whether a client gets this text also while an operator has taken it over.
    pub(crate) fn is_sent_in_a_takeover(self) -> bool {
        Self::SENT_IN_A_TAKEOVER.contains(&self)
    }

    /// Returns whether a client without this text would be stuck, with no other text to remind it. A text that matters and fails is
    /// tried once more, and the operator is alerted.
    #[must_use]
    pub const fn matters(self) -> bool {
        // `StillWaiting` does not matter: it asks for nothing, the number comes all the same, and after the promised time it is no
        // news.
        matches!(
            self,
            Self::PaymentRequired
                | Self::PaymentFailed
                | Self::PaymentOverdue
                | Self::ServiceEnded
                | Self::NumberReady
                | Self::NumberChanged
                | Self::NumberTakenBack
                | Self::ForwardingInstructions
                | Self::OperatorReply
                | Self::CancelAtPortal
        )
    }

    /// Returns how long after its writing this text is still useful. A text that is not sent by then is dropped, because a reply
    /// hours late confuses more than it helps.
    #[must_use]
    pub const fn stale_after(self) -> TimeDelta {
        match self {
            Self::PaymentRequired
            | Self::PaymentAwaited
            | Self::PaymentFailed
            | Self::PaymentOverdue
            | Self::ServiceEnded
            | Self::NumberChanged
            | Self::NumberTakenBack
            | Self::NumberReady
            | Self::ForwardingInstructions
            | Self::ForwardAnotherWay
            | Self::ForwardOnNetwork
            | Self::ForwardingBroken
            | Self::AtCapacity
            | Self::HowToCancel
            | Self::CancelAtPortal
            | Self::RefundAsked
            | Self::OperatorReply
            | Self::PhoneMoved
            | Self::PhoneMovedAway
            | Self::PhoneNotMoved
            | Self::Voicemail
            | Self::AskTextBack
            | Self::Live => TimeDelta::hours(24),
            Self::Welcome
            | Self::AskBusinessName
            | Self::AskOwnerName
            | Self::AskNotificationPref
            | Self::AskConfirmLive
            | Self::NoHurry
            | Self::StillWaiting
            | Self::AskPhoneType
            | Self::AssigningNumber
            | Self::RemindForwarding
            | Self::AskTestCall
            | Self::RemindTestCall
            | Self::TestCallUnderWay
            | Self::AlreadyLive
            | Self::AskOtherHalf
            | Self::OwnNameWillDo
            | Self::TooLong
            | Self::Crossed
            | Self::Corrected
            | Self::WhoWeAre
            | Self::OfferPerson
            | Self::NothingCharged
            | Self::NoNumbersThere
            | Self::Terms
            | Self::AskNetwork
            | Self::ForwardingWorks
            | Self::TextBackChosen
            | Self::Closing => TimeDelta::hours(4),
            Self::MissedCall | Self::Reminder | Self::NoCallsLately => TimeDelta::hours(1),
            // No longer than the code.
            Self::PhoneCode | Self::PhoneCodeAsked | Self::PhoneCodeWrong => TimeDelta::minutes(15),
            // The test that it asks for ends soon.
            Self::Misdirected | Self::TestForwarding => TimeDelta::minutes(10),
            // The caller remembers the call, and may have rung another business since.
            Self::TextBack => TimeDelta::minutes(5),
        }
    }

    /// Returns how often the same words may go to the same phone within [`crate::loop_guard::WINDOW`].
    pub(crate) const fn alike_max(self) -> u32 {
        // A caller who rings again and again is reported twice at most.
        if matches!(self, Self::MissedCall) { 2 } else { 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_stored_name() {
        assert!(TextKind::ALL.into_iter().all(|kind| TextKind::from_name(kind.name()) == Some(kind)));
    }
}
