//! Every text that we send: its kind, the name of its wording, and the values in it.
//!
//! The words are in `wording/en-GB.toml`, and an operator may change most of them. They are short, in plain UK English, and in
//! characters of the GSM alphabet, so that one segment is enough where possible. The file and the checks of `wording_file` say
//! what holds for every wording.

use crate::calls::CallsToday;
use crate::network::Network;
use crate::sent_text::REFERENCE;
pub use crate::text_kind::TextKind;
use crate::wording_name::Name;
use crate::words::{Wording, Words};
use crate::{ANSWER_CHARS_MAX, Call, Client, E164, Field, Half, PhoneType, State, VoiceMessage};

/// The placeholder for the payment link while none is configured.
const PAYMENT_LINK_PLACEHOLDER: &str = "https://buy.stripe.com/test_XXXXX (placeholder)";

/// A text to be sent to a client. Its words are not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The kind of the text.
    pub kind: TextKind,
    /// Which wording it has, with which values.
    pub words: Words,
    /// Of all texts with the same key, only the first is ever sent.
    pub once_key: Option<String>,
}

/// A text with its words written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenText {
    /// The kind of the text.
    pub kind: TextKind,
    /// The words of the text.
    pub body: String,
    /// Of all texts with the same key, only the first is ever sent.
    pub once_key: Option<String>,
}

impl Text {
    /// Writes the words of the text.
    #[must_use]
    pub fn write(&self, wording: &Wording) -> WrittenText {
        WrittenText { kind: self.kind, body: wording.write(&self.words), once_key: self.once_key.clone() }
    }

    /// Sets a key by which the owner is told of each call once, in any number and order of reports.
    pub(crate) fn once_for(self, call: &Call) -> Self {
        Self { once_key: call.sid.as_ref().map(|sid| format!("call:{sid}")), ..self }
    }
}

fn text(kind: TextKind, words: impl Into<Words>) -> Text {
    Text { kind, words: words.into(), once_key: None }
}

pub(crate) fn welcome() -> Text {
    text(TextKind::Welcome, Name::Welcome)
}

pub(crate) fn ask_business_name() -> Text {
    text(TextKind::AskBusinessName, Name::AskBusinessName)
}

pub(crate) fn ask_owner_name() -> Text {
    text(TextKind::AskOwnerName, Name::AskOwnerName)
}

pub(crate) fn ask_notification_pref() -> Text {
    text(TextKind::AskNotificationPref, Name::AskNotificationPref)
}

pub(crate) fn ask_confirm_live() -> Text {
    text(TextKind::AskConfirmLive, Name::AskConfirmLive)
}

pub(crate) fn no_hurry() -> Text {
    text(TextKind::NoHurry, Name::NoHurry)
}

pub(crate) fn payment_required(payment_link: &str) -> Text {
    text(TextKind::PaymentRequired, Name::PaymentRequired.with("payment_link", payment_link))
}

/// Returns the client's own payment link. Stripe returns the reference in it with the payment, which identifies the client.
pub(crate) fn payment_link(link: Option<&str>, client: &Client) -> String {
    let Some(link) = link else { return PAYMENT_LINK_PLACEHOLDER.to_owned() };
    let joint = if link.contains('?') { '&' } else { '?' };
    format!("{link}{joint}{REFERENCE}{}", client.payment_reference)
}

pub(crate) fn payment_awaited() -> Text {
    text(TextKind::PaymentAwaited, Name::PaymentAwaited)
}

pub(crate) fn payment_failed(payment_link: &str) -> Text {
    text(TextKind::PaymentFailed, Name::PaymentFailed.with("payment_link", payment_link))
}

pub(crate) fn payment_overdue(has_number: bool) -> Text {
    let name = if has_number { Name::PaymentOverdue } else { Name::PaymentOverdueWithoutNumber };
    text(TextKind::PaymentOverdue, name)
}

/// Says that the service has ended, and how to switch call forwarding off. Mobile phones take the code of every network (3GPP TS
/// 22.030), and UK landlines those that undo [`forwarding_instructions`].
pub(crate) fn service_ended(had_number: bool, phone_type: Option<PhoneType>, payment_link: &str) -> Text {
    let name = match (had_number, phone_type) {
        (false, _) => Name::ServiceEndedWithoutNumber,
        (true, Some(PhoneType::IPhone | PhoneType::Android)) => Name::ServiceEndedOnMobile,
        (true, Some(PhoneType::Landline)) => Name::ServiceEndedOnLandline,
        (true, None) => Name::ServiceEnded,
    };
    text(TextKind::ServiceEnded, name.with("payment_link", payment_link))
}

