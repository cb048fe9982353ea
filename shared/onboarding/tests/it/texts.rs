//! Tests of texts that are more than an answer to the open question: halves, repeats, crossed texts, corrections, misfits.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{
    Client, Collected, Concern, Decision, E164, Event, Facts, OptChange, Payment, State, Step, TextKind,
    can_hold_a_conversation, decide, home_region,
};

use crate::{client_at, english};

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// Decides the text `body` as soon as it is received, at `seconds`, and changes the client accordingly.
pub(super) fn text(client: &mut Client, body: &str, seconds: i64) -> Decision {
    receive(client, body, at(seconds), at(seconds), true)
}

fn receive(
    client: &mut Client,
    body: &str,
    received_at: DateTime<Utc>,
    asked_at: DateTime<Utc>,
    served: bool,
) -> Decision {
    let facts = Facts { region_served: served, now: asked_at, asked_at, ..crate::facts(None) };
    let event = Event::Text { body: body.to_owned(), taken_for: None, received_at };
    let Step::Decided(decision) = decide(client, &event, &facts) else { panic!("asks the pool") };
    client.state = decision.next;
    client.collected = decision.collected.clone();
    client.exchange = decision.exchange.clone();
    client.opted_out = decision.opt == Some(OptChange::Out);
    *decision
}

/// Returns the kind of the text in a decision, if it has one.
pub(super) fn kind(decision: &Decision) -> Option<TextKind> {
    assert!(decision.texts.len() <= 1, "{decision:?}");
    decision.texts.first().map(|text| text.kind)
}

#[test]
fn two_halves_of_an_answer_are_joined() {
    for (first, second, joined) in [
        ("Plumber", "Leeds", "Plumber, Leeds"),
        ("Leeds", "Plumber", "Plumber, Leeds"),
        ("Plumber", "from Leeds", "Plumber from Leeds"),
    ] {
        let mut ann = client_at(State::S1BusinessTypeLocation);
        assert_eq!(kind(&text(&mut ann, first, 0)), Some(TextKind::AskOtherHalf));
        assert_eq!(ann.state, State::S1BusinessTypeLocation);
        assert_eq!(kind(&text(&mut ann, second, 10)), Some(TextKind::AskBusinessName));
        assert_eq!(ann.collected.business_type_location.as_deref(), Some(joined));
    }
    // The second half is joined even if both were sent before anything was asked.
    let mut ann = client_at(State::S1BusinessTypeLocation);
    receive(&mut ann, "Plumber", at(0), at(60), true);
    receive(&mut ann, "Leeds", at(2), at(60), true);
    assert_eq!(
        (ann.state, ann.collected.business_type_location.as_deref()),
        (State::S2BusinessName, Some("Plumber, Leeds"))
    );
}

#[test]
fn after_half_an_answer_the_other_half_is_asked_for_until_it_arrives() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    text(&mut ann, "Plumber", 0);
    let again = text(&mut ann, "why?", 10);
    assert_eq!(kind(&again), Some(TextKind::AskOtherHalf));
    assert!(english(&again.texts[0]).contains("where do you work"));
    assert_eq!(ann.collected.business_type_location.as_deref(), Some("Plumber"));
}

#[test]
fn the_same_text_again_within_seconds_does_not_answer_the_next_question() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    text(&mut ann, "Plumber from London", 0);
    let again = text(&mut ann, "Plumber from London ", 2);
    assert_eq!((again.next, kind(&again)), (State::S2BusinessName, Some(TextKind::AskBusinessName)));
    assert_eq!(ann.collected.business_name, None);

    let mut ben = client_at(State::S4NotificationPref);
    text(&mut ben, "Yes", 0);
    assert_eq!(kind(&text(&mut ben, "yes!", 2)), Some(TextKind::AskConfirmLive), "a repeat goes through no gate");
    assert_eq!(kind(&text(&mut ben, "yes", 20)), Some(TextKind::PaymentRequired), "later it is an answer");

    let mut sole = client_at(State::S2BusinessName);
    text(&mut sole, "John Smith", 0);
    assert_eq!(text(&mut sole, "John Smith", 2).next, State::S3OwnerName, "the repeat does not answer S3");
    assert_eq!(
        text(&mut sole, "John Smith", 30).next,
        State::S4NotificationPref,
        "a business may have its owner's name"
    );
}

