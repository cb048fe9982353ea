//! Forwarding that stops working: tests that clients ask for, and the news that no call has come for long.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use jobrun_onboarding::forwarding_checks::{Calls, ForwardingCheck, Next, Schedule, TEST_WITHIN, next};
use jobrun_onboarding::quiet_hours::QuietHours;
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::{
    Call, Client, Collected, Decision, E164, Event, Facts, Payment, PhoneType, State, Step, Takeover, TextKind, decide,
};
use proptest::prelude::*;

use crate::rules::{a_client, number};
use crate::texts::kind;
use crate::{client_at, english, facts};

fn schedule() -> Schedule {
    let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    Schedule { after: Some(TimeDelta::days(30)), quiet: Some(QuietHours { from: hour(20), to: hour(8) }) }
}

/// A winter's noon in London.
fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

fn hours(hours: i64) -> DateTime<Utc> {
    noon() + TimeDelta::hours(hours)
}

fn minutes(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

fn live() -> Client {
    let collected = Collected { phone_type: Some(PhoneType::Android), ..Collected::default() };
    let number = Some(number());
    Client { payment_active: true, payment: Payment::Active, number, collected, ..client_at(State::Complete) }
}

fn quiet_since(last_at: DateTime<Utc>) -> Calls {
    Calls { last_at: Some(last_at), live_since: hours(-9_000), said_at: Some(last_at), told_at: None, is_unread: false }
}

fn decided(client: &Client, event: &Event, now: DateTime<Utc>) -> Decision {
    match decide(client, event, &Facts { now, asked_at: now, ..facts(None) }) {
        Step::Decided(decision) => *decision,
        Step::AskPool => panic!("forwarding needs no other number"),
    }
}

fn text(client: &Client, body: &str, now: DateTime<Utc>) -> Decision {
    decided(client, &Event::Text { body: body.to_owned(), taken_for: None, received_at: now }, now)
}

fn call(from: &str) -> Call {
    Call { sid: Some("CA1".to_owned()), caller: jobrun_onboarding::caller(from), at: DateTime::UNIX_EPOCH }
}

/// Returns a client who has asked for a test at noon.
fn testing() -> Client {
    let decision = text(&live(), "TEST", noon());
    assert_eq!((kind(&decision), decision.next), (Some(TextKind::TestForwarding), State::Complete));
    assert_eq!(decision.forwarding_test, Some(noon()));
    Client { forwarding_test: decision.forwarding_test, ..live() }
}

fn due(client: &Client, calls: &Calls, now: DateTime<Utc>) -> Option<ForwardingCheck> {
    if let Next::Check(check) = next(client, "GB", calls, &schedule(), now) { Some(check) } else { None }
}

#[test]
fn the_next_call_of_a_test_is_its_success_once_for_any_caller() {
    for (from, part) in [
        ("+447700900123", "a call from +447700900123 has just come through"),
        ("+447900000001", "your test call has just come through"),
        ("anonymous", "your test call has just come through"),
    ] {
        let arrived = decided(&testing(), &Event::CallArrived(call(from)), minutes(15));
        assert_eq!((kind(&arrived), arrived.forwarding_test), (Some(TextKind::ForwardingWorks), None), "{from}");
        let body = &english(&arrived.texts[0]);
        assert!(body.starts_with("Your forwarding works: ") && body.contains(part), "{body}");
        assert_eq!(arrived.texts[0].once_key.as_deref(), Some("call:CA1"), "its end is no second news");
        let next = decided(&live(), &Event::CallArrived(call("+447700900123")), minutes(2));
        assert_eq!(kind(&next), Some(TextKind::MissedCall));
    }
}

#[test]
fn a_call_after_the_time_is_a_missed_call_and_ends_the_test_all_the_same() {
    let late = decided(&testing(), &Event::CallArrived(call("+447700900123")), minutes(15) + TimeDelta::seconds(1));
    let kinds: Vec<TextKind> = late.texts.iter().map(|text| text.kind).collect();
    assert_eq!((kinds, late.forwarding_test), (vec![TextKind::MissedCall, TextKind::ForwardingWorks], None));
}

/// The end of a call that came before the test was begun proves nothing new, and may not use up the test.
#[test]
fn the_end_of_a_call_ends_no_test() {
    let ended = decided(&testing(), &Event::CallEnded(call("+447700900123")), minutes(1));
    assert_eq!((kind(&ended), ended.forwarding_test), (Some(TextKind::MissedCall), Some(noon())));
}

#[test]
fn only_a_live_client_with_a_number_tests_its_forwarding() {
    for client in [
        client_at(State::S8FwdConfirm),
        Client { number: Some(number()), ..client_at(State::S9TestCall) },
        Client { number: None, ..live() },
    ] {
        assert_eq!(text(&client, "TEST", noon()).forwarding_test, None);
    }
    let again = text(&testing(), "test again", minutes(5));
    assert_eq!(again.forwarding_test, Some(minutes(5)), "the time begins anew");
    let misfits = Client { exchange: jobrun_onboarding::Exchange { misfits: 2, ..Default::default() }, ..live() };
    assert_eq!(text(&misfits, "TEST", noon()).exchange.misfits, 0);
}

#[test]
fn a_test_without_a_call_is_over_after_a_quarter_of_an_hour() {
    let (client, before) = (testing(), quiet_since(hours(-5)));
    let look = |now| next(&client, "GB", &before, &schedule(), now);
    assert_eq!(look(minutes(14)), Next::LookAgain(minutes(15)));
    let over = ForwardingCheck::TestOver { asked_at: noon(), called: false };
    assert_eq!(look(minutes(15)), Next::Check(over.clone()));
    let unread = Calls { is_unread: true, ..before.clone() };
    assert_eq!(next(&client, "GB", &unread, &schedule(), minutes(15)), Next::LookAgain(minutes(16)), "a call may wait");

    let decision = decided(&client, &Event::ForwardingCheckDue(over.clone()), minutes(16));
    assert_eq!((kind(&decision), decision.forwarding_test), (Some(TextKind::ForwardingBroken), None));
    let anew = Client { forwarding_test: Some(minutes(10)), ..live() };
    for client in [live(), anew] {
        let decision = decided(&client, &Event::ForwardingCheckDue(over.clone()), minutes(16));
        assert_eq!(
            (kind(&decision), decision.forwarding_test),
            (None, client.forwarding_test),
            "not this test any more"
        );
    }
    let left = Client { state: State::S5ConfirmLive, number: None, ..client };
    let decision = decided(&left, &Event::ForwardingCheckDue(over), minutes(16));
    assert_eq!((kind(&decision), decision.forwarding_test), (None, None), "its service has ended meanwhile");
}

/// A worker of an earlier version tells a test call as a missed call, and does not end the test.
#[test]
fn a_call_that_was_not_taken_for_the_test_is_its_success_all_the_same() {
    let check = due(&testing(), &quiet_since(minutes(3)), minutes(15)).unwrap();
    assert_eq!(check, ForwardingCheck::TestOver { asked_at: noon(), called: true });
    let decision = decided(&testing(), &Event::ForwardingCheckDue(check), minutes(15));
    assert_eq!((kind(&decision), decision.forwarding_test), (Some(TextKind::ForwardingWorks), None));
}

#[test]
fn the_result_of_a_test_in_the_evening_is_a_reply_and_one_that_is_late_waits_for_the_morning() {
    let evening = hours(9);
    let client = Client { forwarding_test: Some(evening), ..live() };
    let at = |minutes| next(&client, "GB", &quiet_since(noon()), &schedule(), evening + TimeDelta::minutes(minutes));
    assert!(matches!(at(15), Next::Check(_)) && matches!(at(75), Next::Check(_)));
    assert_eq!(at(76), Next::LookAgain(hours(20) + TimeDelta::minutes(1)), "no sweep ran");
}

#[test]
fn an_operator_who_has_taken_over_is_not_interrupted_and_no_call_is_lost() {
    let takeover = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None };
    let client = Client { takeover: Some(takeover), ..testing() };
    let arrived = decided(&client, &Event::CallArrived(call("+447700900123")), minutes(2));
    assert_eq!(kind(&arrived), Some(TextKind::MissedCall));
    let over = ForwardingCheck::TestOver { asked_at: noon(), called: false };
    let over = decided(&client, &Event::ForwardingCheckDue(over), minutes(16));
    assert_eq!((kind(&over), over.forwarding_test), (None, None));
}

