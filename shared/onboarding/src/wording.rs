//! Every text that we send, word for word.
//!
//! The specification fixes four texts to the letter: payment, capacity, the iPhone instructions and "We're assigning your JobRun
//! number now". The others are short, in plain UK English, and in characters of the GSM alphabet, so that one segment is enough
//! where possible. No text asks for a word that Twilio acts on, such as STOP or HELP.

use crate::calls::CallsToday;
use crate::network::Network;
use crate::segments::in_gsm_if_nothing_is_lost;
use crate::sent_text::REFERENCE;
pub use crate::text_kind::TextKind;
use crate::{ANSWER_CHARS_MAX, Call, Client, E164, Field, Half, PhoneType, State, VoiceMessage};

/// The placeholder for the payment link while none is configured.
const PAYMENT_LINK_PLACEHOLDER: &str = "https://buy.stripe.com/test_XXXXX (placeholder)";

/// A text to be sent to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The kind of the text.
    pub kind: TextKind,
    /// The words of the text.
    pub body: String,
    /// Of all texts with the same key, only the first is ever sent.
    pub once_key: Option<String>,
}

impl Text {
    /// Sets a key by which the owner is told of each call once, in any number and order of reports.
    pub(crate) fn once_for(self, call: &Call) -> Self {
        Self { once_key: call.sid.as_deref().map(Call::once_key), ..self }
    }
}

/// Makes a text. Every text is made here, so that each takes the fewest segments.
fn text(kind: TextKind, body: impl Into<String>) -> Text {
    let body = body.into();
    Text { kind, body: in_gsm_if_nothing_is_lost(&body).into_owned(), once_key: None }
}

pub(crate) fn welcome() -> Text {
    text(
        TextKind::Welcome,
        "Hi, welcome to JobRun! What's your trade, and where do you work?\n\nFor example: Plumber from London",
    )
}

pub(crate) fn ask_business_name() -> Text {
    text(TextKind::AskBusinessName, "Great, thanks! What's the name of your business?")
}

pub(crate) fn ask_owner_name() -> Text {
    text(TextKind::AskOwnerName, "Lovely. And what's your own name?")
}

pub(crate) fn ask_notification_pref() -> Text {
    text(
        TextKind::AskNotificationPref,
        "Nice to meet you! We'll tell you about missed calls by text.\n\nReply SMS if that suits you.",
    )
}

pub(crate) fn ask_confirm_live() -> Text {
    text(TextKind::AskConfirmLive, "That's all we need. Ready to get your JobRun number?\n\nReply YES to go ahead.")
}

pub(crate) fn no_hurry() -> Text {
    text(TextKind::NoHurry, "No hurry. Reply YES whenever you're ready to go ahead.")
}

pub(crate) fn payment_required(payment_link: &str) -> Text {
    text(
        TextKind::PaymentRequired,
        format!(
            "Perfect! One last step before we go live.\n\nJobRun costs £29/month (cancel anytime).\n\nTo activate, confirm \
             payment here:\n{payment_link}\n\nReply READY once you've confirmed."
        ),
    )
}

/// Returns the client's own payment link. Stripe returns the reference in it with the payment, which identifies the client.
pub(crate) fn payment_link(link: Option<&str>, client: &Client) -> String {
    let Some(link) = link else { return PAYMENT_LINK_PLACEHOLDER.to_owned() };
    let joint = if link.contains('?') { '&' } else { '?' };
    format!("{link}{joint}{REFERENCE}{}", client.payment_reference)
}

pub(crate) fn payment_awaited() -> Text {
    text(
        TextKind::PaymentAwaited,
        "Thanks! We're still confirming your payment, which can take a few days. We'll text you as soon as it's through.",
    )
}

pub(crate) fn payment_failed(payment_link: &str) -> Text {
    text(TextKind::PaymentFailed, format!("Sorry, your payment didn't go through.\n\nTo try again:\n{payment_link}"))
}