#[test]
fn a_text_sent_before_the_question_does_not_answer_it() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    let asked_at = at(60);
    receive(&mut ann, "Plumber from London", at(0), asked_at, true);
    let crossed = receive(&mut ann, "Are you there", at(20), asked_at, true);
    assert_eq!((crossed.next, kind(&crossed)), (State::S2BusinessName, Some(TextKind::Crossed)));
    let again = receive(&mut ann, "Plumber in London mate", at(40), asked_at, true);
    assert_eq!((again.next, kind(&again)), (State::S2BusinessName, Some(TextKind::AskBusinessName)));
    assert_eq!((ann.collected.business_name.as_deref(), ann.exchange.misfits), (None, 0));
    assert_eq!(text(&mut ann, "ABC Plumbing", 70).next, State::S3OwnerName);
}

#[test]
fn answers_sent_all_at_once_are_read_up_to_the_payment_gate() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        receive(&mut ann, body, at(0), at(60), true);
    }
    assert_eq!(ann.state, State::S5ConfirmLive);
    assert_eq!(ann.collected.business_name.as_deref(), Some("ABC Plumbing"));
    assert_eq!(ann.collected.owner_name.as_deref(), Some("John Smith"));
    assert_eq!(kind(&receive(&mut ann, "YES", at(0), at(60), true)), Some(TextKind::Crossed));
}

#[test]
fn a_text_that_may_be_another_answer_does_not_count_before_its_question() {
    for (state, body) in [
        (State::S2BusinessName, "Plumber in London"),
        (State::S2BusinessName, "bathrooms too"),
        (State::S2BusinessName, "Leeds as well"),
        (State::S3OwnerName, "ABC Plumbing Ltd"),
        (State::S3OwnerName, "Smith Roofing"),
        (State::S3OwnerName, "are you there"),
        (State::S4NotificationPref, "Yes"),
        (State::S6PhoneType, "1"),
        (State::S7FwdSent, "DONE"),
    ] {
        let mut ann = client_at(state);
        ann.exchange.asked_at = Some(at(60));
        assert_eq!(receive(&mut ann, body, at(0), at(60), true).next, state, "{body}");
        assert_eq!(ann.collected, Collected::default(), "{body}");
    }
}

#[test]
fn choosing_the_same_phone_again_repeats_the_instructions() {
    let number = E164::parse("+447111111111").ok();
    let mut ann = Client { payment_active: true, number, ..client_at(State::S6PhoneType) };
    text(&mut ann, "2", 0);
    assert_eq!(kind(&text(&mut ann, "2", 1)), Some(TextKind::ForwardingInstructions));
}

#[test]
fn a_client_who_pays_is_told_the_address_where_it_cancels() {
    let facts = Facts { payment_portal: Some("https://portal"), ..crate::facts(None) };
    for (body, pays, kind_said) in [
        ("cancel my subscription", true, TextKind::HowToCancel),
        ("how do I cancel", true, TextKind::HowToCancel),
        ("cancel my subscription", false, TextKind::NothingCharged),
    ] {
        let payment = if pays { Payment::Active } else { Payment::None };
        let ann = Client { payment_active: pays, payment, ..client_at(State::Complete) };
        let event = Event::Text { body: body.to_owned(), taken_for: None, received_at: at(0) };
        let Step::Decided(decision) = decide(&ann, &event, &facts) else { panic!("asks the pool") };
        assert_eq!((kind(&decision), decision.concern), (Some(kind_said), None), "no person is needed");
        assert_eq!(english(&decision.texts[0]).contains("https://portal"), pays);
    }
    // The operator has opened the payment gate: Stripe knows no subscription.
    let ann = Client { payment_active: true, ..client_at(State::Complete) };
    let event = Event::Text { body: "cancel my subscription".to_owned(), taken_for: None, received_at: at(0) };
    let Step::Decided(decision) = decide(&ann, &event, &facts) else { panic!("asks the pool") };
    assert_eq!(decision.concern, Some(Concern::CancelAsked));
}

#[test]
fn two_yeses_in_one_batch_answer_only_one_question() {
    let mut ann = client_at(State::S4NotificationPref);
    receive(&mut ann, "Yes", at(0), at(60), true);
    let second = receive(&mut ann, "Yes please", at(30), at(60), true);
    assert_eq!((second.next, kind(&second)), (State::S5ConfirmLive, Some(TextKind::Crossed)));
}