#[test]
fn a_client_without_a_call_for_thirty_days_is_told_once_in_such_a_silence() {
    let client = live();
    let quiet = quiet_since(noon());
    let look = |calls: &Calls, now| next(&client, "GB", calls, &schedule(), now);
    assert_eq!(look(&quiet, hours(24 * 30 - 1)), Next::LookAgain(hours(24 * 30)));
    let check = due(&client, &quiet, hours(24 * 30)).unwrap();
    let told = decided(&client, &Event::ForwardingCheckDue(check), hours(24 * 30));
    assert_eq!(kind(&told), Some(TextKind::NoCallsLately));
    let body = &english(&told.texts[0]);
    assert!(body.contains("for 30 days") && body.contains("reply TEST"), "{body}");

    let told = Calls { told_at: Some(hours(24 * 30)), ..quiet.clone() };
    assert_eq!(look(&told, hours(24 * 31)), Next::LookAgain(hours(24 * 61)), "not twice");
    let called_since = Calls { last_at: Some(hours(24 * 40)), said_at: None, ..told };
    assert_eq!(look(&called_since, hours(24 * 41)), Next::LookAgain(hours(24 * 70)));
    assert!(due(&client, &called_since, hours(24 * 70)).is_some(), "another silence");
    let never_called = Calls { last_at: None, live_since: noon(), ..quiet.clone() };
    let check = due(&client, &never_called, hours(24 * 30)).expect("counted from when it went live");
    let told = decided(&client, &Event::ForwardingCheckDue(check), hours(24 * 30));
    let body = &english(&told.texts[0]);
    assert!(body.contains("for a while") && !body.contains("days"), "an earlier call may be forgotten: {body}");
    let live_anew = Calls { live_since: hours(48), ..quiet.clone() };
    assert_eq!(look(&live_anew, hours(24 * 30)), Next::LookAgain(hours(24 * 32)), "with another number, say");
}

