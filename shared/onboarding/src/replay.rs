//! Decides whether a failed text is sent again when an operator asks for that.
//!
//! A question is sent again only if it is still open, and news only if it is still true: the client's state shows that, so its age
//! matters little. A reply has no state to be compared with, so it is sent again only while it would have been sent at first
//! ([`TextKind::stale_after`]), and only if nothing followed it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::open_question::half_known;
use crate::sent_text::number_told;
use crate::{Client, Payment, State, TextKind, wording};

/// A text older than this is not sent again, even if its question is still open.
const REPLAYED_WITHIN: TimeDelta = TimeDelta::days(7);

/// A text that was not sent, or not delivered.
#[derive(Clone, Debug)]
pub struct FailedText<'a> {
    /// Its kind; empty for a kind that this version does not know.
    pub kind: Option<TextKind>,
    /// Its words.
    pub body: &'a str,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// Whether the conversation went on after it.
    pub went_on: bool,
    /// Whether a later text to the same phone says the same.
    pub said_again: bool,
}

/// The facts that a replay depends on, besides the client and the text.
#[derive(Clone, Copy, Debug)]
pub struct ReplayFacts<'a> {
    /// The payment link, without the client's reference. If `None`, the links in texts are not compared with it.
    pub payment_link: Option<&'a str>,
    /// Whether a number is held for the client.
    pub number_held: bool,
    /// Whether the recipient, who is no client, has opted out.
    pub stranger_opted_out: bool,
    /// The time of the decision.
    pub now: DateTime<Utc>,
}

/// Why a failed text is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotReplayed {
    /// The recipient opted out.
    OptedOut,
    /// No text reaches the recipient.
    Unreachable,
    /// The text is too old to be of use.
    TooOld,
    /// A later text says the same.
    SaidAgain,
    /// The conversation went on without it.
    WentOn,
    /// The client has moved on: the question is closed, or the news is not true any more.
    OutOfDate,
    /// It tells a number that is not the client's, or not any more.
    NumberChanged,
    /// It has a payment link that is not used any more.
    LinkChanged,
    /// An operator has taken the client over.
    TakenOver,
    /// This version does not know its kind.
    UnknownKind,
}

impl NotReplayed {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::OptedOut,
        Self::Unreachable,
        Self::TooOld,
        Self::SaidAgain,
        Self::WentOn,
        Self::OutOfDate,
        Self::NumberChanged,
        Self::LinkChanged,
        Self::TakenOver,
        Self::UnknownKind,
    ];

    /// Returns the name under which the reason is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::Unreachable => "unreachable",
            Self::TooOld => "too_old",
            Self::SaidAgain => "said_again",
            Self::WentOn => "went_on",
            Self::OutOfDate => "out_of_date",
            Self::NumberChanged => "number_changed",
            Self::LinkChanged => "link_changed",
            Self::TakenOver => "taken_over",
            Self::UnknownKind => "unknown_kind",
        }
    }
}

/// How long a kind of text stays useful.
enum Useful {
    /// As long as the client's state agrees with it, which it does or does not.
    WhileTrue(bool),
    /// As a reply: while it is young, and nothing followed it.
    AsReply,
    /// As news that no later text replaces: while it is young.
    AsNews,
}

/// Returns whether a failed text may be sent again, or else the reason against it. `client` is empty if the recipient is no client.
///
/// # Errors
/// The first reason against it.
pub fn may_be_replayed(
    client: Option<&Client>,
    text: &FailedText<'_>,
    facts: &ReplayFacts<'_>,
) -> Result<(), NotReplayed> {
    let kind = text.kind.ok_or(NotReplayed::UnknownKind)?;
    let unless = |is_against: bool, reason| if is_against { Err(reason) } else { Ok(()) };
    let age = facts.now - text.written_at;
    let Some(client) = client else {
        unless(facts.stranger_opted_out, NotReplayed::OptedOut)?;
        unless(text.said_again, NotReplayed::SaidAgain)?;
        return unless(age > kind.stale_after(), NotReplayed::TooOld);
    };
    unless(client.opted_out, NotReplayed::OptedOut)?;
    unless(client.unreachable, NotReplayed::Unreachable)?;
    unless(!kind.is_sent_in_a_takeover() && client.takeover_at(facts.now).is_some(), NotReplayed::TakenOver)?;
    let (is_true, is_replaced, limit) = match useful(kind, client, facts) {
        Useful::WhileTrue(is_true) => (is_true, text.went_on, REPLAYED_WITHIN),
        Useful::AsReply => (true, text.went_on, kind.stale_after()),
        Useful::AsNews => (true, false, kind.stale_after()),
    };
    unless(!is_true, NotReplayed::OutOfDate)?;
    unless(number_told(text.body).is_some_and(|told| client.number != Some(told)), NotReplayed::NumberChanged)?;
    unless(has_other_link(kind, client, text.body, facts), NotReplayed::LinkChanged)?;
    unless(text.said_again, NotReplayed::SaidAgain)?;
    unless(is_replaced, NotReplayed::WentOn)?;
    unless(age > limit, NotReplayed::TooOld)
}