#[test]
fn a_refusal_and_a_correction_count_whenever_they_were_sent() {
    let mut ann = client_at(State::S2BusinessName);
    receive(&mut ann, "ABC Plumbing", at(0), at(60), true);
    let corrected = receive(&mut ann, "sorry, business name is XYZ Plumbing", at(10), at(60), true);
    assert_eq!(kind(&corrected), Some(TextKind::Corrected));
    assert_eq!((ann.state, ann.collected.business_name.as_deref()), (State::S3OwnerName, Some("XYZ Plumbing")));
    let said = english(&corrected.texts[0]);
    assert!(said.contains("XYZ Plumbing") && said.contains("your own name"));
    assert_eq!(receive(&mut ann, "stop texting me", at(20), at(60), true).opt, Some(OptChange::Out));
}

#[test]
fn an_earlier_answer_can_be_corrected_until_complete() {
    for state in State::ALL {
        let mut ann = client_at(state);
        ann.collected.business_name = Some("ABC".to_owned());
        let decision = text(&mut ann, "sorry, business name is XYZ", 0);
        let is_open = state > State::S2BusinessName && state < State::Complete;
        assert_eq!(kind(&decision) == Some(TextKind::Corrected), is_open, "{state:?}");
        assert_eq!(ann.collected.business_name.as_deref() == Some("XYZ"), is_open || state == State::S2BusinessName);
        assert_eq!(ann.state == state, state != State::S2BusinessName, "{state:?}");
    }
}

#[test]
fn back_asks_the_last_question_again_and_undoes_no_payment() {
    let mut ann = client_at(State::S5ConfirmLive);
    for (seconds, before) in [
        (10, State::S4NotificationPref),
        (20, State::S3OwnerName),
        (30, State::S2BusinessName),
        (40, State::S1BusinessTypeLocation),
    ] {
        assert_eq!(text(&mut ann, "back", seconds).next, before);
    }
    assert_eq!(text(&mut ann, "back", 50).next, State::S1BusinessTypeLocation);
    let mut payer = Client { payment_active: true, ..client_at(State::S5ConfirmLive) };
    assert_eq!(text(&mut payer, "back", 0).next, State::S5ConfirmLive);
    let mut payer = Client { payment_active: true, ..client_at(State::S7FwdSent) };
    assert_eq!(text(&mut payer, "back", 0).next, State::S6PhoneType);
    assert_eq!(text(&mut payer, "back", 10).next, State::S6PhoneType, "a number that was given stays");
}

#[test]
fn the_third_misfit_in_a_row_offers_a_person_and_later_ones_do_not() {
    let mut ann = client_at(State::S2BusinessName);
    for (body, concern) in
        [("what?", None), ("asdf", None), ("hello??", Some(Concern::Stuck)), ("what?", None), ("why?", None)]
    {
        let decision = text(&mut ann, body, 0);
        assert_eq!(decision.concern, concern, "{body}");
        assert_eq!(kind(&decision) == Some(TextKind::OfferPerson), concern.is_some());
        assert_eq!(decision.next, State::S2BusinessName);
    }
    text(&mut ann, "ABC Plumbing", 10);
    assert_eq!(ann.exchange.misfits, 0, "a client who goes on is not stuck");
}

#[test]
fn a_client_who_asks_for_a_person_reaches_the_operator_at_once() {
    for state in State::ALL {
        let mut ann = client_at(state);
        let decision = text(&mut ann, "can I speak to a human?", 0);
        assert_eq!(
            (kind(&decision), decision.concern),
            (Some(TextKind::OfferPerson), Some(Concern::PersonWanted)),
            "{state:?}"
        );
        assert_eq!((decision.next, ann.exchange.misfits), (state, 0), "{state:?}");
    }
}

#[test]
fn a_question_a_doubt_and_a_call_for_help_reach_a_person_and_keep_the_place() {
    let asked = [
        ("do you cover Leeds as well?", Concern::QuestionAsked),
        ("is this a scam", Concern::DoubtsUs),
        ("can someone help me please", Concern::HelpWanted),
        ("call me", Concern::PersonWanted),
    ];
    for (state, (body, concern)) in State::ALL.into_iter().flat_map(|state| asked.map(|it| (state, it))) {
        let mut ann = client_at(state);
        let before = ann.clone();
        let decision = text(&mut ann, body, 10);
        assert_eq!(
            (kind(&decision), decision.concern),
            (Some(TextKind::OfferPerson), Some(concern)),
            "{state:?} {body}"
        );
        assert!(
            decision.texts.iter().all(|it| english(it).contains("CALL ME") || concern == Concern::PersonWanted),
            "{body}"
        );
        assert_eq!(ann, before, "{state:?} {body}");
    }
    let mut ben = client_at(State::S3OwnerName);
    let answer = text(&mut ben, "why do you need my name?", 10);
    assert!(english(&answer.texts[0]).ends_with("What's your own name?"), "{}", english(&answer.texts[0]));
}

