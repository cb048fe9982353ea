//! How texts are taken that are more than an answer to the open question: halves, repeats, what crossed, corrections, misfits.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{
    Client, Collected, Concern, Decision, E164, Event, Facts, OptChange, State, Step, TextKind,
    can_hold_a_conversation, decide, home_region,
};

use crate::client_at;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// Texts `body`, received at `seconds` and decided at once; the client is as it stands after.
fn text(client: &mut Client, body: &str, seconds: i64) -> Decision {
    heard(client, body, at(seconds), at(seconds), true)
}

fn heard(
    client: &mut Client,
    body: &str,
    received_at: DateTime<Utc>,
    asked_at: DateTime<Utc>,
    served: bool,
) -> Decision {
    let facts =
        Facts { payment_link: Some("https://pay"), allocation: None, region_served: served, now: asked_at, asked_at };
    let event = Event::Text { body: body.to_owned(), taken_for: None, received_at };
    let Step::Decided(decision) = decide(client, &event, &facts) else { panic!("asks the pool") };
    client.state = decision.next;
    client.collected = decision.collected.clone();
    client.exchange = decision.exchange.clone();
    client.opted_out = decision.opt == Some(OptChange::Out);
    *decision
}

/// What is said, in a word.
fn kind(decision: &Decision) -> Option<TextKind> {
    assert!(decision.texts.len() <= 1, "{decision:?}");
    decision.texts.first().map(|text| text.kind)
}

#[test]
fn a_split_answer_is_joined() {
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
    heard(&mut ann, "Plumber", at(0), at(60), true);
    heard(&mut ann, "Leeds", at(2), at(60), true);
    assert_eq!(
        (ann.state, ann.collected.business_type_location.as_deref()),
        (State::S2BusinessName, Some("Plumber, Leeds"))
    );
}

#[test]
fn half_an_answer_is_asked_for_the_other_half_as_often_as_it_takes() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    text(&mut ann, "Plumber", 0);
    let again = text(&mut ann, "why?", 10);
    assert_eq!(kind(&again), Some(TextKind::AskOtherHalf));
    assert!(again.texts[0].body.contains("where do you work"));
    assert_eq!(ann.collected.business_type_location.as_deref(), Some("Plumber"));
}

#[test]
fn the_same_text_within_seconds_answers_nothing_more() {
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
    assert_eq!(text(&mut sole, "John Smith", 2).next, State::S3OwnerName, "the name of the business once more");
    assert_eq!(
        text(&mut sole, "John Smith", 30).next,
        State::S4NotificationPref,
        "a business may have its owner's name"
    );
}

#[test]
fn what_was_sent_before_the_question_is_no_answer_to_it() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    let asked_at = at(60);
    heard(&mut ann, "Plumber from London", at(0), asked_at, true);
    let crossed = heard(&mut ann, "Are you there", at(20), asked_at, true);
    assert_eq!((crossed.next, kind(&crossed)), (State::S2BusinessName, Some(TextKind::Crossed)));
    let again = heard(&mut ann, "Plumber in London mate", at(40), asked_at, true);
    assert_eq!((again.next, kind(&again)), (State::S2BusinessName, Some(TextKind::AskBusinessName)));
    assert_eq!((ann.collected.business_name.as_deref(), ann.exchange.misfits), (None, 0));
    assert_eq!(text(&mut ann, "ABC Plumbing", 70).next, State::S3OwnerName);
}

#[test]
fn who_knows_what_comes_and_sends_it_at_once_is_understood_up_to_the_gate() {
    let mut ann = client_at(State::S1BusinessTypeLocation);
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        heard(&mut ann, body, at(0), at(60), true);
    }
    assert_eq!(ann.state, State::S5ConfirmLive);
    assert_eq!(ann.collected.business_name.as_deref(), Some("ABC Plumbing"));
    assert_eq!(ann.collected.owner_name.as_deref(), Some("John Smith"));
    assert_eq!(kind(&heard(&mut ann, "YES", at(0), at(60), true)), Some(TextKind::Crossed));
}

#[test]
fn what_might_be_another_answer_is_not_plain() {
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
        assert_eq!(heard(&mut ann, body, at(0), at(60), true).next, state, "{body}");
        assert_eq!(ann.collected, Collected::default(), "{body}");
    }
}

