//! Actions of operators, and takeovers.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::action::{Action, REPLY_SILENCE_MINUTES, Refused};
use jobrun_onboarding::{
    Client, Decision, E164, Event, Facts, Field, OptChange, PhoneType, State, Step, Takeover, TextKind, decide,
};
use proptest::prelude::*;

use crate::rules::{a_client, an_action, an_event, number, pools, step};
use crate::{client_at, english, facts};

/// A time at which the tests begin.
fn noon() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(12)
}

fn decided_at(client: &Client, event: &Event, now: DateTime<Utc>) -> Decision {
    let facts = Facts { now, asked_at: now, ..facts(None) };
    match decide(client, event, &facts) {
        Step::Decided(decision) => *decision,
        Step::AskPool => panic!("asks the pool"),
    }
}

fn action(by: &str, action: Action) -> Event {
    Event::Operator { by: by.to_owned(), action }
}

fn act(client: &Client, by: &str, it: Action) -> Decision {
    decided_at(client, &action(by, it), noon())
}

fn text(body: &str) -> Event {
    text_at(body, noon())
}

fn text_at(body: &str, received_at: DateTime<Utc>) -> Event {
    Event::Text { body: body.to_owned(), taken_for: None, received_at }
}

fn reply(body: &str) -> Action {
    Action::Reply { body: body.to_owned() }
}

fn taken_over_by(by: &str, silence_minutes: Option<u32>) -> Client {
    let takeover = Takeover { by: by.to_owned(), last_at: noon(), silence_minutes };
    Client { takeover: Some(takeover), ..client_at(State::S3OwnerName) }
}

fn take_number(seen: Option<&str>) -> Action {
    Action::TakeNumber { number: seen.map(str::to_owned) }
}

fn kinds(decision: &Decision) -> Vec<TextKind> {
    decision.texts.iter().map(|text| text.kind).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_automatic_is_sent_during_a_takeover(
        client in a_client(), event in an_event(), pool in pools(), silence in prop::option::of(1..600_u32)
    ) {
        let takeover = Takeover { by: "ada".to_owned(), last_at: DateTime::UNIX_EPOCH, silence_minutes: silence };
        let client = Client { takeover: Some(takeover), ..client };
        let (decision, _) = step(&client, &event, &pool);
        let is_asked_for = matches!(event, Event::Operator { action: Action::AskAgain | Action::Cancel | Action::HandBack { .. }, .. });
        for text in &decision.texts {
            prop_assert!(is_asked_for || TextKind::SENT_IN_A_TAKEOVER.contains(&text.kind));
        }
        // Its own texts move nothing meanwhile.
        let is_text = matches!(event, Event::Text { .. });
        prop_assert!(!is_text || decision.next == client.state);
    }

    #[test]
    fn a_refused_action_changes_nothing(client in a_client(), action in an_action(), pool in pools()) {
        let (decision, asked) = step(&client, &Event::Operator { by: "ada".to_owned(), action }, &pool);
        if let Some(refused) = decision.refused {
            prop_assert_eq!(Decision { refused: None, ..decision }, Decision::nothing(&client));
            prop_assert!(!asked || refused == Refused::NoNumberLeft);
        }
    }

    #[test]
    fn only_the_operator_who_has_taken_a_client_over_acts_on_it(
        client in a_client(), action in an_action(), pool in pools()
    ) {
        let takeover = Takeover { by: "bob".to_owned(), last_at: DateTime::UNIX_EPOCH, silence_minutes: None };
        let client = Client { takeover: Some(takeover), ..client };
        let is_told = matches!(&action, Action::TakeOver { from: Some(from), .. } if from == "bob");
        let (decision, _) = step(&client, &Event::Operator { by: "ada".to_owned(), action }, &pool);
        prop_assert_eq!(decision.refused == Some(Refused::TakenOverByOther), !is_told);
    }
}

