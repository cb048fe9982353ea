//! Forwarding that cannot be set up as it was told, and another phone.

use jobrun_onboarding::forwarding_checks::ForwardingCheck;
use jobrun_onboarding::network::{Network, NetworkQuestion};
use jobrun_onboarding::{Client, Concern, E164, Event, PhoneType, State, Step, TextKind, decide};

use crate::texts::{kind, text};
use crate::{client_at, english, facts};

/// Returns a client who has chosen `phone`, and was told how to forward it.
fn told(phone: &str) -> Client {
    let number = E164::parse("+447111111111").ok();
    let mut ann = Client { payment_active: true, number, ..client_at(State::S6PhoneType) };
    assert_eq!(kind(&text(&mut ann, phone, 0)), Some(TextKind::ForwardingInstructions));
    ann
}

/// Says that it does not work until the network is asked.
fn asked_for_network(phone: &str) -> Client {
    let mut ann = told(phone);
    assert_eq!(kind(&text(&mut ann, "there is no such menu", 10)), Some(TextKind::ForwardAnotherWay));
    assert_eq!(kind(&text(&mut ann, "it says error", 20)), Some(TextKind::AskNetwork));
    ann
}

#[test]
fn a_client_without_the_menu_is_told_the_codes_then_asked_for_its_network_and_then_offered_a_person() {
    for (phone, codes) in [("1", "**62*+447111111111#"), ("2", "**62*+447111111111#"), ("3", "*61*07111111111#")] {
        let mut ann = told(phone);
        let first = text(&mut ann, "there is no such menu", 10);
        assert_eq!((kind(&first), ann.state), (Some(TextKind::ForwardAnotherWay), State::S7FwdSent));
        assert!(english(&first.texts[0]).contains(codes), "{}", english(&first.texts[0]));
        let second = text(&mut ann, "it says error", 20);
        let asked = if phone == "3" { TextKind::ForwardAnotherWay } else { TextKind::AskNetwork };
        assert_eq!(kind(&second), Some(asked), "a landline is on no mobile network");
        let third = text(&mut ann, "it says error", 30);
        assert_eq!((kind(&third), third.concern), (Some(TextKind::OfferPerson), Some(Concern::Stuck)));
        assert_eq!(text(&mut ann, "DONE", 40).next, State::S8FwdConfirm);
        let failed = text(&mut ann, "it's not working", 50);
        assert_eq!((kind(&failed), ann.state), (Some(TextKind::ForwardAnotherWay), State::S8FwdConfirm));
    }
}

#[test]
fn the_network_gets_what_helps_on_it_and_the_next_failure_a_person() {
    for (answer, network, part) in [
        ("three", Network::Three, "ring 333"),
        ("EE", Network::Ee, "On EE, dial ##002#"),
        ("vodafone", Network::Vodafone, "with the +44"),
        ("giffgaff", Network::Giffgaff, "ask giffgaff to allow it"),
        ("no idea", Network::Other, "ask your network to allow it"),
    ] {
        let mut ann = asked_for_network("1");
        let told = text(&mut ann, answer, 30);
        assert_eq!((kind(&told), ann.state), (Some(TextKind::ForwardOnNetwork), State::S7FwdSent));
        assert!(english(&told.texts[0]).contains(part), "{}", english(&told.texts[0]));
        for code in ["**61*+447111111111#", "**67*+447111111111#", "**62*+447111111111#", "DONE"] {
            assert!(english(&told.texts[0]).contains(code), "{}", english(&told.texts[0]));
        }
        assert_eq!(english(&told.texts[0]).contains("##002#"), network != Network::Three);
        assert_eq!(ann.collected.network, Some(NetworkQuestion::Answered(network)));
        let failed = text(&mut ann, "it says error", 40);
        assert_eq!((kind(&failed), failed.concern), (Some(TextKind::OfferPerson), Some(Concern::Stuck)));
        assert_eq!(text(&mut ann, "DONE", 50).next, State::S8FwdConfirm);
        let later = text(&mut ann, "it's not working", 60);
        assert!(english(&later.texts[0]).contains(part), "at once: {}", english(&later.texts[0]));
        assert_eq!(ann.collected.network, Some(NetworkQuestion::Answered(network)), "it is not forgotten");
    }
}

