//! The name of every wording.

/// Defines the names, so that each stands in one place.
macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        /// The name of a wording, as in the wording files. An operator's file keeps it, so it never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the built-in wording file says what each is for")]
        pub enum Name {
            $($name,)*
        }

        impl Name {
            /// Every name, in the order of the built-in file.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name as it is written in the files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

names! {
    Welcome = "welcome",
    TradeAndPlaceAgain = "trade_and_place_again",
    AskPlace = "ask_place",
    AskTrade = "ask_trade",
    AskBusinessName = "ask_business_name",
    BusinessNameAgain = "business_name_again",
    OwnNameWillDo = "own_name_will_do",
    AskOwnerName = "ask_owner_name",
    OwnerNameAgain = "owner_name_again",
    AskNotificationPref = "ask_notification_pref",
    NotificationPrefAgain = "notification_pref_again",
    AskConfirmLive = "ask_confirm_live",
    ConfirmLiveAgain = "confirm_live_again",
    NoHurry = "no_hurry",
    PaymentRequired = "payment_required",
    PaymentAgain = "payment_again",
    PaymentAwaited = "payment_awaited",
    PaymentFailed = "payment_failed",
    PaymentOverdue = "payment_overdue",
    PaymentOverdueWithoutNumber = "payment_overdue_without_number",
    ServiceEnded = "service_ended",
    ServiceEndedOnMobile = "service_ended_on_mobile",
    ServiceEndedOnLandline = "service_ended_on_landline",
    ServiceEndedWithoutNumber = "service_ended_without_number",
    AtCapacity = "at_capacity",
    NumberReady = "number_ready",
    StillWaiting = "still_waiting",
    AskPhoneType = "ask_phone_type",
    AskPhoneTypeWithoutNumber = "ask_phone_type_without_number",
    PhoneTypeInShort = "phone_type_in_short",
    InstructionsAgain = "instructions_again",
    NumberChanged = "number_changed",
    NumberTakenBack = "number_taken_back",
    NumberTakenBackForNow = "number_taken_back_for_now",
    AssigningNumber = "assigning_number",
    ForwardIPhone = "forward_iphone",
    ForwardAndroid = "forward_android",
    ForwardLandline = "forward_landline",
    ForwardIPhoneAnotherWay = "forward_iphone_another_way",
    ForwardAndroidAnotherWay = "forward_android_another_way",
    ForwardLandlineAnotherWay = "forward_landline_another_way",
    AskNetwork = "ask_network",
    NetworkInShort = "network_in_short",
    ForwardOnThree = "forward_on_three",
    ForwardOnHost = "forward_on_host",
    ForwardOnGuest = "forward_on_guest",
    ForwardOnUnknownNetwork = "forward_on_unknown_network",
    RemindForwarding = "remind_forwarding",
    ForwardingInShort = "forwarding_in_short",
    AskTestCall = "ask_test_call",
    RemindTestCall = "remind_test_call",
    TestCallInShort = "test_call_in_short",
    TestCallUnderWay = "test_call_under_way",
    Live = "live",
    AskTextBack = "ask_text_back",
    TextBackOn = "text_back_on",
    TextBackOff = "text_back_off",
    TextBack = "text_back",
    AlreadyLive = "already_live",
    MissedCall = "missed_call",
    MissedCallAgain = "missed_call_again",
    WithheldCall = "withheld_call",
    WithheldCallAgain = "withheld_call_again",
    CallsTwice = "calls_twice",
    CallsTimes = "calls_times",
    CallsOver = "calls_over",
    CallsToday = "calls_today",
    CallsInDay = "calls_in_24_hours",
    CallsAt = "calls_at",
    CallsFromTo = "calls_from_to",
    CallsLastAt = "calls_last_at",
    Voicemail = "voicemail",
    VoicemailWithheld = "voicemail_withheld",
    AskForwardingTest = "ask_forwarding_test",
    ForwardingWorks = "forwarding_works",
    ForwardingWorksTestCall = "forwarding_works_test_call",
    ForwardingWorked = "forwarding_worked",
    ForwardingBroken = "forwarding_broken",
    ForwardingBrokenLandline = "forwarding_broken_landline",
    NoCallsLately = "no_calls_lately",
    NoCallsForLong = "no_calls_for_long",
    Misdirected = "misdirected",
    TooLong = "too_long",
    Crossed = "crossed",
    CorrectedTradeAndPlace = "corrected_trade_and_place",
    CorrectedBusinessName = "corrected_business_name",
    CorrectedOwnerName = "corrected_owner_name",
    WhoWeAre = "who_we_are",
    OfferPerson = "offer_person",
    TeamGetsInTouch = "team_gets_in_touch",
    DoubtAnswered = "doubt_answered",
    HelpOffered = "help_offered",
    HelpOfferedWithoutQuestion = "help_offered_without_question",
    QuestionPassedOn = "question_passed_on",
    QuestionPassedOnWithoutQuestion = "question_passed_on_without_question",
    PersonAskedFor = "person_asked_for",
    CancelAsked = "cancel_asked",
    HowToCancel = "how_to_cancel",
    CancelAtPortal = "cancel_at_portal",
    CancellingForYou = "cancelling_for_you",
    NothingCharged = "nothing_charged",
    CanCancelLater = "can_cancel_later",
    PhoneCodeAsked = "phone_code_asked",
    PhoneCode = "phone_code",
    PhoneCodeWrong = "phone_code_wrong",
    PhoneCodeOver = "phone_code_over",
    PhoneMoved = "phone_moved",
    PhoneMovedLive = "phone_moved_live",
    PhoneMovedAway = "phone_moved_away",
    PhoneNotMoved = "phone_not_moved",
    RefundAsked = "refund_asked",
    NothingToRefund = "nothing_to_refund",
    Terms = "terms",
    Closing = "closing",
    NoNumbersThere = "no_numbers_there",
    ReminderFirst = "reminder_first",
    ReminderNext = "reminder_next",
    ReminderLast = "reminder_last",
}

/// The wordings that are specified to the letter.
const FIXED: [Name; 4] = [Name::PaymentRequired, Name::AtCapacity, Name::ForwardIPhone, Name::AssigningNumber];

impl Name {
    /// Returns the wording of this name, if there is one.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text)
    }

    /// Returns whether the words are specified to the letter, so that an operator cannot change them.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        FIXED.contains(&self)
    }
}