/// Returns the words of an operator, as a text.
pub(crate) fn operator_reply(body: &str) -> Text {
    text(TextKind::OperatorReply, body)
}

/// Returns the text for a client without a number. A client who was told that it takes longer gets no second promise.
pub(crate) fn no_number_yet(told_late: bool) -> Text {
    if told_late { still_waiting() } else { text(TextKind::AtCapacity, Name::AtCapacity) }
}

/// Returns the text for a waiting client for whom a number is held.
#[must_use]
pub fn number_ready() -> Text {
    text(TextKind::NumberReady, Name::NumberReady)
}

/// Returns the text for a waiting client without a number, shortly before the promised 24 hours are over, or later if no sweep ran
/// in time.
#[must_use]
pub fn still_waiting() -> Text {
    text(TextKind::StillWaiting, Name::StillWaiting)
}

pub(crate) fn ask_phone_type(number: &E164) -> Text {
    text(TextKind::AskPhoneType, Name::AskPhoneType.with("number", number.as_str()))
}

/// Returns the text for a client whose number was taken back, if there is no other. A client who has paid `is_promised` one.
pub(crate) fn number_taken_back(is_promised: bool) -> Text {
    let name = if is_promised { Name::NumberTakenBackForNow } else { Name::NumberTakenBack };
    text(TextKind::NumberTakenBack, name)
}

pub(crate) fn number_changed(number: &E164) -> Text {
    text(TextKind::NumberChanged, Name::NumberChanged.with("number", number.as_str()))
}

pub(crate) fn assigning_number() -> Text {
    text(TextKind::AssigningNumber, Name::AssigningNumber)
}

pub(crate) fn forwarding_instructions(phone_type: PhoneType, number: &E164) -> Text {
    let words = match phone_type {
        PhoneType::IPhone => Name::ForwardIPhone.with("number", number.as_str()),
        PhoneType::Android => Name::ForwardAndroid.with("number", number.as_str()),
        PhoneType::Landline => Name::ForwardLandline.with("dialled_number", as_dialled_at_home(number.as_str())),
    };
    text(TextKind::ForwardingInstructions, words)
}

/// Returns a number as a UK landline dials it: 07… for +447…, and 00 for the plus sign of other countries.
fn as_dialled_at_home(number: &str) -> String {
    match number.strip_prefix("+44") {
        Some(rest) => format!("0{rest}"),
        None => number.replacen('+', "00", 1),
    }
}

/// Returns another way to forward calls, for a client who cannot do it as it was told. The codes are those of every UK network (3GPP
/// TS 22.030).
pub(crate) fn forward_another_way(phone_type: PhoneType, number: &E164) -> Text {
    let words = match phone_type {
        PhoneType::IPhone => Name::ForwardIPhoneAnotherWay.with("number", number.as_str()),
        PhoneType::Android => Name::ForwardAndroidAnotherWay.with("number", number.as_str()),
        PhoneType::Landline => {
            Name::ForwardLandlineAnotherWay.with("dialled_number", as_dialled_at_home(number.as_str()))
        }
    };
    text(TextKind::ForwardAnotherWay, words)
}

pub(crate) fn ask_network() -> Text {
    text(TextKind::AskNetwork, Name::AskNetwork)
}

/// Returns the way to forward calls on a network, for a client who cannot do it with the codes alone.
pub(crate) fn forward_on_network(network: Network, number: &E164) -> Text {
    let words = if network == Network::Three {
        Name::ForwardOnThree.into()
    } else if network == Network::Other {
        Name::ForwardOnUnknownNetwork.into()
    } else if network.is_a_host() {
        Name::ForwardOnHost.with("network", network.name())
    } else {
        Name::ForwardOnGuest.with("network", network.name())
    };
    text(TextKind::ForwardOnNetwork, words.with("number", number.as_str()))
}

pub(crate) fn remind_forwarding() -> Text {
    text(TextKind::RemindForwarding, Name::RemindForwarding)
}

pub(crate) fn ask_test_call() -> Text {
    text(TextKind::AskTestCall, Name::AskTestCall)
}

pub(crate) fn remind_test_call() -> Text {
    text(TextKind::RemindTestCall, Name::RemindTestCall)
}

pub(crate) fn test_call_under_way() -> Text {
    text(TextKind::TestCallUnderWay, Name::TestCallUnderWay)
}