pub(crate) fn payment_overdue(has_number: bool) -> Text {
    let what = if has_number { "number stays yours" } else { "place is safe" };
    text(
        TextKind::PaymentOverdue,
        format!(
            "Hi, your latest JobRun payment didn't go through. No rush: your {what} while it's tried again. Please check the card \
             or account that you pay with."
        ),
    )
}

pub(crate) fn service_ended(had_number: bool, phone_type: Option<PhoneType>, payment_link: &str) -> Text {
    let forwarding = if had_number { format!(" {}", switch_forwarding_off(phone_type)) } else { String::new() };
    text(
        TextKind::ServiceEnded,
        format!("Your JobRun service has ended.{forwarding}\n\nTo come back any time:\n{payment_link}"),
    )
}

/// Says how to switch call forwarding off. Mobile phones take the code of every network (3GPP TS 22.030), and UK landlines those that
/// undo [`forwarding_instructions`].
fn switch_forwarding_off(phone_type: Option<PhoneType>) -> &'static str {
    match phone_type {
        Some(PhoneType::IPhone | PhoneType::Android) => "To switch call forwarding off, dial ##002# and press call.",
        Some(PhoneType::Landline) => "To switch call forwarding off, pick up and dial #61#, then #67#.",
        None => "To switch call forwarding off, dial ##002# (landline: #61#, then #67#).",
    }
}

/// Returns the words of an operator, as a text.
pub(crate) fn operator_reply(body: &str) -> Text {
    text(TextKind::OperatorReply, body)
}

/// Returns the text for a client without a number. A client who was told that it takes longer gets no second promise.
pub(crate) fn no_number_yet(told_late: bool) -> Text {
    if told_late { still_waiting() } else { at_capacity() }
}

fn at_capacity() -> Text {
    text(
        TextKind::AtCapacity,
        "We're currently at capacity.\n\nYour payment is confirmed, and you're on our priority list.\n\nWe'll text you \
         within 24 hours when your JobRun number is ready.",
    )
}

/// Returns the text for a waiting client for whom a number is held.
#[must_use]
pub fn number_ready() -> Text {
    text(TextKind::NumberReady, "Good news! Your JobRun number is ready for you.\n\nReply READY to continue.")
}

/// Returns the text for a waiting client without a number, shortly before the promised 24 hours are over, or later if no sweep ran
/// in time.
#[must_use]
pub fn still_waiting() -> Text {
    text(
        TextKind::StillWaiting,
        "Sorry, your JobRun number will take longer than the 24 hours we promised. Your place is safe, and we'll text you \
         as soon as it's ready.",
    )
}

pub(crate) fn ask_phone_type(number: &E164) -> Text {
    text(
        TextKind::AskPhoneType,
        format!(
            "Your JobRun number is {}.\n\nWhich phone do you use for work?\n1 iPhone\n2 Android\n3 Landline\n\nReply 1, 2 \
             or 3",
            number.as_str()
        ),
    )
}

/// Returns the text for a client whose number was taken back, if there is no other. A client who has paid `is_promised` one.
pub(crate) fn number_taken_back(is_promised: bool) -> Text {
    let promise = if is_promised { "\n\nWe'll text you as soon as we have a new one for you." } else { "" };
    text(
        TextKind::NumberTakenBack,
        format!("We've had to take your JobRun number back. Please switch off call forwarding on your phone.{promise}"),
    )
}

pub(crate) fn number_changed(number: &E164) -> Text {
    text(
        TextKind::NumberChanged,
        format!(
            "Your JobRun number had to change. It's now {}.\n\nPlease forward your calls to it. Which phone is it?\n1 iPhone\n\
             2 Android\n3 Landline\n\nReply 1, 2 or 3",
            number.as_str()
        ),
    )
}

pub(crate) fn assigning_number() -> Text {
    text(
        TextKind::AssigningNumber,
        "We're assigning your JobRun number now.\n\nThis usually takes a moment.\n\nReply READY in 1 minute to continue.",
    )
}