#[test]
fn a_reply_is_sent_and_takes_the_client_over() {
    let client = client_at(State::S3OwnerName);
    let decision = act(&client, "ada", reply(" Hi, it's Ada. What do you need? "));
    assert_eq!(english(&decision.texts[0]), "Hi, it's Ada. What do you need?");
    let expected = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: Some(REPLY_SILENCE_MINUTES) };
    assert_eq!(decision.takeover, Some(expected));
    assert_eq!(decision.next, State::S3OwnerName);
    for nonsense in ["", "  \n", &"a".repeat(1_601)] {
        assert_eq!(act(&client, "ada", reply(nonsense)).refused, Some(Refused::BadText));
    }
}

#[test]
fn of_two_operators_who_reply_at_once_the_second_is_refused_and_may_take_over() {
    let client = client_at(State::S3OwnerName);
    let first = act(&client, "ada", reply("Hi from Ada"));
    let client = Client { takeover: first.takeover, ..client };
    assert_eq!(act(&client, "bob", reply("Hi from Bob")).refused, Some(Refused::TakenOverByOther));
    let take_over = |from: Option<&str>| Action::TakeOver { from: from.map(str::to_owned), silence_minutes: None };
    assert_eq!(act(&client, "bob", take_over(None)).refused, Some(Refused::TakenOverByOther));
    assert_eq!(act(&client, "bob", take_over(Some("cyd"))).refused, Some(Refused::TakenOverByOther));
    let taken = act(&client, "bob", take_over(Some("ada")));
    assert_eq!(taken.takeover.as_ref().map(|it| it.by.as_str()), Some("bob"));
    let client = Client { takeover: taken.takeover, ..client };
    assert_eq!(kinds(&act(&client, "bob", reply("Hi from Bob"))), [TextKind::OperatorReply]);
}

#[test]
fn a_takeover_ends_after_the_chosen_silence_of_both_sides() {
    let client = taken_over_by("ada", Some(60));
    let at = |minutes| noon() + TimeDelta::minutes(minutes);
    let spoken = decided_at(&client, &text_at("Ann Smith", at(59)), at(59));
    assert_eq!((kinds(&spoken), spoken.next), (Vec::new(), State::S3OwnerName));
    // The text has prolonged it.
    let client = Client { takeover: spoken.takeover, ..client };
    assert!(decided_at(&client, &text_at("Ann Smith", at(118)), at(118)).texts.is_empty());
    let answered = decided_at(&client, &text_at("Ann Smith", at(119)), at(119));
    assert_eq!((answered.next, answered.takeover), (State::S4NotificationPref, None));
    // Without a time, only the operator ends it.
    let forever = taken_over_by("ada", None);
    assert!(decided_at(&forever, &text_at("Ann Smith", at(1_000_000)), at(1_000_000)).texts.is_empty());
}

/// Texts wait while a worker is away or conversations are stopped.
#[test]
fn a_text_that_waited_is_still_for_the_operator_to_whom_it_was_sent() {
    let client = taken_over_by("ada", Some(60));
    let decision = decided_at(&client, &text("Ann Smith"), noon() + TimeDelta::hours(5));
    assert_eq!((decision.next, kinds(&decision)), (State::S3OwnerName, Vec::new()));
}

#[test]
fn a_refusal_in_plain_words_is_an_opt_out_also_during_a_takeover() {
    let client = taken_over_by("ada", None);
    let refusal = decided_at(&client, &text("stop texting me"), noon());
    assert_eq!((refusal.opt, kinds(&refusal)), (Some(OptChange::Out), Vec::new()));
    let paying = Client { payment_active: true, ..client };
    let cancels = decided_at(&paying, &text("cancel my subscription"), noon());
    assert_eq!((cancels.opt, cancels.concern), (None, Some(jobrun_onboarding::Concern::CancelAsked)));
}