pub(crate) fn live() -> Text {
    text(TextKind::Live, Name::Live)
}

pub(crate) fn already_live() -> Text {
    text(TextKind::AlreadyLive, Name::AlreadyLive)
}

pub(crate) fn ask_text_back() -> Text {
    text(TextKind::AskTextBack, Name::AskTextBack)
}

/// Says whether the client's callers are texted back from now on.
pub(crate) fn text_back_chosen(is_on: bool) -> Text {
    text(TextKind::TextBackChosen, if is_on { Name::TextBackOn } else { Name::TextBackOff })
}

/// Returns the text to the caller of a missed call.
pub(crate) fn text_back(business: &str) -> Text {
    text(TextKind::TextBack, Name::TextBack.with("business", business))
}

/// Returns the text about a call for the owner of a live number.
pub(crate) fn missed_call(caller: &E164, calls: &CallsToday) -> Text {
    let words = if calls.is_first() {
        Name::MissedCall.into()
    } else {
        Name::MissedCallAgain.with("how_often", calls.how_often()).with("day", calls.day()).with("when", calls.when())
    };
    text(TextKind::MissedCall, words.with("caller", caller.as_str()))
}

/// Returns the text about calls from withheld numbers for the owner of a live number.
pub(crate) fn withheld_call(calls: &CallsToday) -> Text {
    let words = if calls.is_first() {
        Name::WithheldCall.into()
    } else {
        Name::WithheldCallAgain.with("count", calls.number()).with("day", calls.day()).with("when", calls.when())
    };
    text(TextKind::MissedCall, words)
}

/// Returns the text about a message that a caller left, for the owner of a live number.
pub(crate) fn voicemail(message: &VoiceMessage, link: &str) -> Text {
    let length = message.seconds.map(|seconds| format!(" ({}:{:02})", seconds / 60, seconds % 60)).unwrap_or_default();
    let words = match &message.caller {
        Some(caller) => Name::Voicemail.with("caller", caller.as_str()),
        None => Name::VoicemailWithheld.into(),
    };
    let words = words.with("length", length).with("link", link);
    Text { once_key: Some(format!("recording:{}", message.recording)), ..text(TextKind::Voicemail, words) }
}

pub(crate) fn ask_forwarding_test() -> Text {
    text(TextKind::TestForwarding, Name::AskForwardingTest)
}

/// Returns the text about the call that came while its owner tests the forwarding. The caller may be a customer.
pub(crate) fn forwarding_works(caller: Option<&E164>) -> Text {
    let words = match caller {
        Some(caller) => Name::ForwardingWorks.with("caller", caller.as_str()),
        None => Name::ForwardingWorksTestCall.into(),
    };
    text(TextKind::ForwardingWorks, words)
}

/// Returns the result of a test whose call was not taken for the test.
pub(crate) fn forwarding_worked() -> Text {
    text(TextKind::ForwardingWorks, Name::ForwardingWorked)
}

/// Returns the codes that mend forwarding, for a client whose test call did not come.
pub(crate) fn forwarding_broken(phone_type: Option<PhoneType>, number: &E164) -> Text {
    let words = match phone_type {
        Some(PhoneType::Landline) => {
            Name::ForwardingBrokenLandline.with("dialled_number", as_dialled_at_home(number.as_str()))
        }
        Some(PhoneType::IPhone | PhoneType::Android) | None => Name::ForwardingBroken.with("number", number.as_str()),
    };
    text(TextKind::ForwardingBroken, words)
}

/// Tells that no call has come for `days`; for long, if it is not known when the last one came.
pub(crate) fn no_calls_lately(days: Option<i64>) -> Text {
    let words = days.map(|days| Name::NoCallsLately.with("days", days.to_string()));
    text(TextKind::NoCallsLately, words.unwrap_or_else(|| Name::NoCallsForLong.into()))
}

/// Returns the text for a stranger who texts a number that is assigned to a client.
#[must_use]
pub fn misdirected(onboarding_number: &E164) -> Text {
    text(TextKind::Misdirected, Name::Misdirected.with("onboarding_number", onboarding_number.as_str()))
}

/// Asks for the other half of the answer to S1.
pub(crate) fn ask_other_half(half: &Half) -> Text {
    let name = match half {
        Half::Trade(_) => Name::AskPlace,
        Half::Place(_) => Name::AskTrade,
    };
    text(TextKind::AskOtherHalf, name)
}