#[test]
fn no_client_is_told_of_a_silence_at_night_soon_after_a_text_or_if_it_may_not_be_told() {
    let (client, month) = (live(), 24 * 30);
    let quiet = quiet_since(noon());
    let at_night = Calls { last_at: Some(hours(10)), ..quiet.clone() };
    assert_eq!(next(&client, "GB", &at_night, &schedule(), hours(month + 10)), Next::LookAgain(hours(month + 20)));
    assert_eq!(
        next(&client, "ZZ", &quiet, &schedule(), hours(month)),
        Next::LookAgain(hours(2 * month)),
        "no night known"
    );
    let texted = Calls { said_at: Some(minutes(month * 60 - 5)), ..quiet.clone() };
    assert_eq!(next(&client, "GB", &texted, &schedule(), hours(month)), Next::LookAgain(minutes(month * 60 + 55)));
    let unread = Calls { is_unread: true, ..quiet.clone() };
    assert_eq!(next(&client, "GB", &unread, &schedule(), hours(month)), Next::LookAgain(hours(month + 1)));
    let off = Schedule { after: None, ..schedule() };
    assert!(matches!(next(&client, "GB", &quiet, &off, hours(month)), Next::LookAgain(_)));

    let check = due(&client, &quiet, hours(month)).unwrap();
    let takeover = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None };
    let others = [
        Client { opted_out: true, ..live() },
        Client { unreachable: true, ..live() },
        Client { payment_active: false, ..live() },
        Client { payment: Payment::Ended, ..live() },
        Client { number: None, ..live() },
        Client { takeover: Some(takeover), ..live() },
        Client { state: State::S7FwdSent, ..live() },
    ];
    for other in others {
        assert_eq!(due(&other, &quiet, hours(month)), None, "{other:?}");
        let decision = decided(&other, &Event::ForwardingCheckDue(check.clone()), hours(month));
        assert_eq!(decision.texts, [], "it has changed since the check was due: {other:?}");
    }
    let late = decided(&client, &Event::ForwardingCheckDue(check), hours(month + 1));
    assert_eq!(late.texts, [], "it could leave at night");
    let past_due = Client { payment: Payment::PastDue, ..live() };
    assert!(due(&past_due, &quiet, hours(month)).is_some(), "it is still served");
}

#[test]
fn the_texts_are_one_segment_unless_they_have_codes() {
    let said = [
        text(&live(), "TEST", noon()),
        decided(&testing(), &Event::CallArrived(call("+447700900123")), minutes(2)),
        decided(
            &live(),
            &Event::ForwardingCheckDue(due(&live(), &quiet_since(hours(-24 * 30)), noon()).unwrap()),
            noon(),
        ),
    ];
    for decision in said {
        assert_eq!(segments(&english(&decision.texts[0])).count, 1, "{:?}", decision.texts);
    }
}

proptest! {
    /// A test that was begun ends: after its time, the sweep either looks again or finds it over, and then no test is left.
    #[test]
    fn a_test_never_stays_open(client in a_client(), called in any::<bool>(), wait in 0..60_i64) {
        let client = Client { forwarding_test: Some(noon()), ..client };
        let calls = Calls { last_at: called.then(|| minutes(3)), ..quiet_since(hours(-1)) };
        let now = noon() + TEST_WITHIN + TimeDelta::minutes(wait);
        let Some(check) = due(&client, &calls, now) else { panic!("it is over") };
        let decision = decided(&client, &Event::ForwardingCheckDue(check), now);
        prop_assert_eq!(decision.forwarding_test, None);
        prop_assert!(decision.texts.len() <= 1 && decision.next == client.state);
    }
}

#[test]
fn a_number_is_read_back_from_the_codes() {
    let over = ForwardingCheck::TestOver { asked_at: noon(), called: false };
    let decision = decided(&testing(), &Event::ForwardingCheckDue(over), minutes(15));
    let told = jobrun_onboarding::sent_text::number_told(&english(&decision.texts[0]));
    assert_eq!(told, E164::parse("+447111111111").ok());
}