pub(crate) fn forwarding_instructions(phone_type: PhoneType, number: &E164) -> Text {
    let number = number.as_str();
    let body = match phone_type {
        PhoneType::IPhone => format!(
            "📱 iPhone Setup (30 seconds)\n\n1. Open Phone app\n2. Tap your profile (top right)\n3. Scroll to \"Call \
             Forwarding\"\n4. Enable \"When Busy or Unanswered\"\n5. Enter this number:\n   {number}\n\nDone? Reply DONE"
        ),
        PhoneType::Android => format!(
            "Android Setup (30 seconds)\n\nIn the Phone app, dial this and press call:\n**61*{number}#\n\nThen the same \
             with:\n**67*{number}#\n\nDone? Reply DONE"
        ),
        PhoneType::Landline => format!(
            "Landline Setup (1 minute)\n\nPick up and dial:\n*61*{}#\nWait for the voice, hang up, then dial:\n*67*{}#\n\n\
             Done? Reply DONE",
            as_dialled_at_home(number),
            as_dialled_at_home(number)
        ),
    };
    text(TextKind::ForwardingInstructions, body)
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
    let codes = |number: &str| format!("**61*{number}#\n**67*{number}#\n**62*{number}#");
    let done = "Done? Reply DONE. To switch it all off later, dial ##002#";
    let body = match phone_type {
        PhoneType::IPhone => format!(
            "No problem, there's another way. Open the keypad, dial each of these and press call:\n{}\n\n{done}",
            codes(number.as_str())
        ),
        PhoneType::Android => format!(
            "Sorry about that. Please dial ##002# and press call, which clears old settings. Then dial each of these:\n{}\n\n{done}",
            codes(number.as_str())
        ),
        PhoneType::Landline => format!(
            "Sorry about that. Your provider may have to switch on Call Divert for your line first: please ask them. Then dial *61*{}# \
             and wait for the voice.\n\nDone? Reply DONE",
            as_dialled_at_home(number.as_str())
        ),
    };
    text(TextKind::ForwardAnotherWay, body)
}

pub(crate) fn ask_network() -> Text {
    text(
        TextKind::AskNetwork,
        "Sorry that it still won't work. Which network is your phone with? Reply with its name, for example EE",
    )
}

/// Returns the way to forward calls on a network, for a client who cannot do it with the codes alone.
pub(crate) fn forward_on_network(network: Network, number: &E164) -> Text {
    let number = number.as_str();
    let name = if network == Network::Other { "your network" } else { network.name() };
    let clear = "dial ##002# and press call, which clears old settings. Then dial each of these, with the +44:";
    let first = if network == Network::Three {
        "On Three, voicemail has to be off first: ring 333 and switch it off. Then dial each of these and press call:"
            .to_owned()
    } else if network.is_a_host() {
        format!("On {name}, {clear}")
    } else {
        format!("Some networks block call divert, so please ask {name} to allow it. Then {clear}")
    };
    let codes = format!("**61*{number}#\n**67*{number}#\n**62*{number}#");
    let pay_as_you_go =
        if network.is_a_host() { "On pay as you go, you may have to ask for call divert. " } else { "" };
    text(TextKind::ForwardOnNetwork, format!("{first}\n{codes}\n\n{pay_as_you_go}Done? Reply DONE"))
}

pub(crate) fn remind_forwarding() -> Text {
    text(
        TextKind::RemindForwarding,
        "Once call forwarding is set up, reply DONE.\n\nWrong phone? Reply 1 for iPhone, 2 for Android or 3 for landline.",
    )
}

pub(crate) fn ask_test_call() -> Text {
    text(
        TextKind::AskTestCall,
        "Great! Now let's test it: ring your usual number from another phone and let it ring until it's answered. We'll \
         text you when it works.",
    )
}

pub(crate) fn remind_test_call() -> Text {
    text(
        TextKind::RemindTestCall,
        "We're waiting for your test call: ring your usual number from another phone and don't pick up. We'll text you \
         when it works.",
    )
}

pub(crate) fn test_call_under_way() -> Text {
    text(TextKind::TestCallUnderWay, "We can see your test call. Just hang up, and we'll text you when you're live.")
}