#[test]
fn misfits_of_a_paying_client_at_complete_reach_the_operator() {
    let mut ann = client_at(State::Complete);
    ann.payment_active = true;
    for (body, concern) in [
        ("calls not coming through", None),
        ("thanks", None),
        ("my number isnt working", None),
        ("pause my subscription", Some(Concern::Stuck)),
        ("still being charged", None),
        ("my number isnt working", None),
        ("calls not coming through", Some(Concern::Stuck)),
    ] {
        assert_eq!(text(&mut ann, body, 0).concern, concern, "{body}");
    }
    let mut ben = client_at(State::Complete);
    ben.payment_active = false;
    for body in ["calls not coming through", "my number isnt working", "still being charged"] {
        assert_eq!(text(&mut ben, body, 0).concern, None, "{body}");
    }
}

#[test]
fn an_answer_that_fits_ends_a_row_of_misfits_even_if_the_state_stays() {
    let mut ann = client_at(State::S5ConfirmLive);
    for body in ["what?", "how?", "yes", "what?", "how?", "not now", "what?"] {
        assert_eq!(text(&mut ann, body, 0).concern, None, "{body}");
    }
}

#[test]
fn thanks_reactions_and_greetings_at_the_start_are_no_misfits() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    for body in ["Hi", "Hello", "Good morning", "Hi there"] {
        assert_eq!((text(&mut ann, body, 0).concern, ann.exchange.misfits), (None, 0), "{body}");
    }
    let mut ben = client_at(State::S7FwdSent);
    for body in ["ok", "thanks", "👍", "not yet", "Liked “Android Setup”", "I'm driving right now"] {
        text(&mut ben, body, 0);
        assert_eq!(ben.exchange.misfits, 0, "{body}");
    }
}

#[test]
fn machines_get_no_reply() {
    for state in State::ALL {
        for body in ["Liked “Great, thanks!”", "I'm driving right now", "Auto-reply: I am out of the office"] {
            let decision = text(&mut client_at(state), body, 0);
            assert_eq!(decision, Decision::nothing(&client_at(state)), "{state:?}: {body}");
        }
    }
}

#[test]
fn a_trade_or_a_name_over_100_characters_is_too_long() {
    for state in [State::S1BusinessTypeLocation, State::S2BusinessName, State::S3OwnerName] {
        let decision = text(&mut client_at(state), &"Plumber London ".repeat(10), 0);
        assert_eq!(kind(&decision), Some(TextKind::TooLong), "{state:?}");
        assert!(english(&decision.texts[0]).contains("100 characters"));
    }
}

#[test]
fn a_long_text_is_too_long_at_the_questions_from_s4_to_s7() {
    for state in [State::S4NotificationPref, State::S5ConfirmLive, State::S6PhoneType, State::S7FwdSent] {
        let decision = text(&mut client_at(state), &"the bananas are ripe ".repeat(20), 0);
        assert_eq!(kind(&decision), Some(TextKind::TooLong), "{state:?}");
    }
}

#[test]
fn cancelling_is_no_opt_out_and_alerts_the_operator_if_the_client_pays() {
    for state in State::ALL {
        for (pays, kind_said) in [(true, TextKind::HowToCancel), (false, TextKind::NothingCharged)] {
            let mut ann = Client { payment_active: pays, ..client_at(state) };
            let decision = text(&mut ann, "cancel my subscription", 0);
            assert_eq!((kind(&decision), decision.opt), (Some(kind_said), None));
            assert_eq!(decision.concern == Some(Concern::CancelAsked), pays);
            let mut ben = Client { payment_active: pays, ..client_at(state) };
            let decision = text(&mut ben, "CANCEL", 0);
            assert_eq!(
                (kind(&decision), decision.opt),
                (None, Some(OptChange::Out)),
                "carriers take it for an opt-out"
            );
            assert_eq!(decision.concern == Some(Concern::CancelAsked), pays);
        }
        let mut ann = Client { payment_active: true, ..client_at(state) };
        assert_eq!(text(&mut ann, "STOP", 0).concern, None);
        let decision = text(&mut ann, "cancel my subscription", 10);
        assert_eq!((kind(&decision), decision.concern), (None, Some(Concern::CancelAsked)), "alerted, without a text");
    }
}

