//! The open question, asked again within the reply to another text and in a reminder.

use jobrun_onboarding::network::NetworkQuestion;
use jobrun_onboarding::reminders::Reminder;
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::{Client, Collected, E164, Event, Facts, PhoneType, State, Step, TextKind, decide};

use crate::texts::{at, kind, text};
use crate::{client_at, english};

#[test]
fn the_reply_to_a_question_is_one_segment_wherever_it_is_asked() {
    let network_open = Collected { network: Some(NetworkQuestion::Open), ..Collected::default() };
    for (state, collected) in
        State::ALL.into_iter().flat_map(|state| [(state, Collected::default()), (state, network_open.clone())])
    {
        for (body, kind_said) in [
            ("do you cover Leeds as well?", TextKind::OfferPerson),
            ("can someone help me please", TextKind::OfferPerson),
            ("how much is it", TextKind::Terms),
        ] {
            let number = E164::parse("+447111111111").ok();
            let mut ann = Client { number, payment_active: true, collected: collected.clone(), ..client_at(state) };
            let decision = text(&mut ann, body, 10);
            assert_eq!(kind(&decision), Some(kind_said), "{state:?} {body}");
            let said = english(&decision.texts[0]);
            assert_eq!(segments(&said).count, 1, "{state:?} {said}");
            let needed = match state {
                State::S6PhoneType => "Reply 1 for iPhone, 2 for Android or 3 for landline",
                State::S7FwdSent | State::S8FwdConfirm if collected.network.is_some() => "Which network",
                State::S7FwdSent => "reply DONE",
                State::S8FwdConfirm => "ring your usual number from another phone and don't pick up",
                _ => "",
            };
            assert!(said.contains(needed), "{state:?} {said}");
        }
    }
}

#[test]
fn a_reply_and_a_reminder_ask_for_what_is_open() {
    let asked_by = |client: &Client, body: &str| {
        english(&text(&mut client.clone(), body, 100).texts[0]).split_once("\n\n").unwrap().1.to_owned()
    };
    let reminded = |client: &Client| {
        let since = at(50);
        let reminder =
            Reminder { since, nth: 1, is_last: false, payment_asked: false, last_said: None, until: at(200) };
        let facts = Facts { now: at(150), ..crate::facts(None) };
        let Step::Decided(decision) = decide(client, &Event::ReminderDue(reminder), &facts) else { panic!() };
        english(&decision.texts[0]).strip_prefix("Hi from JobRun! Shall we carry on?\n\n").unwrap().to_owned()
    };
    let question = "do you cover Leeds as well?";
    // Back at the first question, it is open again as a whole, and the client has been welcomed.
    let mut ann = client_at(State::S1BusinessTypeLocation);
    text(&mut ann, "Plumber from London", 0);
    text(&mut ann, "back", 10);
    let whole = "What's your trade, and where do you work?\n\nFor example: Plumber from London";
    assert_eq!((asked_by(&ann, question), reminded(&ann)), (whole.to_owned(), whole.to_owned()));
    assert_eq!(asked_by(&ann, "how much is it"), whole);
    // Of half an answer, the other half is open, also after "back".
    let mut ben = client_at(State::S1BusinessTypeLocation);
    text(&mut ben, "Plumber", 0);
    let half = "Thanks! And where do you work?\n\nFor example: London";
    assert_eq!((asked_by(&ben, question), reminded(&ben)), (half.to_owned(), half.to_owned()));
    assert_eq!(english(&text(&mut ben, "back", 10).texts[0]), half);
    // While the network is asked, "3" is one.
    for state in [State::S7FwdSent, State::S8FwdConfirm] {
        let mut cat = client_at(state);
        cat.number = E164::parse("+447111111111").ok();
        cat.collected.phone_type = Some(PhoneType::Android);
        cat.collected.network = Some(NetworkQuestion::Open);
        let (reply, reminder) = (asked_by(&cat, question), reminded(&cat));
        assert!(reply.contains("Which network") && reminder.contains("Which network"), "{reply} {reminder}");
    }
}