#[test]
fn three_is_the_network_only_while_that_is_asked() {
    let mut ann = asked_for_network("1");
    text(&mut ann, "3", 30);
    assert_eq!(
        (ann.collected.network, ann.collected.phone_type),
        (Some(NetworkQuestion::Answered(Network::Three)), Some(PhoneType::IPhone))
    );
    text(&mut ann, "3", 40);
    assert_eq!(ann.collected.phone_type, Some(PhoneType::Landline), "the question is answered");

    for (goes_on, next) in [("DONE", State::S8FwdConfirm), ("2", State::S7FwdSent), ("back", State::S6PhoneType)] {
        let mut ann = asked_for_network("1");
        assert_eq!(text(&mut ann, goes_on, 30).next, next);
        assert_eq!(ann.collected.network, Some(NetworkQuestion::Closed), "{goes_on}");
        text(&mut ann, "three", 40);
        assert_eq!((ann.state, ann.collected.phone_type), (State::S7FwdSent, Some(PhoneType::Landline)), "{goes_on}");
    }
    let mut ann = asked_for_network("2");
    assert_eq!(kind(&text(&mut ann, "thanks", 30)), Some(TextKind::AskNetwork), "it is asked again");
    assert_eq!(kind(&text(&mut ann, "asdf", 40)), Some(TextKind::OfferPerson));
    text(&mut ann, "3", 50);
    assert_eq!(ann.collected.phone_type, Some(PhoneType::Landline), "after the offer of a person");
}

#[test]
fn what_is_known_of_the_network_is_no_step_of_the_sign_up() {
    let before = told("2").collected;
    let after = asked_for_network("2").collected;
    assert!(before != after && !after.answers_more_than(&before));
    assert!(after.answers_more_than(&client_at(State::S6PhoneType).collected));
}

#[test]
fn another_phone_can_be_chosen_until_the_test_call() {
    let number = E164::parse("+447111111111").ok();
    let mut ann = Client { payment_active: true, number, ..client_at(State::S8FwdConfirm) };
    let decision = text(&mut ann, "3", 0);
    assert_eq!((kind(&decision), ann.state), (Some(TextKind::ForwardingInstructions), State::S7FwdSent));
    assert!(english(&decision.texts[0]).starts_with("Landline"));
    ann.state = State::S8FwdConfirm;
    assert_eq!(text(&mut ann, "back", 10).next, State::S7FwdSent);
    assert_eq!(text(&mut ann, "back", 20).next, State::S6PhoneType);
}

#[test]
fn the_codes_that_mend_forwarding_are_those_of_the_phone_that_was_named() {
    let asked_at = Some(Default::default());
    for (phone_type, has, has_not) in [
        (Some(PhoneType::IPhone), "\n**61*+447111111111#\n**67*+447111111111#\n**62*+447111111111#\n", "*61*07"),
        (Some(PhoneType::Android), "\n**62*+447111111111#\n", "*61*07"),
        (Some(PhoneType::Landline), "dial *61*07111111111#", "**61*"),
        (None, "\n**61*+447111111111#\n", "*61*07"),
    ] {
        let mut ann = Client { forwarding_test: asked_at, ..told("1") };
        (ann.state, ann.collected.phone_type) = (State::Complete, phone_type);
        let over = ForwardingCheck::TestOver { asked_at: Default::default(), called: false };
        let Step::Decided(decision) = decide(&ann, &Event::ForwardingCheckDue(over), &facts(None)) else { panic!() };
        let body = &english(&decision.texts[0]);
        assert!(
            body.contains(has) && !body.contains(has_not) && body.ends_with("Then reply TEST to try again."),
            "{body}"
        );
    }
}