pub(crate) fn own_name_will_do() -> Text {
    text(TextKind::OwnNameWillDo, Name::OwnNameWillDo)
}

pub(crate) fn too_long(question: &Text) -> Text {
    let words = Name::TooLong.with("limit", ANSWER_CHARS_MAX.to_string());
    text(TextKind::TooLong, words.with("question", question.words.clone()))
}

/// Says that the client's text was sent before our question arrived.
pub(crate) fn crossed(question: Words) -> Text {
    text(TextKind::Crossed, Name::Crossed.with("question", question))
}

pub(crate) fn corrected(field: Field, answer: &str, question: Words) -> Text {
    let name = match field {
        Field::TradeAndPlace | Field::Trade => Name::CorrectedTradeAndPlace,
        Field::BusinessName => Name::CorrectedBusinessName,
        Field::OwnerName | Field::Surname => Name::CorrectedOwnerName,
    };
    text(TextKind::Corrected, name.with("answer", answer).with("question", question))
}

pub(crate) fn who_we_are() -> Text {
    text(TextKind::WhoWeAre, Name::WhoWeAre)
}

/// Returns the text for a client whom the conversation does not understand. It offers a call only where a case is kept of who asks
/// for one.
pub(crate) fn offer_person(offers_call: bool) -> Text {
    text(TextKind::OfferPerson, if offers_call { Name::OfferPerson } else { Name::TeamGetsInTouch })
}

/// Returns the text for a sender who doubts that we are honest.
pub(crate) fn doubt_answered() -> Text {
    text(TextKind::OfferPerson, Name::DoubtAnswered)
}

/// Returns the text for a sender who asks for help, with the words that keep its place in the conversation.
pub(crate) fn help_offered(place: Option<Words>) -> Text {
    let words = match place {
        Some(place) => Name::HelpOffered.with("question", place),
        None => Name::HelpOfferedWithoutQuestion.into(),
    };
    text(TextKind::OfferPerson, words)
}

/// Returns the text for a sender who asks something, with the words that keep its place in the conversation.
pub(crate) fn question_passed_on(place: Option<Words>) -> Text {
    let words = match place {
        Some(place) => Name::QuestionPassedOn.with("question", place),
        None => Name::QuestionPassedOnWithoutQuestion.into(),
    };
    text(TextKind::OfferPerson, words)
}

pub(crate) fn person_asked_for() -> Text {
    text(TextKind::OfferPerson, Name::PersonAskedFor)
}

/// Confirms the wish to cancel if `has_asked`, and otherwise says what to reply to cancel.
pub(crate) fn how_to_cancel(has_asked: bool) -> Text {
    text(TextKind::HowToCancel, if has_asked { Name::CancelAsked } else { Name::HowToCancel })
}

/// Says where a client cancels its subscription by itself.
pub(crate) fn cancel_at_portal(portal: &str) -> Text {
    text(TextKind::HowToCancel, Name::CancelAtPortal.with("portal", portal))
}

/// The same, for an operator. The client may not have asked by text, so it does not ask again if this is lost.
pub(crate) fn cancel_at_portal_for_operator(portal: &str) -> Text {
    Text { kind: TextKind::CancelAtPortal, ..cancel_at_portal(portal) }
}

/// Confirms to a client that our team cancels for it.
pub(crate) fn cancelling_for_you() -> Text {
    text(TextKind::HowToCancel, Name::CancellingForYou)
}

pub(crate) fn nothing_charged() -> Text {
    text(TextKind::NothingCharged, Name::NothingCharged)
}

/// Tells a client who pays nothing yet how it will be able to cancel.
pub(crate) fn can_cancel_later(question: &Text) -> Text {
    text(TextKind::NothingCharged, Name::CanCancelLater.with("question", question.words.clone()))
}

/// Tells a new phone that a code was sent to the old number, in the same words whether or not it was.
pub(crate) fn phone_code_asked() -> Text {
    text(TextKind::PhoneCodeAsked, Name::PhoneCodeAsked)
}

/// Returns the text with the code, for the old phone.
#[must_use]
pub fn phone_code(code: &str) -> Text {
    text(TextKind::PhoneCode, Name::PhoneCode.with("code", code))
}

pub(crate) fn phone_code_wrong() -> Text {
    text(TextKind::PhoneCodeWrong, Name::PhoneCodeWrong)
}

pub(crate) fn phone_code_over() -> Text {
    text(TextKind::PhoneCodeWrong, Name::PhoneCodeOver)
}