pub(crate) fn live() -> Text {
    text(TextKind::Live, "You're live! Your test call came through, so JobRun now answers when you can't.")
}

pub(crate) fn already_live() -> Text {
    text(
        TextKind::AlreadyLive,
        "You're all set: JobRun is live and answers when you can't. There's nothing more to do.",
    )
}

/// Returns the text about a call for the owner of a live number.
pub(crate) fn missed_call(caller: &E164, calls: &CallsToday) -> Text {
    let caller = caller.as_str();
    let body = if calls.is_first() {
        format!("Missed call: {caller} rang your JobRun number.")
    } else {
        format!("Missed call: {caller} rang again: {} {}{}.", calls.how_often(), calls.day(), calls.when())
    };
    text(TextKind::MissedCall, body)
}

/// Returns the text about calls from withheld numbers for the owner of a live number.
pub(crate) fn withheld_call(calls: &CallsToday) -> Text {
    let body = if calls.is_first() {
        "Missed call: a withheld number rang your JobRun number.".to_owned()
    } else {
        format!("Missed calls: {} calls {} from withheld numbers{}.", calls.number(), calls.day(), calls.when())
    };
    text(TextKind::MissedCall, body)
}

/// Returns the text about a message that a caller left, for the owner of a live number.
pub(crate) fn voicemail(message: &VoiceMessage, link: &str) -> Text {
    let caller = message.caller.as_ref().map_or("a withheld number", E164::as_str);
    let length = message.seconds.map(|seconds| format!(" ({}:{:02})", seconds / 60, seconds % 60)).unwrap_or_default();
    let body = format!("Voicemail from {caller}{length}. Listen within 7 days:\n{link}");
    Text { once_key: Some(format!("recording:{}", message.recording)), ..text(TextKind::Voicemail, body) }
}

pub(crate) fn ask_forwarding_test() -> Text {
    text(
        TextKind::TestForwarding,
        "Let's test it: ring your usual number from another phone within 15 minutes and let it ring. We'll text you when it comes \
         through.",
    )
}

/// Returns the text about the call that came while its owner tests the forwarding. The caller may be a customer.
pub(crate) fn forwarding_works(caller: Option<&E164>) -> Text {
    let call = match caller {
        Some(caller) => format!("a call from {}", caller.as_str()),
        None => "your test call".to_owned(),
    };
    text(TextKind::ForwardingWorks, format!("Your forwarding works: {call} has just come through."))
}

/// Returns the result of a test whose call was not taken for the test.
pub(crate) fn forwarding_worked() -> Text {
    text(TextKind::ForwardingWorks, "Your forwarding works: a call has come through since you asked.")
}

/// Returns the codes that mend forwarding, for a client whose test call did not come.
pub(crate) fn forwarding_broken(phone_type: Option<PhoneType>, number: &E164) -> Text {
    let number = number.as_str();
    let mend = match phone_type {
        Some(PhoneType::Landline) => {
            let number = as_dialled_at_home(number);
            format!("pick up and dial *61*{number}# and wait for the voice. Hang up, then dial *67*{number}#")
        }
        Some(PhoneType::IPhone | PhoneType::Android) | None => format!(
            "open the keypad, dial each of these and press call:\n**61*{number}#\n**67*{number}#\n**62*{number}#"
        ),
    };
    text(
        TextKind::ForwardingBroken,
        format!(
            "No call has come through, so your forwarding isn't working. To mend it, {mend}\n\nThen reply TEST to try again."
        ),
    )
}

pub(crate) fn no_calls_lately(days: i64) -> Text {
    text(
        TextKind::NoCallsLately,
        format!(
            "No call has come through to your JobRun number for {days} days. If that surprises you, reply TEST and we'll check it with you."
        ),
    )
}

/// Returns the text for a stranger who texts a number that is assigned to a client.
#[must_use]
pub fn misdirected(onboarding_number: &E164) -> Text {
    text(
        TextKind::Misdirected,
        format!("This number takes calls only. To join JobRun, please text {}.", onboarding_number.as_str()),
    )
}