#[test]
fn the_same_phone_again_gets_the_same_instructions() {
    let number = E164::parse("+447111111111").ok();
    let mut ann = Client { payment_active: true, number, ..client_at(State::S6PhoneType) };
    text(&mut ann, "2", 0);
    assert_eq!(kind(&text(&mut ann, "2", 1)), Some(TextKind::ForwardingInstructions));
}

#[test]
fn two_yeses_in_one_go_pass_one_question() {
    let mut ann = client_at(State::S4NotificationPref);
    heard(&mut ann, "Yes", at(0), at(60), true);
    let second = heard(&mut ann, "Yes please", at(30), at(60), true);
    assert_eq!((second.next, kind(&second)), (State::S5ConfirmLive, Some(TextKind::Crossed)));
}

#[test]
fn a_refusal_and_a_correction_count_whenever_they_were_sent() {
    let mut ann = client_at(State::S2BusinessName);
    heard(&mut ann, "ABC Plumbing", at(0), at(60), true);
    let corrected = heard(&mut ann, "sorry, business name is XYZ Plumbing", at(10), at(60), true);
    assert_eq!(kind(&corrected), Some(TextKind::Corrected));
    assert_eq!((ann.state, ann.collected.business_name.as_deref()), (State::S3OwnerName, Some("XYZ Plumbing")));
    assert!(corrected.texts[0].body.contains("XYZ Plumbing") && corrected.texts[0].body.contains("your own name"));
    assert_eq!(heard(&mut ann, "stop texting me", at(20), at(60), true).opt, Some(OptChange::Out));
}

#[test]
fn an_earlier_answer_is_corrected_until_all_is_over() {
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
fn the_third_misfit_in_a_row_offers_a_person_once() {
    let mut ann = client_at(State::S2BusinessName);
    for (body, concern) in [
        ("how much?", None),
        ("is this a scam", None),
        ("hello??", Some(Concern::Stuck)),
        ("what?", None),
        ("why?", None),
    ] {
        let decision = text(&mut ann, body, 0);
        assert_eq!(decision.concern, concern, "{body}");
        assert_eq!(kind(&decision) == Some(TextKind::OfferPerson), concern.is_some());
        assert_eq!(decision.next, State::S2BusinessName);
    }
    text(&mut ann, "ABC Plumbing", 10);
    assert_eq!(ann.exchange.misfits, 0, "who goes on is not stuck");
}

#[test]
fn an_answer_that_fits_ends_the_row_even_if_nothing_moves() {
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
fn machines_are_not_answered() {
    for state in State::ALL {
        for body in ["Liked “Great, thanks!”", "I'm driving right now", "Auto-reply: I am out of the office"] {
            let decision = text(&mut client_at(state), body, 0);
            assert_eq!(decision, Decision::nothing(&client_at(state)), "{state:?}: {body}");
        }
    }
}

#[test]
fn a_too_long_answer_hears_so() {
    for state in [State::S1BusinessTypeLocation, State::S2BusinessName, State::S3OwnerName] {
        let decision = text(&mut client_at(state), &"Plumber London ".repeat(10), 0);
        assert_eq!(kind(&decision), Some(TextKind::TooLong), "{state:?}");
        assert!(decision.texts[0].body.contains("100 characters"));
    }
}

#[test]
fn cancelling_is_no_opt_out_and_concerns_whoever_pays() {
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
        assert_eq!((kind(&decision), decision.concern), (None, Some(Concern::CancelAsked)), "heard, without a word");
    }
}

#[test]
fn where_we_have_no_numbers_nobody_is_asked_to_pay() {
    for state in [State::S1BusinessTypeLocation, State::S2BusinessName, State::S5ConfirmLive] {
        for body in ["Hi", "Plumber from Dublin", "YES"] {
            let decision = heard(&mut client_at(state), body, at(0), at(0), false);
            assert_eq!((decision.next, kind(&decision)), (state, Some(TextKind::NoNumbersThere)), "{body}");
        }
        assert_eq!(heard(&mut client_at(state), "stop texting me", at(0), at(0), false).opt, Some(OptChange::Out));
    }
    let mut payer = Client { payment_active: true, ..client_at(State::S7FwdSent) };
    assert_eq!(heard(&mut payer, "done", at(0), at(0), false).next, State::S8FwdConfirm);
}

#[test]
fn phones_have_a_home_and_landlines_take_no_texts() {
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