/// Tells a client on its new phone that it has moved, and what comes next: forwarding is set on each phone anew.
#[must_use]
pub fn phone_moved(client: &Client) -> Text {
    let words = match (&client.number, client.state) {
        (Some(number), State::Complete) => Name::PhoneMovedLive.with("number", number.as_str()),
        (Some(_) | None, _) => Name::PhoneMoved.with("question", reminder(client).words),
    };
    text(TextKind::PhoneMoved, words)
}

/// Tells the old phone that its client has moved.
#[must_use]
pub fn phone_moved_away(new: &E164) -> Text {
    let digits = new.digits();
    let ending = digits.get(digits.len().saturating_sub(3)..).unwrap_or_default();
    text(TextKind::PhoneMovedAway, Name::PhoneMovedAway.with("ending", ending))
}

/// Tells a new phone with the right code that it did not work all the same.
#[must_use]
pub fn phone_not_moved() -> Text {
    text(TextKind::PhoneNotMoved, Name::PhoneNotMoved)
}

pub(crate) fn refund_asked() -> Text {
    text(TextKind::RefundAsked, Name::RefundAsked)
}

pub(crate) fn nothing_to_refund() -> Text {
    text(TextKind::NothingCharged, Name::NothingToRefund)
}

/// States the price and the term, as the payment text does.
pub(crate) fn terms(question: Words) -> Text {
    text(TextKind::Terms, Name::Terms.with("question", question))
}

/// Closes the conversation, once for each question: a sender who is not interested is not asked again.
pub(crate) fn closing(client: &Client) -> Text {
    let once_key = Some(format!("closing:{}:{}", client.id, client.state.name()));
    Text { once_key, ..text(TextKind::Closing, Name::Closing) }
}

pub(crate) fn no_numbers_there() -> Text {
    text(TextKind::NoNumbersThere, Name::NoNumbersThere)
}

/// Returns the open question again, for a client whose text did not answer it.
pub(crate) fn reminder(client: &Client) -> Text {
    match client.state {
        State::S1BusinessTypeLocation => welcome(),
        State::S2BusinessName => text(TextKind::AskBusinessName, Name::BusinessNameAgain),
        State::S3OwnerName => text(TextKind::AskOwnerName, Name::OwnerNameAgain),
        State::S4NotificationPref => text(TextKind::AskNotificationPref, Name::NotificationPrefAgain),
        State::S5ConfirmLive => text(TextKind::AskConfirmLive, Name::ConfirmLiveAgain),
        State::S6PhoneType => match &client.number {
            Some(number) => ask_phone_type(number),
            None => text(TextKind::AskPhoneType, Name::AskPhoneTypeWithoutNumber),
        },
        State::S7FwdSent => remind_forwarding(),
        State::S8FwdConfirm => remind_test_call(),
        State::S9TestCall => test_call_under_way(),
        State::Complete => already_live(),
    }
}

/// Returns the reminder of a client who has not taken `next_step`: the `nth`, from 1.
pub(crate) fn remind_silent(next_step: Words, nth: usize, is_last: bool) -> Text {
    let name = match (is_last, nth) {
        (true, _) => Name::ReminderLast,
        (false, 1) => Name::ReminderFirst,
        (false, _) => Name::ReminderNext,
    };
    text(TextKind::Reminder, name.with("next_step", next_step))
}

/// Asks for the phone, without the number, which the client has been told.
pub(crate) fn phone_type_in_short() -> Words {
    Name::PhoneTypeInShort.into()
}

pub(crate) fn network_in_short() -> Words {
    Name::NetworkInShort.into()
}

/// Waits for the forwarding. A client who has another phone says so all the same.
pub(crate) fn forwarding_in_short() -> Words {
    Name::ForwardingInShort.into()
}

pub(crate) fn test_call_in_short() -> Words {
    Name::TestCallInShort.into()
}

/// Asks for the trade and the place without the welcome.
pub(crate) fn trade_and_place_again() -> Words {
    Name::TradeAndPlaceAgain.into()
}

/// Asks for the payment without the price, which the client has been told.
pub(crate) fn payment_again(payment_link: &str) -> Words {
    Name::PaymentAgain.with("payment_link", payment_link)
}

/// Sends the instructions for the phone that the client has named to a client who is asked for its phone.
pub(crate) fn instructions_again(phone_type: PhoneType, number: &E164) -> Words {
    Name::InstructionsAgain.with("instructions", forwarding_instructions(phone_type, number).words)
}