#[test]
fn a_text_can_opt_out_and_cancel() {
    for body in ["stop texting me and cancel my subscription", "Stop. Cancel my account", "remove me, I want a refund"]
    {
        for (pays, concern) in [(true, Some(Concern::CancelAsked)), (false, None)] {
            let mut ann = Client { payment_active: pays, ..client_at(State::Complete) };
            let decision = text(&mut ann, body, 0);
            assert_eq!(
                (kind(&decision), decision.opt, decision.concern),
                (None, Some(OptChange::Out), concern),
                "{body}"
            );
        }
    }
}

#[test]
fn a_question_about_cancelling_gets_a_reply_and_cancels_nothing() {
    for state in State::ALL {
        let mut ann = Client { payment_active: true, ..client_at(state) };
        let decision = text(&mut ann, "how do I cancel?", 0);
        assert_eq!((kind(&decision), decision.concern), (Some(TextKind::HowToCancel), None));
        assert!(english(&decision.texts[0]).contains("reply I WANT TO CANCEL MY SUBSCRIPTION"));
        let decision = text(&mut ann, "I WANT TO CANCEL MY SUBSCRIPTION", 10);
        assert_eq!((kind(&decision), decision.concern), (Some(TextKind::HowToCancel), Some(Concern::CancelAsked)));
        let mut ben = client_at(state);
        let decision = text(&mut ben, "how do I cancel?", 0);
        assert_eq!((kind(&decision), decision.concern), (Some(TextKind::NothingCharged), None));
        assert_eq!((ben.state, ben.exchange.misfits), (state, 0));
    }
    for body in [
        "please do not close my account",
        "i didnt cancel my subscription",
        "customer wants to cancel his boiler service",
    ] {
        let mut ann = Client { payment_active: true, ..client_at(State::Complete) };
        let decision = text(&mut ann, body, 0);
        assert_eq!((kind(&decision), decision.concern), (Some(TextKind::AlreadyLive), None), "{body}");
    }
}

#[test]
fn a_first_payment_on_its_way_can_be_cancelled() {
    let mut ann = Client { payment: Payment::Awaited, ..client_at(State::S5ConfirmLive) };
    let decision = text(&mut ann, "cancel my subscription", 0);
    assert_eq!((kind(&decision), decision.concern), (Some(TextKind::HowToCancel), Some(Concern::CancelAsked)));
}

#[test]
fn a_client_who_has_paid_and_wants_its_money_back_reaches_the_operator() {
    for (payment_active, payment) in [(true, Payment::None), (true, Payment::Active), (false, Payment::Ended)] {
        let mut ann = Client { payment_active, payment, ..client_at(State::Complete) };
        let decision = text(&mut ann, "I want my money back", 0);
        assert_eq!((kind(&decision), decision.concern), (Some(TextKind::RefundAsked), Some(Concern::CancelAsked)));
    }
    let decision = text(&mut client_at(State::S2BusinessName), "refund please", 0);
    assert_eq!((kind(&decision), decision.concern), (Some(TextKind::NothingCharged), None));
}

#[test]
fn questions_about_price_and_contract_get_a_reply_with_the_open_question() {
    for state in State::ALL {
        for body in ["how much is it", "is there a contract", "can i cancel any time", "is it really £29"] {
            let mut ann = client_at(state);
            let decision = text(&mut ann, body, 0);
            assert_eq!((kind(&decision), ann.state, ann.exchange.misfits), (Some(TextKind::Terms), state, 0), "{body}");
            assert!(english(&decision.texts[0]).contains("£29 a month, and you can cancel any time"));
        }
    }
    let mut ann = client_at(State::S1BusinessTypeLocation);
    text(&mut ann, "Plumber", 0);
    assert!(english(&text(&mut ann, "how much?", 10).texts[0]).contains("where do you work"));
}