/// Asks for the other half of the answer to S1.
pub(crate) fn ask_other_half(half: &Half) -> Text {
    text(
        TextKind::AskOtherHalf,
        match half {
            Half::Trade(_) => "Thanks! And where do you work?\n\nFor example: London",
            Half::Place(_) => "Thanks! And what's your trade?\n\nFor example: Plumber",
        },
    )
}

pub(crate) fn own_name_will_do() -> Text {
    text(
        TextKind::OwnNameWillDo,
        "No problem, lots of people trade under their own name. What name should we use for your business? Your own will do.",
    )
}

pub(crate) fn too_long(question: &Text) -> Text {
    text(
        TextKind::TooLong,
        format!(
            "Sorry, that's too long for us. Please keep it under {ANSWER_CHARS_MAX} characters.\n\n{}",
            question.body
        ),
    )
}

/// Says that the client's text was sent before our question arrived.
pub(crate) fn crossed(client: &Client) -> Text {
    text(TextKind::Crossed, format!("Sorry, our texts crossed. {}", reminder(client).body))
}

pub(crate) fn corrected(field: Field, answer: &str, question: &Text) -> Text {
    let what = match field {
        Field::TradeAndPlace | Field::Trade => "trade and place",
        Field::BusinessName => "business name",
        Field::OwnerName | Field::Surname => "own name",
    };
    text(TextKind::Corrected, format!("Thanks, we've changed your {what} to: {answer}\n\n{}", question.body))
}

pub(crate) fn who_we_are() -> Text {
    text(
        TextKind::WhoWeAre,
        "This is JobRun. We give tradespeople a phone number that answers when they can't. If that's not for you, sorry for the \
         mix-up: there's no need to reply.",
    )
}

pub(crate) fn offer_person() -> Text {
    text(
        TextKind::OfferPerson,
        "Sorry, we don't seem to understand each other. Somebody from our team will get in touch. Rather be rung? Reply CALL ME. Or go \
         on here any time.",
    )
}

/// Returns `answer` with the words that keep the client's place in the conversation.
fn with_place(answer: &str, place: Option<&str>) -> Text {
    let place = place.map(|place| format!("\n\n{place}")).unwrap_or_default();
    text(TextKind::OfferPerson, format!("{answer}{place}"))
}

/// Returns the text for a sender who doubts that we are honest.
pub(crate) fn doubt_answered() -> Text {
    text(
        TextKind::OfferPerson,
        "Fair question! JobRun gives tradespeople a number that answers when they can't, for £29 a month. Rather talk to a person? \
         Reply CALL ME.",
    )
}

pub(crate) fn help_offered(place: Option<&str>) -> Text {
    with_place("Happy to help! Our team will text you. Rather talk? Reply CALL ME.", place)
}

pub(crate) fn question_passed_on(place: Option<&str>) -> Text {
    with_place("Thanks for asking! Our team will text you back. Rather talk? Reply CALL ME.", place)
}

pub(crate) fn person_asked_for() -> Text {
    text(TextKind::OfferPerson, "Of course. Somebody from our team will get in touch. You can go on here any time.")
}

/// Confirms the wish to cancel if `has_asked`, and otherwise says what to reply to cancel.
pub(crate) fn how_to_cancel(has_asked: bool) -> Text {
    text(
        TextKind::HowToCancel,
        if has_asked {
            "Sorry to see you go. To cancel your subscription, your text is all it takes: our team will do it, and we'll text you \
             once it has ended."
        } else {
            "You can cancel any time. To cancel your subscription, reply I WANT TO CANCEL MY SUBSCRIPTION, and our team will do it."
        },
    )
}

/// Says where a client cancels its subscription by itself.
pub(crate) fn cancel_at_portal(portal: &str) -> Text {
    text(
        TextKind::HowToCancel,
        format!(
            "You can cancel your subscription any time here:\n{portal}\n\nJobRun goes on until the end of the time that you've paid for. \
             We'll text you then."
        ),
    )
}

