//! Failed texts that are sent again: each only as long as it is of use to its recipient.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::replay::{FailedText, NotReplayed, ReplayFacts, may_be_replayed};
use jobrun_onboarding::{Client, E164, Payment, State, Takeover, TextKind};

use crate::client_at;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

const FACTS: ReplayFacts<'static> =
    ReplayFacts { payment_link: Some("https://pay"), number_held: false, stranger_opted_out: false, now: NOW };

fn text(kind: TextKind) -> FailedText<'static> {
    FailedText {
        kind: Some(kind),
        body: "Hi",
        written_at: NOW - TimeDelta::minutes(5),
        went_on: false,
        said_again: false,
    }
}

fn aged(kind: TextKind, age: TimeDelta) -> FailedText<'static> {
    FailedText { written_at: NOW - age, ..text(kind) }
}

fn check(client: &Client, text: &FailedText<'_>) -> Result<(), NotReplayed> {
    may_be_replayed(Some(client), text, &FACTS)
}

#[test]
fn a_question_is_sent_again_only_while_it_is_open() {
    let questions = [
        (TextKind::Welcome, State::S1BusinessTypeLocation),
        (TextKind::AskBusinessName, State::S2BusinessName),
        (TextKind::AskOwnerName, State::S3OwnerName),
        (TextKind::AskNotificationPref, State::S4NotificationPref),
        (TextKind::PaymentRequired, State::S5ConfirmLive),
        (TextKind::AskPhoneType, State::S6PhoneType),
        (TextKind::ForwardingInstructions, State::S7FwdSent),
        (TextKind::AskTestCall, State::S8FwdConfirm),
        (TextKind::Live, State::Complete),
    ];
    for (kind, open) in questions {
        let body = if kind == TextKind::PaymentRequired { "https://pay?client_reference_id=reference" } else { "Hi" };
        for state in State::ALL {
            let expected = if state == open { Ok(()) } else { Err(NotReplayed::OutOfDate) };
            let text = FailedText { body, ..text(kind) };
            assert_eq!(check(&client_at(state), &text), expected, "{kind:?} at {state:?}");
        }
        let old = FailedText { body, ..aged(kind, TimeDelta::days(6)) };
        assert_eq!(check(&client_at(open), &old), Ok(()), "an open {kind:?} is of use after a long outage");
        let older = FailedText { body, ..aged(kind, TimeDelta::days(8)) };
        assert_eq!(check(&client_at(open), &older), Err(NotReplayed::TooOld));
    }
}

#[test]
fn a_half_answered_first_question_is_another_question() {
    let mut client = client_at(State::S1BusinessTypeLocation);
    assert_eq!(check(&client, &text(TextKind::AskOtherHalf)), Err(NotReplayed::OutOfDate));
    client.collected.business_type_location = Some("Plumber".to_owned());
    assert_eq!(check(&client, &text(TextKind::AskOtherHalf)), Ok(()));
    assert_eq!(check(&client, &text(TextKind::Welcome)), Err(NotReplayed::OutOfDate));
}

#[test]
fn news_of_a_payment_is_sent_again_only_while_it_is_true() {
    let standing =
        |payment: Payment, payment_active| Client { payment, payment_active, ..client_at(State::S5ConfirmLive) };
    let link = |kind| FailedText { body: "https://pay?client_reference_id=reference", ..text(kind) };
    let paid = standing(Payment::Active, true);
    for kind in [TextKind::PaymentRequired, TextKind::PaymentFailed, TextKind::ServiceEnded] {
        assert_eq!(check(&paid, &link(kind)), Err(NotReplayed::OutOfDate), "{kind:?}");
        let other = FailedText { body: "https://buy.stripe.com/test_XXXXX (placeholder)", ..text(kind) };
        assert_eq!(check(&standing(Payment::Ended, false), &other), Err(NotReplayed::LinkChanged), "{kind:?}");
        assert_eq!(check(&standing(Payment::Ended, false), &link(kind)), Ok(()), "{kind:?}");
    }
    assert_eq!(check(&paid, &text(TextKind::PaymentOverdue)), Err(NotReplayed::OutOfDate));
    assert_eq!(check(&standing(Payment::PastDue, true), &text(TextKind::PaymentOverdue)), Ok(()));
    assert_eq!(check(&standing(Payment::Awaited, false), &text(TextKind::PaymentAwaited)), Ok(()));
    assert_eq!(
        check(&standing(Payment::Awaited, false), &link(TextKind::PaymentRequired)),
        Err(NotReplayed::OutOfDate)
    );
}