#[test]
fn a_client_who_is_not_interested_gets_one_closing_text_and_may_go_on() {
    for (state, answer) in [
        (State::S1BusinessTypeLocation, "Plumber from London"),
        (State::S2BusinessName, "ABC Plumbing"),
        (State::S3OwnerName, "John Smith"),
    ] {
        let mut ann = client_at(state);
        let said: Vec<Decision> = (0..4).map(|n| text(&mut ann, "no thanks, not interested", n * 10)).collect();
        for decision in &said {
            assert_eq!((kind(decision), decision.concern, decision.opt), (Some(TextKind::Closing), None, None));
            assert!(decision.texts[0].once_key.is_some(), "said once");
            assert_eq!(decision.texts[0].once_key, said[0].texts[0].once_key);
        }
        assert_eq!((ann.state, ann.exchange.misfits), (state, 0));
        assert!(text(&mut ann, answer, 60).next > state);
    }
}

#[test]
fn a_part_of_an_earlier_answer_is_corrected_and_the_rest_stays() {
    let told = Collected {
        business_type_location: Some("Plumber from London".to_owned()),
        business_name: Some("Smith & Sons".to_owned()),
        owner_name: Some("John Smith".to_owned()),
        ..Collected::default()
    };
    let stands = |state| Client { collected: told.clone(), ..client_at(state) };
    let mut ann = stands(State::S4NotificationPref);
    text(&mut ann, "surname is Smyth", 0);
    assert_eq!(ann.collected.owner_name.as_deref(), Some("John Smyth"));
    text(&mut ann, "actually im an electrician", 10);
    assert_eq!(ann.collected.business_type_location.as_deref(), Some("electrician from London"));
    let respelt = text(&mut ann, "its Smyth not Smith", 20);
    assert_eq!(
        (ann.collected.business_name.as_deref(), kind(&respelt)),
        (Some("Smyth & Sons"), Some(TextKind::Corrected))
    );
    let nothing = text(&mut ann, "its Jones not Brown", 30);
    assert_eq!(kind(&nothing), Some(TextKind::AskNotificationPref));
    assert_eq!(nothing.collected, ann.collected);
    let mut ben = Client { collected: Collected::default(), ..client_at(State::S2BusinessName) };
    assert_eq!(text(&mut ben, "actually im an electrician", 0).collected, Collected::default(), "asked again");
}

#[test]
fn going_back_twice_within_seconds_goes_back_two_questions() {
    let mut ann = client_at(State::S4NotificationPref);
    text(&mut ann, "back", 0);
    assert_eq!(text(&mut ann, "back", 2).next, State::S2BusinessName);
}

#[test]
fn a_text_about_where_its_sender_is_does_not_pass_the_payment_gate() {
    let paid = || Client { payment_active: true, ..client_at(State::S5ConfirmLive) };
    for body in ["I'm in a meeting", "I'm in Spain", "yes cancel it", "ready in 5", "I'm good thanks", "ok got to go"] {
        assert_eq!(text(&mut paid(), body, 0).next, State::S5ConfirmLive, "{body}");
    }
}

#[test]
fn no_client_in_a_country_without_numbers_is_asked_to_pay() {
    for state in [State::S1BusinessTypeLocation, State::S2BusinessName, State::S5ConfirmLive] {
        for body in ["Hi", "Plumber from Dublin", "YES"] {
            let decision = receive(&mut client_at(state), body, at(0), at(0), false);
            assert_eq!((decision.next, kind(&decision)), (state, Some(TextKind::NoNumbersThere)), "{body}");
        }
        assert_eq!(receive(&mut client_at(state), "stop texting me", at(0), at(0), false).opt, Some(OptChange::Out));
    }
    let mut payer = Client { payment_active: true, ..client_at(State::S7FwdSent) };
    assert_eq!(receive(&mut payer, "done", at(0), at(0), false).next, State::S8FwdConfirm);
}

#[test]
fn a_phone_has_a_home_region_and_a_uk_landline_takes_no_texts() {
    let phone = |text: &str| E164::parse(text).unwrap();
    for (number, region) in
        [("+447900000001", "UK"), ("+353871234567", "IE"), ("+48501234567", "PL"), ("+999123456789", "UK")]
    {
        assert_eq!(home_region(&phone(number)), region, "{number}");
    }
    for landline in ["+441134960000", "+442079460000", "+441534000000"] {
        assert!(!can_hold_a_conversation(&phone(landline)), "{landline}");
    }
    for mobile in ["+447900000001", "+353871234567", "+14158675309"] {
        assert!(can_hold_a_conversation(&phone(mobile)), "{mobile}");
    }
}