/// Confirms to a client that our team cancels for it.
pub(crate) fn cancelling_for_you() -> Text {
    text(
        TextKind::HowToCancel,
        "Sorry to see you go. Our team will cancel your subscription, and we'll text you once it has ended.",
    )
}

pub(crate) fn nothing_charged() -> Text {
    text(
        TextKind::NothingCharged,
        "There's nothing to cancel: you have no JobRun subscription, and nothing is being charged.",
    )
}

/// Tells a client who pays nothing yet how it will be able to cancel.
pub(crate) fn can_cancel_later(question: &Text) -> Text {
    let answer = "You have no JobRun subscription yet. Once you do, you can cancel any time by telling us here.";
    text(TextKind::NothingCharged, format!("{answer}\n\n{}", question.body))
}

/// Tells a new phone that a code was sent to the old number, in the same words whether or not it was.
pub(crate) fn phone_code_asked() -> Text {
    text(
        TextKind::PhoneCodeAsked,
        "Thanks. If that number is with JobRun, we've texted a code to it. Please reply with the code. Don't have that phone any more? \
         Reply PERSON.",
    )
}

/// Returns the text with the code, for the old phone.
#[must_use]
pub fn phone_code(code: &str) -> Text {
    text(
        TextKind::PhoneCode,
        format!("Your JobRun code is {code}. If you didn't ask to move to a new phone, ignore this: nothing changes."),
    )
}

pub(crate) fn phone_code_wrong() -> Text {
    text(
        TextKind::PhoneCodeWrong,
        "Sorry, that isn't the code. Please reply with the newest one on your old phone. Don't have that phone any more? Reply PERSON.",
    )
}

pub(crate) fn phone_code_over() -> Text {
    text(
        TextKind::PhoneCodeWrong,
        "Sorry, that code has run out. For a new one, text MY OLD NUMBER IS, and the number. Don't have that phone any more? Reply PERSON.",
    )
}

/// Tells a client on its new phone that it has moved, and what comes next: forwarding is set on each phone anew.
#[must_use]
pub fn phone_moved(client: &Client) -> Text {
    let next = match (&client.number, client.state) {
        (Some(number), State::Complete) => {
            let number = number.as_str();
            format!(
                "To forward this phone's calls too, dial each of these and press call:\n**61*{number}#\n**67*{number}#"
            )
        }
        (Some(_) | None, _) => reminder(client).body,
    };
    text(TextKind::PhoneMoved, format!("Done: your JobRun is on this phone now.\n\n{next}"))
}

/// Tells the old phone that its client has moved.
#[must_use]
pub fn phone_moved_away(new: &E164) -> Text {
    let digits = new.digits();
    let ending = digits.get(digits.len().saturating_sub(3)..).unwrap_or_default();
    text(
        TextKind::PhoneMovedAway,
        format!("Your JobRun has moved to a new phone ending {ending}. If that wasn't you, reply PERSON here at once."),
    )
}

/// Tells a new phone with the right code that it did not work all the same.
#[must_use]
pub fn phone_not_moved() -> Text {
    text(
        TextKind::PhoneNotMoved,
        "Sorry, we couldn't move your JobRun to this phone. Somebody from our team will get in touch.",
    )
}

pub(crate) fn refund_asked() -> Text {
    text(
        TextKind::RefundAsked,
        "Sorry to hear that. We've passed this on, and somebody from our team will look at your payment and get in touch.",
    )
}

pub(crate) fn nothing_to_refund() -> Text {
    text(
        TextKind::NothingCharged,
        "We have no payment from you, so there's nothing to give back, and nothing is being charged.",
    )
}

/// States the price and the term, as the payment text does.
pub(crate) fn terms(question: &Text) -> Text {
    text(TextKind::Terms, format!("JobRun costs £29 a month, and you can cancel any time.\n\n{}", question.body))
}

/// Closes the conversation, once for each question: a sender who is not interested is not asked again.
pub(crate) fn closing(client: &Client) -> Text {
    let once_key = Some(format!("closing:{}:{}", client.id, client.state.name()));
    let body = "No problem, and thanks for letting us know. If you change your mind, just reply here any time.";
    Text { once_key, ..text(TextKind::Closing, body) }
}