fn has_other_link(kind: TextKind, client: &Client, body: &str, facts: &ReplayFacts<'_>) -> bool {
    let has_link = matches!(kind, TextKind::PaymentRequired | TextKind::PaymentFailed | TextKind::ServiceEnded);
    has_link && facts.payment_link.is_some_and(|link| !body.contains(&wording::payment_link(Some(link), client)))
}

fn useful(kind: TextKind, client: &Client, facts: &ReplayFacts<'_>) -> Useful {
    let at = |state| Useful::WhileTrue(client.state == state);
    let lacks_number = client.payment_active && client.number.is_none();
    let not_served = !client.payment_active && !client.payment.is_served();
    match kind {
        TextKind::Welcome => {
            Useful::WhileTrue(client.state == State::S1BusinessTypeLocation && half_known(client).is_none())
        }
        TextKind::AskOtherHalf => Useful::WhileTrue(half_known(client).is_some()),
        TextKind::AskBusinessName | TextKind::OwnNameWillDo => at(State::S2BusinessName),
        TextKind::AskOwnerName => at(State::S3OwnerName),
        TextKind::AskNotificationPref => at(State::S4NotificationPref),
        TextKind::AskConfirmLive | TextKind::NoHurry => at(State::S5ConfirmLive),
        TextKind::PaymentRequired => Useful::WhileTrue(
            client.state == State::S5ConfirmLive && !client.payment_active && client.payment != Payment::Awaited,
        ),
        TextKind::PaymentAwaited => Useful::WhileTrue(!client.payment_active && client.payment == Payment::Awaited),
        TextKind::PaymentFailed => Useful::WhileTrue(not_served && client.payment != Payment::Awaited),
        TextKind::PaymentOverdue => Useful::WhileTrue(client.payment == Payment::PastDue),
        TextKind::ServiceEnded => Useful::WhileTrue(not_served),
        TextKind::AtCapacity | TextKind::StillWaiting => Useful::WhileTrue(lacks_number && !facts.number_held),
        TextKind::NumberReady => Useful::WhileTrue(lacks_number && facts.number_held),
        TextKind::NumberTakenBack => Useful::WhileTrue(client.number.is_none()),
        TextKind::NumberChanged | TextKind::AskPhoneType => at(State::S6PhoneType),
        TextKind::AssigningNumber => Useful::WhileTrue(client.state == State::S6PhoneType && client.number.is_none()),
        TextKind::ForwardingInstructions | TextKind::RemindForwarding => at(State::S7FwdSent),
        TextKind::ForwardAnotherWay | TextKind::AskNetwork | TextKind::ForwardOnNetwork => {
            Useful::WhileTrue(matches!(client.state, State::S7FwdSent | State::S8FwdConfirm))
        }
        TextKind::AskTestCall | TextKind::RemindTestCall => at(State::S8FwdConfirm),
        TextKind::TestCallUnderWay => at(State::S9TestCall),
        TextKind::Live | TextKind::AlreadyLive | TextKind::ForwardingBroken | TextKind::AskTextBack => {
            at(State::Complete)
        }
        TextKind::TooLong
        | TextKind::Crossed
        | TextKind::Corrected
        | TextKind::WhoWeAre
        | TextKind::OfferPerson
        | TextKind::HowToCancel
        | TextKind::CancelAtPortal
        | TextKind::NothingCharged
        | TextKind::NoNumbersThere
        | TextKind::RefundAsked
        | TextKind::Terms
        | TextKind::TestForwarding
        | TextKind::Closing
        | TextKind::PhoneMoved
        | TextKind::PhoneNotMoved
        | TextKind::TextBackChosen
        | TextKind::OperatorReply => Useful::AsReply,
        TextKind::MissedCall | TextKind::Voicemail | TextKind::Misdirected | TextKind::ForwardingWorks => {
            Useful::AsNews
        }
        // The next one comes by itself. A code is sent once, news for an old phone would go to the new one, and what was meant for a
        // caller would go to the client.
        TextKind::PhoneCode
        | TextKind::PhoneCodeAsked
        | TextKind::PhoneCodeWrong
        | TextKind::PhoneMovedAway
        | TextKind::Reminder
        | TextKind::TextBack
        | TextKind::NoCallsLately => Useful::WhileTrue(false),
    }
}
