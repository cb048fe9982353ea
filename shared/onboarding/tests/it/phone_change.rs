//! Changes of phone: who is asked for a code, who is sent one, and who moves.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::phone_change::{
    Answer, CODE_VALID_FOR, CodeReply, NotMoved, PhoneChangeStep, REQUESTS_MAX, Request, WRONG_TRIES_MAX,
    answer_request, may_move,
};
use jobrun_onboarding::{Client, Concern, Decision, E164, Event, Payment, State, Step, TextKind, decide};

use crate::texts::{kind, text};
use crate::{client_at, facts};

fn phone(digits: &str) -> E164 {
    E164::parse(digits).unwrap()
}

fn newcomer() -> Client {
    Client { id: "new".to_owned(), owner_phone: phone("+447900000002"), ..client_at(State::S1BusinessTypeLocation) }
}

fn noon() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(12)
}

#[test]
fn the_new_phone_is_told_the_same_of_every_old_number() {
    let said = |old: &str| {
        let decision = text(&mut newcomer(), &format!("I have a new phone, my old number is {old}"), 0);
        let step = Some(PhoneChangeStep::Asked(jobrun_onboarding::as_people_write(old).unwrap()));
        assert_eq!((decision.phone_change, decision.next), (step, State::S1BusinessTypeLocation));
        decision.texts
    };
    assert_eq!(said("07900 000001"), said("07900 999999"));
    assert_eq!(said("07900 000001")[0].kind, TextKind::PhoneCodeAsked);
}

#[test]
fn a_phone_with_a_service_of_its_own_is_left_to_an_operator() {
    let old = "new phone, my old number is 07900 000001";
    for mut client in [
        Client { payment_active: true, ..newcomer() },
        Client { payment: Payment::Awaited, ..newcomer() },
        Client { number: Some(phone("+447111111111")), ..newcomer() },
    ] {
        let decision = text(&mut client, old, 0);
        assert_eq!((decision.phone_change, decision.concern), (None, Some(Concern::PersonWanted)));
        let (from, to) = (phone("+447900000001"), phone("+447900000002"));
        let old = client_at(State::Complete);
        assert_eq!(may_move(Some(&old), Some(&client), &from, &to, false), Err(NotMoved::HasOwnService));
    }
    // Its own number is not an old one.
    let decision = text(&mut newcomer(), "new phone, my old number is 07900 000002", 0);
    assert_eq!(decision.phone_change, None);
    // STOP comes first, and a phone that opted out gets no code.
    let mut out = Client { opted_out: true, ..newcomer() };
    assert_eq!(text(&mut out, old, 0), Decision::nothing(&out));
}

fn given(is_right: bool, wrong_before: u32, age: TimeDelta) -> Decision {
    let reply = CodeReply { is_right, wrong_before, expires_at: noon() + CODE_VALID_FOR, received_at: noon() + age };
    match decide(&newcomer(), &Event::CodeReply(reply), &facts(None)) {
        Step::Decided(decision) => *decision,
        Step::AskPool => panic!("asks the pool"),
    }
}

#[test]
fn a_right_code_moves_within_fifteen_minutes_and_five_tries() {
    let step = |is_right, wrong, minutes| given(is_right, wrong, TimeDelta::minutes(minutes)).phone_change.unwrap();
    assert_eq!(step(true, 0, 15), PhoneChangeStep::Proved);
    assert_eq!(step(true, WRONG_TRIES_MAX - 1, 0), PhoneChangeStep::Proved);
    assert_eq!(step(true, 0, 16), PhoneChangeStep::Over);
    assert_eq!(step(true, WRONG_TRIES_MAX, 0), PhoneChangeStep::Over);
    assert_eq!(step(false, WRONG_TRIES_MAX - 2, 0), PhoneChangeStep::WrongTry);
    assert_eq!(step(false, WRONG_TRIES_MAX - 1, 0), PhoneChangeStep::Over, "the fifth wrong one is the last");
    assert_eq!(kind(&given(false, 0, TimeDelta::zero())), Some(TextKind::PhoneCodeWrong));
    assert_eq!(WRONG_TRIES_MAX, 5);
}

#[test]
fn a_code_goes_only_to_the_phone_of_a_client_who_has_something_to_move() {
    let answer = |client: Option<&Client>, requests, age| {
        let newcomer = newcomer();
        let (asked_at, now) = (noon(), noon() + age);
        let is_being_erased = false;
        answer_request(&Request { newcomer: &newcomer, client, is_being_erased, is_on: true, requests, asked_at, now })
    };
    let of = |client: Option<&Client>| answer(client, (0, 0), TimeDelta::zero());
    let live = Client { payment_active: true, ..client_at(State::Complete) };
    assert_eq!(of(Some(&live)), Answer::SendCode);
    assert_eq!(of(Some(&client_at(State::S6PhoneType))), Answer::SendCode);
    let waits = Client { payment_active: true, ..client_at(State::S5ConfirmLive) };
    assert_eq!(of(Some(&waits)), Answer::SendCode, "it pays");
    assert_eq!(of(Some(&client_at(State::S5ConfirmLive))), Answer::Pretend);
    assert_eq!(of(None), Answer::Pretend);
    // A client that cannot be sent a code needs a person.
    assert_eq!(of(Some(&Client { opted_out: true, ..live.clone() })), Answer::AskOperator);
    assert_eq!(of(Some(&Client { unreachable: true, ..live.clone() })), Answer::AskOperator);
    assert_eq!(REQUESTS_MAX, 3);
    assert_eq!(answer(Some(&live), (2, 2), TimeDelta::zero()), Answer::SendCode);
    for requests in [(3, 0), (0, 3)] {
        assert_eq!(answer(Some(&live), requests, TimeDelta::zero()), Answer::AskOperator);
    }
    assert_eq!(answer(None, (3, 0), TimeDelta::zero()), Answer::AskOperator, "the limit shows no difference");
    assert_eq!(
        answer(Some(&live), (0, 0), TimeDelta::minutes(16)),
        Answer::AskOperator,
        "after an outage or a restore"
    );
}

#[test]
fn a_client_moves_only_from_the_phone_that_was_seen() {
    let (old, new, other) = (phone("+447900000001"), phone("+447900000002"), phone("+447900000003"));
    let client = client_at(State::Complete);
    let moves = |client: Option<&Client>, from: &E164, erased| may_move(client, Some(&newcomer()), from, &new, erased);
    assert_eq!(moves(Some(&client), &old, false), Ok(()));
    assert_eq!(may_move(Some(&client), None, &old, &new, false), Ok(()), "the new phone has never texted us");
    assert_eq!(moves(Some(&client), &other, false), Err(NotMoved::Overtaken));
    assert_eq!(moves(None, &old, false), Err(NotMoved::Overtaken));
    assert_eq!(moves(Some(&client), &old, true), Err(NotMoved::Erased));
    let there = Client { owner_phone: new.clone(), ..client.clone() };
    assert_eq!(moves(Some(&there), &old, false), Err(NotMoved::AlreadySo));
    assert!(NotMoved::ALL.into_iter().all(|it| NotMoved::from_name(it.name()) == Some(it)));
}