pub(crate) fn no_numbers_there() -> Text {
    text(
        TextKind::NoNumbersThere,
        "Thanks for your interest! Sorry, JobRun has no numbers in your country yet, so we can't sign you up at the moment.",
    )
}

/// Returns the open question again, for a client whose text did not answer it.
pub(crate) fn reminder(client: &Client) -> Text {
    match client.state {
        State::S1BusinessTypeLocation => welcome(),
        State::S2BusinessName => text(TextKind::AskBusinessName, "What's the name of your business?"),
        State::S3OwnerName => text(TextKind::AskOwnerName, "What's your own name?"),
        State::S4NotificationPref => text(
            TextKind::AskNotificationPref,
            "We'll tell you about missed calls by text. Reply SMS if that suits you.",
        ),
        State::S5ConfirmLive => {
            text(TextKind::AskConfirmLive, "Reply YES when you're ready to get your JobRun number.")
        }
        State::S6PhoneType => match &client.number {
            Some(number) => ask_phone_type(number),
            None => text(
                TextKind::AskPhoneType,
                "Which phone do you use for work?\n1 iPhone\n2 Android\n3 Landline\n\nReply 1, 2 or 3",
            ),
        },
        State::S7FwdSent => remind_forwarding(),
        State::S8FwdConfirm => remind_test_call(),
        State::S9TestCall => test_call_under_way(),
        State::Complete => already_live(),
    }
}

/// Returns the reminder of a client who has not answered `question`: the `nth`, from 1.
pub(crate) fn remind_silent(question: &str, nth: usize, is_last: bool) -> Text {
    let body = match (is_last, nth) {
        (true, _) => format!(
            "One last reminder from JobRun.\n\n{question}\n\nIf now isn't a good time, no problem: we won't remind you again, and \
             you can carry on here any time."
        ),
        (false, 1) => format!("Hi from JobRun! Shall we carry on?\n\n{question}"),
        (false, _) => format!("Hi again from JobRun. You can carry on right where you left off.\n\n{question}"),
    };
    text(TextKind::Reminder, body)
}

/// Asks for the trade and the place without the welcome.
pub(crate) fn trade_and_place_again() -> String {
    "What's your trade, and where do you work?\n\nFor example: Plumber from London".to_owned()
}

/// Asks for the payment without the price, which the client has been told.
pub(crate) fn payment_again(payment_link: &str) -> String {
    format!(
        "To activate your JobRun number, confirm payment here:\n{payment_link}\n\nReply READY once you've confirmed."
    )
}

/// Sends the instructions for the phone that the client has named to a client who is asked for its phone.
pub(crate) fn instructions_again(phone_type: PhoneType, number: &E164) -> String {
    let instructions = forwarding_instructions(phone_type, number).body;
    format!("{instructions}\n\nAnother phone? Reply 1 for iPhone, 2 for Android or 3 for landline.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::segments;

    #[test]
    fn texts_to_waiting_clients_and_fixed_replies_are_one_segment() {
        let mut fixed = vec![
            number_ready(),
            still_waiting(),
            own_name_will_do(),
            offer_person(),
            doubt_answered(),
            help_offered(None),
            question_passed_on(Some("Reply YES when you're ready to get your JobRun number.")),
            person_asked_for(),
            nothing_charged(),
        ];
        fixed.extend([
            how_to_cancel(true),
            how_to_cancel(false),
            cancelling_for_you(),
            refund_asked(),
            nothing_to_refund(),
        ]);
        fixed.extend([
            phone_code_asked(),
            phone_code("123456"),
            phone_code_wrong(),
            phone_code_over(),
            phone_not_moved(),
        ]);
        fixed.extend([terms(&ask_owner_name()), terms(&ask_confirm_live())]);
        for text in fixed.into_iter().chain([no_numbers_there(), who_we_are(), too_long(&ask_owner_name())]) {
            assert_eq!(segments(&text.body).count, 1, "{}", text.body);
        }
    }
}