#[test]
fn the_conversation_goes_on_where_it_stood_when_the_client_is_handed_back() {
    let client = taken_over_by("ada", None);
    let back = act(&client, "ada", Action::HandBack { ask_again: true });
    assert_eq!((kinds(&back), &back.takeover), (vec![TextKind::AskOwnerName], &None));
    let quiet = act(&client, "ada", Action::HandBack { ask_again: false });
    assert_eq!((kinds(&quiet), &quiet.takeover), (Vec::new(), &None));
    let client = Client { takeover: back.takeover, ..client };
    assert_eq!(decided_at(&client, &text("Ann Smith"), noon()).next, State::S4NotificationPref);
    let again = act(&client, "ada", Action::HandBack { ask_again: true });
    assert_eq!(again.refused, Some(Refused::NotTakenOver));
}

#[test]
fn opt_outs_calls_and_payments_count_during_a_takeover() {
    let client = taken_over_by("ada", None);
    assert_eq!(decided_at(&client, &text("STOP"), noon()).opt, Some(OptChange::Out));
    let call = jobrun_onboarding::Call {
        sid: Some("CA1".to_owned()),
        caller: jobrun_onboarding::caller("+447700900123"),
        at: noon(),
    };
    let testing = Client { state: State::S8FwdConfirm, number: Some(number()), ..client.clone() };
    let ended = decided_at(&testing, &Event::CallEnded(call.clone()), noon());
    assert_eq!((ended.next, kinds(&ended)), (State::Complete, Vec::new()));
    let live = Client { state: State::Complete, number: Some(number()), ..client.clone() };
    assert_eq!(kinds(&decided_at(&live, &Event::CallArrived(call), noon())), [TextKind::MissedCall]);
    let paid = decided_at(&client, &Event::PaymentStands(jobrun_onboarding::Payment::Active), noon());
    assert_eq!((paid.payment_active, kinds(&paid)), (Some(true), Vec::new()));
}

#[test]
fn a_client_is_moved_only_where_it_can_stand() {
    let move_to = |client: &Client, state| act(client, "ada", Action::MoveTo { state, from: None });
    let client = client_at(State::S3OwnerName);
    assert_eq!(move_to(&client, State::S3OwnerName).refused, Some(Refused::AlreadySo));
    assert_eq!(move_to(&client, State::S6PhoneType).refused, Some(Refused::NotPaid));
    let paid = Client { payment_active: true, ..client.clone() };
    assert_eq!(move_to(&paid, State::S6PhoneType).refused, Some(Refused::NoNumber));
    let with_number = Client { number: Some(number()), ..paid };
    assert_eq!(move_to(&with_number, State::S7FwdSent).refused, Some(Refused::NoPhoneType));
    let mut whole = with_number;
    whole.collected.phone_type = Some(PhoneType::Android);
    let moved = move_to(&whole, State::S7FwdSent);
    assert_eq!((moved.next, kinds(&moved)), (State::S7FwdSent, vec![TextKind::ForwardingInstructions]));
    let to_pay = move_to(&client, State::S5ConfirmLive);
    assert_eq!((to_pay.next, kinds(&to_pay)), (State::S5ConfirmLive, vec![TextKind::PaymentRequired]));
}

#[test]
fn a_correction_changes_the_answer_and_nothing_else() {
    let client = client_at(State::S5ConfirmLive);
    let correct = |text: &str| Action::Correct { field: Field::BusinessName, text: text.to_owned() };
    let decision = act(&client, "ada", correct(" ABC Plumbing "));
    assert_eq!(decision.collected.business_name.as_deref(), Some("ABC Plumbing"));
    assert_eq!((decision.next, kinds(&decision)), (State::S5ConfirmLive, Vec::new()));
    let client = Client { collected: decision.collected, ..client };
    assert_eq!(act(&client, "ada", correct("ABC Plumbing")).refused, Some(Refused::AlreadySo));
    assert_eq!(act(&client, "ada", correct("a\u{7}b")).refused, Some(Refused::BadText));
}

