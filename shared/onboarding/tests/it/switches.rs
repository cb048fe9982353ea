//! What can be switched off beside the sign-up: cases, and changes of phone by a code.

use chrono::{DateTime, TimeDelta};
use jobrun_onboarding::phone_change::{Answer, CodeReply, PhoneChangeStep, Request, answer_request};
use jobrun_onboarding::reminders::{Next, Schedule, Silence, next};
use jobrun_onboarding::{
    Client, Concern, Decision, E164, Event, Facts, OptChange, Payment, State, Step, Switches, TextKind, decide,
};

use crate::texts::kind;
use crate::{client_at, english, facts};

const OFF: Switches = Switches { cases: false, phone_change: false };
const NO_CASES: Switches = Switches { cases: false, phone_change: true };
const NO_PHONE_CHANGE: Switches = Switches { cases: true, phone_change: false };

const MOVES: &str = "I have a new phone, my old number is 07900 000009";

fn decided(client: &Client, event: &Event, switches: Switches) -> Decision {
    match decide(client, event, &Facts { switches, ..facts(None) }) {
        Step::Decided(decision) => *decision,
        Step::AskPool => panic!("asks the pool"),
    }
}

/// Decides a text, and changes the client accordingly.
fn text(client: &mut Client, body: &str, switches: Switches) -> Decision {
    let event = Event::Text { body: body.to_owned(), taken_for: None, received_at: DateTime::default() };
    let decision = decided(client, &event, switches);
    client.state = decision.next;
    client.collected = decision.collected.clone();
    client.exchange = decision.exchange.clone();
    decision
}

fn payer(state: State) -> Client {
    Client { payment_active: true, payment: Payment::Active, ..client_at(state) }
}

#[test]
fn each_concern_opens_a_case_only_if_cases_are_on() {
    for (body, concern, case) in [
        ("do you cover Leeds as well?", Concern::QuestionAsked, "question"),
        ("is this a scam", Concern::DoubtsUs, "doubt"),
        ("can someone help me please", Concern::HelpWanted, "help"),
        ("call me", Concern::PersonWanted, "person"),
        ("cancel my subscription", Concern::CancelAsked, "cancel"),
        ("I want my money back", Concern::CancelAsked, "cancel"),
        ("stop texting me and cancel my subscription", Concern::CancelAsked, "cancel"),
    ] {
        let on = text(&mut payer(State::S6PhoneType), body, Switches::ON);
        assert_eq!((on.concern, on.case), (Some(concern), Some(case)), "{body}");
        let off = text(&mut payer(State::S6PhoneType), body, NO_CASES);
        assert_eq!(off.case, None, "{body}");
        // An operator must know of a wish that only a person can fulfil.
        let must_know = matches!(concern, Concern::PersonWanted | Concern::CancelAsked);
        assert_eq!(off.concern, Some(concern).filter(|_| must_know), "{body}");
    }
}

#[test]
fn without_cases_a_question_is_not_understood_and_the_third_one_raises_an_alert_alone() {
    for state in State::ALL {
        let mut ann = payer(state);
        for (nth, body) in
            ["do you cover Leeds as well?", "is this a scam", "can someone help me please"].iter().enumerate()
        {
            let unclear = text(&mut ann.clone(), "the bananas are ripe", OFF);
            let decision = text(&mut ann, body, OFF);
            assert_eq!(decision, unclear, "{state:?}: as any text that is not understood");
            assert_eq!((decision.concern, decision.case), ((nth == 2).then_some(Concern::Stuck), None), "{state:?}");
            assert_eq!((decision.next, kind(&decision).is_some()), (state, true), "{state:?}");
            assert!(!english(&decision.texts[0]).contains("CALL ME"), "{state:?}: {:?}", decision.texts);
        }
        let mut ben = payer(state);
        let third = (0..3).map(|_| text(&mut ben, "the bananas are ripe", Switches::ON)).last().unwrap();
        assert_eq!((third.concern, third.case), (Some(Concern::Stuck), Some("misfits")), "{state:?}");
        assert!(english(&third.texts[0]).contains("CALL ME"), "{state:?}");
    }
    // A long one is told that it is too long, as any other.
    let long = format!("do you cover Leeds as well? {}", "and Bradford ".repeat(10));
    let asked = |switches| kind(&text(&mut client_at(State::S3OwnerName), &long, switches));
    assert_eq!((asked(Switches::ON), asked(OFF)), (Some(TextKind::OfferPerson), Some(TextKind::TooLong)));
}