#[test]
fn a_number_is_told_only_to_the_client_that_has_it() {
    let number = E164::parse("+447111111111").unwrap();
    let told = FailedText { body: "Your JobRun number is +447111111111.", ..text(TextKind::AskPhoneType) };
    let mut client = client_at(State::S6PhoneType);
    assert_eq!(check(&client, &told), Err(NotReplayed::NumberChanged));
    client.number = Some(number);
    assert_eq!(check(&client, &told), Ok(()));
}

#[test]
fn a_waiting_client_hears_of_a_number_only_while_one_is_held_for_it() {
    let waiting = Client { payment_active: true, payment: Payment::Active, ..client_at(State::S5ConfirmLive) };
    let held = ReplayFacts { number_held: true, ..FACTS };
    for (kind, facts, expected) in [
        (TextKind::NumberReady, held, Ok(())),
        (TextKind::NumberReady, FACTS, Err(NotReplayed::OutOfDate)),
        (TextKind::AtCapacity, FACTS, Ok(())),
        (TextKind::AtCapacity, held, Err(NotReplayed::OutOfDate)),
    ] {
        assert_eq!(may_be_replayed(Some(&waiting), &text(kind), &facts), expected, "{kind:?}");
    }
}

#[test]
fn a_reply_is_sent_again_only_while_it_is_fresh_and_nothing_followed_it() {
    let client = client_at(State::Complete);
    assert_eq!(check(&client, &text(TextKind::Terms)), Ok(()));
    assert_eq!(check(&client, &aged(TextKind::Terms, TimeDelta::hours(5))), Err(NotReplayed::TooOld));
    let followed = FailedText { went_on: true, ..text(TextKind::Terms) };
    assert_eq!(check(&client, &followed), Err(NotReplayed::WentOn));
    let call = FailedText { went_on: true, ..text(TextKind::MissedCall) };
    assert_eq!(check(&client, &call), Ok(()), "no later text replaces the news of a call");
    assert_eq!(check(&client, &aged(TextKind::MissedCall, TimeDelta::minutes(61))), Err(NotReplayed::TooOld));
}

#[test]
fn nothing_is_sent_twice_or_to_a_recipient_who_gets_no_texts() {
    let at = || client_at(State::S2BusinessName);
    let question = text(TextKind::AskBusinessName);
    let again = FailedText { said_again: true, ..question.clone() };
    assert_eq!(check(&at(), &again), Err(NotReplayed::SaidAgain));
    let went_on = FailedText { went_on: true, ..question.clone() };
    assert_eq!(check(&at(), &went_on), Err(NotReplayed::WentOn));
    assert_eq!(check(&Client { opted_out: true, ..at() }, &question), Err(NotReplayed::OptedOut));
    assert_eq!(check(&Client { unreachable: true, ..at() }, &question), Err(NotReplayed::Unreachable));
    assert_eq!(check(&at(), &FailedText { kind: None, ..question }), Err(NotReplayed::UnknownKind));
}

#[test]
fn a_stranger_is_sent_a_text_again_only_at_once() {
    let check = |text: &FailedText<'_>, facts: &ReplayFacts<'_>| may_be_replayed(None, text, facts);
    assert_eq!(check(&text(TextKind::Misdirected), &FACTS), Ok(()));
    let opted_out = ReplayFacts { stranger_opted_out: true, ..FACTS };
    assert_eq!(check(&text(TextKind::Misdirected), &opted_out), Err(NotReplayed::OptedOut));
    assert_eq!(check(&aged(TextKind::Misdirected, TimeDelta::minutes(11)), &FACTS), Err(NotReplayed::TooOld));
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<&str> = NotReplayed::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), NotReplayed::ALL.len());
}

#[test]
fn no_automatic_text_is_sent_again_during_a_takeover() {
    let takeover = Takeover { by: "ada".to_owned(), last_at: NOW, silence_minutes: Some(60) };
    let client = Client { takeover: Some(takeover), ..client_at(State::S3OwnerName) };
    assert_eq!(check(&client, &text(TextKind::AskOwnerName)), Err(NotReplayed::TakenOver));
    assert_eq!(check(&client, &text(TextKind::OperatorReply)), Ok(()));
    assert_eq!(check(&client, &text(TextKind::MissedCall)), Ok(()));
}