#[test]
fn a_taken_number_is_named_so_that_the_client_gets_another() {
    let client = Client { number: Some(number()), payment_active: true, ..client_at(State::Complete) };
    let decision = act(&client, "ada", take_number(None));
    assert_eq!(decision.takes_number, Some(E164::parse("+447111111111").unwrap()));
    assert_eq!(act(&client_at(State::Complete), "ada", take_number(None)).refused, Some(Refused::NoNumber));
}

/// Neither of two operators who act at once, without a takeover, does it twice or undoes what the other did.
#[test]
fn a_number_is_taken_and_a_client_is_moved_only_if_it_is_as_the_operator_saw_it() {
    let (seen, other) = (number().as_str().to_owned(), "+447222222222");
    let client = Client { number: Some(number()), payment_active: true, ..client_at(State::S5ConfirmLive) };
    assert_eq!(act(&client, "ada", take_number(Some(&seen))).takes_number, Some(number()));
    let after = Client { number: Some(E164::parse(other).unwrap()), ..client.clone() };
    assert_eq!(act(&after, "bob", take_number(Some(&seen))).refused, Some(Refused::NumberChanged));
    let none = Client { number: None, ..client.clone() };
    assert_eq!(act(&none, "bob", take_number(Some(&seen))).refused, Some(Refused::NoNumber));

    let move_to = |state, from| Action::MoveTo { state, from: Some(from) };
    let (confirm, name) = (State::S5ConfirmLive, State::S2BusinessName);
    assert_eq!(act(&client, "ada", move_to(name, confirm)).next, name);
    let moved = Client { state: name, ..client };
    assert_eq!(act(&moved, "bob", move_to(name, confirm)).refused, Some(Refused::AlreadySo));
    assert_eq!(act(&moved, "bob", move_to(State::S3OwnerName, confirm)).refused, Some(Refused::StateChanged));
}

#[test]
fn a_client_that_opted_out_is_not_replied_to_until_it_is_opted_in() {
    let client = Client { opted_out: true, ..client_at(State::S3OwnerName) };
    assert_eq!(act(&client, "ada", reply("Hi")).refused, Some(Refused::OptedOut));
    assert_eq!(act(&client, "ada", Action::AskAgain).refused, Some(Refused::OptedOut));
    let back = act(&client, "ada", Action::OptIn);
    assert_eq!((back.opt, kinds(&back)), (Some(OptChange::In), vec![TextKind::AskOwnerName]));
    let unreachable = Client { unreachable: true, ..client_at(State::S3OwnerName) };
    assert_eq!(act(&unreachable, "ada", reply("Hi")).refused, Some(Refused::Unreachable));
}

#[test]
fn the_stored_forms_of_actions_do_not_change() {
    let stored = |action: &Action| serde_json::to_value(action).unwrap();
    let reply = reply("Hi");
    assert_eq!(stored(&reply), serde_json::json!({ "action": "reply", "body": "Hi" }));
    let moved = Action::MoveTo { state: State::S5ConfirmLive, from: None };
    assert_eq!(stored(&moved), serde_json::json!({ "action": "move_to", "state": "S5_CONFIRM_LIVE" }));
    let corrected = Action::Correct { field: Field::OwnerName, text: "Ann".to_owned() };
    assert_eq!(stored(&corrected), serde_json::json!({ "action": "correct", "field": "owner_name", "text": "Ann" }));
    let seen = Action::MoveTo { state: State::S5ConfirmLive, from: Some(State::S3OwnerName) };
    let expected = serde_json::json!({ "action": "move_to", "state": "S5_CONFIRM_LIVE", "from": "S3_OWNER_NAME" });
    assert_eq!(stored(&seen), expected);
    let taken = take_number(Some("+447111111111"));
    assert_eq!(stored(&taken), serde_json::json!({ "action": "take_number", "number": "+447111111111" }));
    for action in [reply, moved, seen, taken, corrected, Action::MarkPaid, Action::OptIn] {
        assert_eq!(serde_json::from_value::<Action>(stored(&action)).unwrap(), action);
    }
}