#[test]
fn without_changes_of_phone_a_person_moves_the_client_or_the_text_is_not_understood() {
    for state in State::ALL {
        let told = |switches| text(&mut client_at(state), MOVES, switches);
        assert!(matches!(told(NO_CASES).phone_change, Some(PhoneChangeStep::Asked(_))), "{state:?}");
        let left = told(NO_PHONE_CHANGE);
        assert_eq!(
            (left.phone_change.as_ref(), left.concern, left.case),
            (None, Some(Concern::PersonWanted), Some("person"))
        );
        assert_eq!(kind(&left), Some(TextKind::OfferPerson), "{state:?}");
        let unclear = text(&mut client_at(state), "the bananas are ripe", OFF);
        assert_eq!(told(OFF), unclear, "{state:?}");
    }
    // Nor is it taken for a name.
    let mut ann = client_at(State::S2BusinessName);
    text(&mut ann, MOVES, OFF);
    assert_eq!((ann.state, ann.collected.business_name.as_deref()), (State::S2BusinessName, None));
    // STOP comes first.
    let stopped = text(&mut client_at(State::S2BusinessName), "STOP", OFF);
    assert_eq!(stopped.opt, Some(OptChange::Out));
}

#[test]
fn no_code_is_sent_or_taken_once_changes_of_phone_are_off() {
    let newcomer = Client { id: "new".to_owned(), ..client_at(State::S1BusinessTypeLocation) };
    let client = Client { owner_phone: E164::parse("+447900000009").unwrap(), ..payer(State::Complete) };
    let [asked_at, now] = [DateTime::UNIX_EPOCH; 2];
    let answer = |is_on| {
        let (client, is_being_erased, requests) = (Some(&client), false, (0, 0));
        answer_request(&Request { newcomer: &newcomer, client, is_being_erased, is_on, requests, asked_at, now })
    };
    assert_eq!((answer(true), answer(false)), (Answer::SendCode, Answer::AskOperator));

    let right = CodeReply { is_right: true, wrong_before: 0, expires_at: now, received_at: now };
    let given = |switches| decided(&newcomer, &Event::CodeReply(right.clone()), switches);
    assert_eq!(given(Switches::ON).phone_change, Some(PhoneChangeStep::Proved));
    let late = given(NO_PHONE_CHANGE);
    assert_eq!((late.phone_change, late.concern), (Some(PhoneChangeStep::Over), Some(Concern::PersonWanted)));
}

#[test]
fn a_client_to_whom_a_person_was_promised_is_not_reminded() {
    let since = DateTime::UNIX_EPOCH + TimeDelta::hours(12);
    let silence = |last_said, case_open| Silence {
        since,
        has_written: true,
        is_unread: false,
        last_said: Some(last_said),
        payment_asked: false,
        case_open,
        number_held: false,
        reminded: 0,
        reminded_at: None,
    };
    let is_reminded = |has_cases, silence: Silence| {
        let schedule = Schedule { after: vec![TimeDelta::hours(1)], quiet: None, has_cases };
        let asked = client_at(State::S3OwnerName);
        matches!(next(&asked, "GB", &silence, &schedule, since + TimeDelta::hours(1)), Next::Remind(_))
    };
    assert!(!is_reminded(true, silence(TextKind::OfferPerson, true)));
    assert!(is_reminded(true, silence(TextKind::OfferPerson, false)), "the operator has closed the case");
    assert!(!is_reminded(false, silence(TextKind::OfferPerson, false)), "nothing says that a person has answered");
    assert!(is_reminded(false, silence(TextKind::AskOwnerName, false)));
}
