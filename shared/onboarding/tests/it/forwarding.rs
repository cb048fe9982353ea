//! Forwarding that cannot be set up as it was told, and another phone.

use jobrun_onboarding::{Client, Concern, E164, State, TextKind};

use crate::texts::{kind, text};
use crate::{client_at, english};

#[test]
fn a_client_without_the_menu_is_told_the_codes_twice_and_then_offered_a_person() {
    let number = E164::parse("+447111111111").ok();
    for (phone, codes) in [("1", "**62*+447111111111#"), ("2", "**62*+447111111111#"), ("3", "*61*07111111111#")] {
        let mut ann = Client { payment_active: true, number: number.clone(), ..client_at(State::S6PhoneType) };
        text(&mut ann, phone, 0);
        for seconds in [10, 20] {
            let decision = text(&mut ann, "there is no such menu", seconds);
            assert_eq!((kind(&decision), ann.state), (Some(TextKind::ForwardAnotherWay), State::S7FwdSent));
            assert!(english(&decision.texts[0]).contains(codes), "{}", english(&decision.texts[0]));
        }
        let third = text(&mut ann, "it says error", 30);
        assert_eq!((kind(&third), third.concern), (Some(TextKind::OfferPerson), Some(Concern::Stuck)));
        assert_eq!(text(&mut ann, "DONE", 40).next, State::S8FwdConfirm);
        let failed = text(&mut ann, "it's not working", 50);
        assert_eq!((kind(&failed), ann.state), (Some(TextKind::ForwardAnotherWay), State::S8FwdConfirm));
    }
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
