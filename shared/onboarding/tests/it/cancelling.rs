//! Cancelling by text, by keyword and by an operator, and the text at the end.

use jobrun_onboarding::action::{Action, Refused};
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::{
    Client, Collected, Concern, Decision, E164, Event, Facts, Keyword, OptChange, Payment, PhoneType, State, Step,
    TextKind, decide,
};

use crate::texts::kind;
use crate::{client_at, english, facts};

const PORTAL: &str = "https://billing.stripe.com/p/login/x";

fn payer() -> Client {
    let number = E164::parse("+447111111111").ok();
    Client { payment_active: true, payment: Payment::Active, number, ..client_at(State::Complete) }
}

fn decided(client: &Client, event: &Event, portal: Option<&str>) -> Decision {
    match decide(client, event, &Facts { payment_portal: portal, ..facts(None) }) {
        Step::Decided(decision) => *decision,
        Step::AskPool => panic!("asks the pool"),
    }
}

fn cancelled(client: &Client, portal: Option<&str>) -> Decision {
    decided(client, &Event::Operator { by: "ada".to_owned(), action: Action::Cancel }, portal)
}

#[test]
fn an_operator_who_cancels_gives_the_client_the_portal_or_opens_a_case() {
    let at_portal = cancelled(&payer(), Some(PORTAL));
    assert!(english(&at_portal.texts[0]).contains(PORTAL), "{at_portal:?}");
    assert_eq!(at_portal.concern, None, "the client cancels by itself");
    let kind_said = at_portal.texts[0].kind;
    assert!(kind_said.matters(), "it is tried again, and then an operator is alerted");
    assert!(
        TextKind::SENT_IN_A_TAKEOVER.contains(&kind_said),
        "so is its second try, while the operator speaks with the client"
    );

    // Without a portal, or without a subscription at Stripe, the operators have something to do.
    let by_hand = Client { payment: Payment::None, ..payer() };
    for (client, portal) in [(payer(), None), (by_hand, Some(PORTAL))] {
        let decision = cancelled(&client, portal);
        assert_eq!((kind(&decision), decision.concern), (Some(TextKind::HowToCancel), Some(Concern::CancelAsked)));
        assert!(english(&decision.texts[0]).contains("Our team will cancel"), "{decision:?}");
    }
    // A client that cannot be texted is not forgotten.
    for client in [Client { opted_out: true, ..payer() }, Client { unreachable: true, ..payer() }] {
        let decision = cancelled(&client, Some(PORTAL));
        assert_eq!((kind(&decision), decision.concern), (None, Some(Concern::CancelAsked)));
    }
    let unpaid = Client { payment_active: false, payment: Payment::None, ..payer() };
    assert_eq!(cancelled(&unpaid, Some(PORTAL)).refused, Some(Refused::NotPaid));
}

#[test]
fn the_keyword_cancel_of_a_client_who_pays_opts_out_and_raises_a_case() {
    for taken_for in [None, Some(Keyword::Stop)] {
        for body in ["CANCEL", "cancel", "Cancel."] {
            let event = Event::Text { body: body.to_owned(), taken_for, received_at: Default::default() };
            let decision = decided(&payer(), &event, Some(PORTAL));
            assert_eq!((decision.opt, decision.concern), (Some(OptChange::Out), Some(Concern::CancelAsked)), "{body}");
            assert!(decision.texts.is_empty(), "Twilio refuses a text of ours now");
            // A client who has opted out before can still cancel.
            let out = Client { opted_out: true, ..payer() };
            assert_eq!(decided(&out, &event, None).concern, Some(Concern::CancelAsked), "{body}");
        }
    }
}

#[test]
fn the_end_of_the_service_gives_the_codes_of_the_client_s_phone_in_two_segments_at_most() {
    for (phone_type, codes, none) in [
        (Some(PhoneType::IPhone), vec!["##002#"], "#67#"),
        (Some(PhoneType::Android), vec!["##002#"], "#67#"),
        (Some(PhoneType::Landline), vec!["#61#", "#67#"], "##002#"),
        (None, vec!["##002#", "#61#", "#67#"], "**"),
    ] {
        let client = Client { collected: Collected { phone_type, ..Collected::default() }, ..payer() };
        // As long as a link and a reference are.
        let client = Client { payment_reference: "r".repeat(32), ..client };
        let facts = Facts { payment_link: Some("https://buy.stripe.com/00000000000000000"), ..facts(None) };
        let Step::Decided(decision) = decide(&client, &Event::PaymentStands(Payment::Ended), &facts) else {
            panic!("asks the pool")
        };
        let body = &english(&decision.texts[0]);
        assert!(codes.iter().all(|code| body.contains(code)) && !body.contains(none), "{body}");
        assert!(segments(body).count <= 2, "{body}");
        assert_eq!(decision.collected, client.collected, "the answers stay");
    }
    let without = Client { number: None, ..payer() };
    let body = &english(&decided(&without, &Event::PaymentStands(Payment::Ended), None).texts[0]);
    assert!(!body.contains('#'), "nothing was forwarded: {body}");
}
