//! The rules that no conversation may break, tested on random conversations.

use std::collections::BTreeSet;

use chrono::DateTime;
use jobrun_onboarding::action::Action;
use jobrun_onboarding::forwarding_checks::ForwardingCheck;
use jobrun_onboarding::network::{Network, NetworkQuestion};
use jobrun_onboarding::phone_change::CodeReply;
use jobrun_onboarding::reminders::Reminder;
use jobrun_onboarding::wording_file::carrier_word;
use jobrun_onboarding::words::Words;
use jobrun_onboarding::{
    Allocation, Call, Client, Collected, Decision, E164, Event, Exchange, Field, Keyword, OptChange, Payment,
    PhoneType, State, Step, TextKind, VoiceMessage, Wordings, decide,
};
use proptest::prelude::*;

use crate::{client_at, english, facts};

const NETWORK_QUESTIONS: [NetworkQuestion; 4] = [
    NetworkQuestion::AskNext,
    NetworkQuestion::Open,
    NetworkQuestion::Closed,
    NetworkQuestion::Answered(Network::Three),
];

pub(super) const EMPTY: Allocation = Allocation::PoolEmpty { told_late: false };

pub(super) fn number() -> E164 {
    E164::parse("+447111111111").unwrap()
}

pub(super) fn a_text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "Plumber from London",
        "ABC",
        "SMS",
        "YES",
        "ready",
        "no",
        "1",
        "2",
        "3",
        "DONE",
        "STOP",
        "start",
        "HELP",
        "yes!",
        "",
        "\0",
        "🙂",
        "unstop",
        "back",
        "TEST",
        "it doesn't work",
        "EE",
        "Plumber",
        "Leeds",
        "wrong number",
        "sorry, business name is XYZ",
        "cancel my subscription",
        "how do I cancel",
        "refund please",
        "how much is it",
        "not interested",
        "I'm in a meeting",
        "its Smyth not Smith",
        "new phone, my old number is 07700 900123",
    ]);
    prop_oneof![4 => words.prop_map(str::to_owned), 1 => any::<String>()]
}

fn taken_for() -> impl Strategy<Value = Option<Keyword>> {
    prop_oneof![
        9 => Just(None),
        1 => prop::sample::select(vec![Keyword::Stop, Keyword::Start, Keyword::Help]).prop_map(Some),
    ]
}

fn a_call() -> impl Strategy<Value = Call> {
    let callers = prop::sample::select(vec!["+447700900123", "+447900000001", "anonymous", "+266696687"]);
    (any::<bool>(), callers).prop_map(|(named, caller)| Call {
        sid: named.then(|| "CA1".to_owned()),
        caller: jobrun_onboarding::caller(caller),
        at: Default::default(),
    })
}

fn left_by(call: Call) -> VoiceMessage {
    let link = Some("https://link".to_owned());
    VoiceMessage { recording: "RE1".to_owned(), caller: call.caller, seconds: Some(42), link }
}

pub(super) fn a_payment() -> impl Strategy<Value = Payment> {
    prop::sample::select(Payment::ALL.to_vec())
}

pub(super) fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (a_text(), taken_for()).prop_map(|(body, taken_for)| Event::Text { body, taken_for, received_at: Default::default() }),
        1 => a_call().prop_map(Event::CallArrived),
        1 => a_call().prop_map(Event::CallEnded),
        1 => a_call().prop_map(|call| Event::MessageLeft(left_by(call))),
        1 => Just(Event::NumberDue),
        2 => a_payment().prop_map(Event::PaymentStands),
        1 => Just(Event::NumberLost(number())),
        1 => Just(Event::OptedOut),
        1 => Just(Event::Unreachable),
        1 => Just(Event::Reached),
        1 => a_reminder().prop_map(Event::ReminderDue),
        1 => a_code().prop_map(Event::CodeReply),
        1 => a_check().prop_map(Event::ForwardingCheckDue),
        2 => an_action().prop_map(|action| Event::Operator { by: "ada".to_owned(), action }),
    ]
}

fn a_code() -> impl Strategy<Value = CodeReply> {
    (any::<bool>(), 0..7_u32).prop_map(|(is_right, wrong_before)| CodeReply {
        is_right,
        wrong_before,
        expires_at: DateTime::UNIX_EPOCH,
        received_at: DateTime::UNIX_EPOCH,
    })
}

fn a_reminder() -> impl Strategy<Value = Reminder> {
    let said = prop::option::of(prop::sample::select(TextKind::ALL.to_vec()));
    (said, 1..4_usize).prop_map(|(said, nth)| Reminder {
        since: DateTime::UNIX_EPOCH,
        nth,
        is_last: nth == 3,
        payment_asked: said == Some(TextKind::PaymentRequired),
        last_said: said.map(|kind| kind.name().to_owned()),
        until: DateTime::UNIX_EPOCH,
    })
}

fn a_check() -> impl Strategy<Value = ForwardingCheck> {
    let at = DateTime::UNIX_EPOCH;
    prop_oneof![
        any::<bool>().prop_map(move |called| ForwardingCheck::TestOver { asked_at: at, called }),
        any::<bool>().prop_map(move |is_of_call| ForwardingCheck::NoCalls { since: at, is_of_call, until: at }),
    ]
}

pub(super) fn an_action() -> impl Strategy<Value = Action> {
    let silence = || prop::option::of(1..600_u32);
    let from = prop::option::of(prop::sample::select(vec!["ada".to_owned(), "bob".to_owned()]));
    let fields = vec![Field::TradeAndPlace, Field::BusinessName, Field::OwnerName, Field::Trade, Field::Surname];
    prop_oneof![
        a_text().prop_map(|body| Action::Reply { body }),
        (from, silence()).prop_map(|(from, silence_minutes)| Action::TakeOver { from, silence_minutes }),
        any::<bool>().prop_map(|ask_again| Action::HandBack { ask_again }),
        (prop::sample::select(State::ALL.to_vec()), prop::option::of(prop::sample::select(State::ALL.to_vec())))
            .prop_map(|(state, from)| Action::MoveTo { state, from }),
        (prop::sample::select(fields), a_text()).prop_map(|(field, text)| Action::Correct { field, text }),
        Just(Action::MarkPaid),
        Just(Action::GiveNumber),
        prop::option::of(Just(number().as_str().to_owned())).prop_map(|number| Action::TakeNumber { number }),
        Just(Action::AskAgain),
        Just(Action::OptIn),
        Just(Action::Cancel),
    ]
}

prop_compose! {
    pub(super) fn a_client()(
        state in prop::sample::select(State::ALL.to_vec()),
        payment_active in any::<bool>(),
        payment in a_payment(),
        has_number in any::<bool>(),
        opted_out in any::<bool>(),
        unreachable in any::<bool>(),
        phone_type in prop::option::of(prop::sample::select(vec![PhoneType::Landline, PhoneType::Android])),
        network in prop::option::of(prop::sample::select(NETWORK_QUESTIONS.to_vec())),
        testing in any::<bool>(),
    ) -> Client {
        Client {
            id: "c".to_owned(),
            owner_phone: E164::parse("+447900000001").unwrap(),
            state,
            collected: Collected { phone_type, network, ..Collected::default() },
            exchange: Exchange::default(),
            payment_active,
            payment,
            payment_reference: "reference".to_owned(),
            number: has_number.then(number),
            opted_out,
            unreachable,
            takeover: None,
            forwarding_test: testing.then_some(DateTime::UNIX_EPOCH),
                    text_back: false,
                    text_back_asked: false,
        }
    }
}

/// Returns the decision for an event, and whether it asked the pool.
pub(super) fn step(client: &Client, event: &Event, pool: &Allocation) -> (Decision, bool) {
    match decide(client, event, &facts(None)) {
        Step::Decided(decision) => (*decision, false),
        Step::AskPool => match decide(client, event, &facts(Some(pool.clone()))) {
            Step::Decided(decision) => (*decision, true),
            Step::AskPool => panic!("asked the pool twice"),
        },
    }
}

pub(super) fn pools() -> impl Strategy<Value = Allocation> {
    prop::sample::select(vec![Allocation::Assigned(number()), EMPTY])
}

/// Returns whether `next` may follow `state`: it is the same or the next state. A call proves more than one thing, so its arrival
/// may move a client from S7 to S9, and its end from S7 or S8 to COMPLETE.
fn may_follow(state: State, next: State, event: &Event) -> bool {
    let place = |state: State| State::ALL.iter().position(|it| *it == state).unwrap();
    match event {
        // "back" asks the previous question again, but does not go back through the payment gate.
        Event::Text { body, .. } if body == "back" => {
            let is_behind = state > State::S5ConfirmLive;
            next == state || (place(next) + 1 == place(state) && (!is_behind || next > State::S5ConfirmLive))
        }
        Event::ReminderDue(_) | Event::CodeReply(_) | Event::ForwardingCheckDue(_) | Event::MessageLeft(_) => {
            next == state
        }
        Event::Text { .. } | Event::NumberDue | Event::OptedOut | Event::Unreachable | Event::Reached => {
            let chooses_phone = [(State::S7FwdSent, State::S6PhoneType), (State::S8FwdConfirm, State::S7FwdSent)];
            // Without a number, the choice of another phone leads back to the question.
            let waits = (state, next) == (State::S8FwdConfirm, State::S6PhoneType);
            // A client at S6 who has named its phone may have set it up by the instructions of a reminder.
            let is_set_up = (state, next) == (State::S6PhoneType, State::S8FwdConfirm);
            let is_next = next == state || place(next) == place(state) + 1;
            is_next || chooses_phone.contains(&(state, next)) || waits || is_set_up
        }
        // A payment lets a client through the payment gate. The end of the service or the loss of the number moves it back.
        Event::PaymentStands(_) | Event::NumberLost(_) => {
            let gate = [State::S5ConfirmLive, State::S6PhoneType];
            next == state || (state >= State::S5ConfirmLive && gate.contains(&next)) || place(next) == place(state) + 1
        }
        Event::Operator { action: Action::MoveTo { state: there, .. }, .. } => next == state || next == *there,
        // Opening the payment gate and giving a number lead through it.
        Event::Operator { .. } => next == state || (state >= State::S5ConfirmLive && place(next) == place(state) + 1),
        Event::CallArrived(_) => next == state || (state >= State::S7FwdSent && next == State::S9TestCall),
        Event::CallEnded(_) => next == state || (state >= State::S7FwdSent && next == State::Complete),
    }
}

/// Returns whether a text gives a value to each placeholder of its wording, and no other.
fn has_its_values(words: &Words) -> bool {
    let Words::Of(name, values) = words else { return true };
    let template = Wordings::built_in().of_region("UK").template(*name);
    let taken: BTreeSet<&str> = template.placeholders().collect();
    let given: BTreeSet<&str> = values.iter().map(|(placeholder, _)| *placeholder).collect();
    taken == given && values.iter().all(|(_, value)| has_its_values(value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Every property also shows that `decide` does not panic.
    #[test]
    fn no_number_is_asked_for_before_payment(client in a_client(), event in an_event(), pool in pools()) {
        let (_, asked) = step(&client, &event, &pool);
        let pays = matches!(event, Event::PaymentStands(payment) if payment.is_served())
            || matches!(event, Event::Operator { action: Action::MarkPaid, .. });
        prop_assert!(!asked || client.payment_active || pays);
    }

    #[test]
    fn no_opted_out_or_unreachable_client_is_texted(client in a_client(), event in an_event(), pool in pools()) {
        let (decision, _) = step(&client, &event, &pool);
        let wants_texts = !client.opted_out || decision.opt == Some(OptChange::In);
        prop_assert!(wants_texts || decision.texts.is_empty());
        let reachable = !client.unreachable || matches!(event, Event::Text { .. } | Event::CodeReply(_));
        prop_assert!(reachable || decision.texts.is_empty());
        prop_assert!(decision.opt != Some(OptChange::Out) || decision.texts.is_empty());
    }

    #[test]
    fn no_state_is_skipped(client in a_client(), event in an_event(), pool in pools()) {
        let (decision, _) = step(&client, &event, &pool);
        prop_assert!(may_follow(client.state, decision.next, &event), "{:?} -> {:?}", client.state, decision.next);
    }

    #[test]
    fn no_client_passes_the_payment_gate_without_a_number(client in a_client(), event in an_event(), pool in pools()) {
        let (decision, asked) = step(&client, &event, &pool);
        let is_moved_by_hand = matches!(event, Event::Operator { action: Action::MoveTo { .. }, .. });
        if client.state == State::S5ConfirmLive && decision.next == State::S6PhoneType {
            prop_assert!(is_moved_by_hand || (asked && pool != EMPTY));
        }
        if client.state == State::S6PhoneType && decision.next == State::S7FwdSent {
            prop_assert!(client.number.is_some() || (asked && pool != EMPTY));
        }
    }

    #[test]
    fn every_text_is_accepted_by_twilio(client in a_client(), event in an_event(), pool in pools()) {
        let (decision, _) = step(&client, &event, &pool);
        for text in &decision.texts {
            prop_assert!(!english(text).is_empty() && english(text).chars().count() <= 1600);
            prop_assert!(has_its_values(&text.words), "{:?}", text.words);
        }
        // A payment that is overdue still opens the payment gate, and the client gets a text about each.
        let late = event == Event::PaymentStands(Payment::PastDue);
        prop_assert!(decision.texts.len() <= 1 + usize::from(late));
    }

    #[test]
    fn the_end_of_the_service_takes_the_number_and_closes_the_payment_gate(client in a_client(), pool in pools()) {
        let (decision, asked) = step(&client, &Event::PaymentStands(Payment::Ended), &pool);
        let news = client.payment != Payment::Ended && client.payment != Payment::Awaited;
        prop_assert!(!asked);
        prop_assert!(!news || (decision.gives_up_number && decision.payment_active == Some(false)));
        prop_assert!(!news || decision.next <= State::S5ConfirmLive);
    }

    #[test]
    fn an_unchanged_payment_status_changes_nothing(client in a_client(), pool in pools()) {
        let (decision, _) = step(&client, &Event::PaymentStands(client.payment), &pool);
        prop_assert_eq!(decision, Decision::nothing(&client));
    }

    #[test]
    fn a_text_is_answered_unless_its_sender_wants_no_answer(client in a_client(), body in a_text(), pool in pools()) {
        let quiet = client.opted_out || jobrun_onboarding::keyword(&body).is_some();
        let (decision, _) = step(&client, &Event::Text { body, taken_for: None, received_at: Default::default() }, &pool);
        prop_assert!(quiet || decision.texts.len() == 1);
    }

    /// Tests whole conversations: each event starts from the client that the last one left.
    #[test]
    fn a_conversation_gets_a_number_once_and_only_when_paid(
        events in prop::collection::vec((an_event(), any::<bool>(), pools()), 1..60)
    ) {
        let mut client = client_at(State::S1BusinessTypeLocation);
        for (event, pays, pool) in events {
            client.payment_active |= pays && client.state >= State::S5ConfirmLive;
            if matches!(event, Event::NumberLost(_)) {
                client.number = None;
            }
            // A client that was moved back behind its number is told of the same one again.
            let pool = client.number.clone().map_or(pool, Allocation::AlreadyAssigned);
            let (decision, asked) = step(&client, &event, &pool);
            client.payment = decision.payment.unwrap_or(client.payment);
            client.payment_active = decision.payment_active.unwrap_or(client.payment_active);
            if decision.gives_up_number || decision.takes_number.is_some() {
                prop_assert!(!asked);
                client.number = None;
            }
            if asked {
                prop_assert!(client.payment_active);
                if let Allocation::Assigned(number) = pool {
                    prop_assert!(client.number.replace(number).is_none(), "a second number");
                }
            }
            // The event that follows the loss of a number is not played here.
            let is_lost = decision.takes_number.is_some();
            prop_assert!(decision.next <= State::S5ConfirmLive || client.number.is_some() || is_lost);
            if is_lost { client.state = State::S5ConfirmLive; client.collected = decision.collected; continue; }
            client.state = decision.next;
            client.collected = decision.collected;
            client.takeover = decision.takeover;
            client.unreachable = decision.reachable.map_or(client.unreachable, |reachable| !reachable);
            match decision.opt {
                Some(OptChange::Out) => client.opted_out = true,
                Some(OptChange::In) => client.opted_out = false,
                None => {}
            }
        }
    }
}

/// Carriers and Twilio act on these words, so no text of ours may ask for one.
#[test]
fn no_text_asks_for_a_word_that_twilio_acts_on() {
    let words = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "HELP", "INFO"];
    for state in State::ALL {
        let asked = ["how do I cancel", "cancel my subscription", "refund please", "how much is it", "not interested"];
        let answers = ["gibberish", "YES", "1", "2", "3", "DONE", "SMS", "Plumber from London"];
        for body in answers.into_iter().chain(asked) {
            for paid in [true, false] {
                let client = Client {
                    id: "c".to_owned(),
                    owner_phone: E164::parse("+447900000001").unwrap(),
                    state,
                    collected: Collected::default(),
                    exchange: Exchange::default(),
                    payment_active: paid,
                    payment: Payment::None,
                    payment_reference: "reference".to_owned(),
                    number: paid.then(number),
                    opted_out: false,
                    unreachable: false,
                    takeover: None,
                    forwarding_test: None,
                    text_back: false,
                    text_back_asked: false,
                };
                let event = Event::Text { body: body.to_owned(), taken_for: None, received_at: Default::default() };
                let (decision, _) = step(&client, &event, &EMPTY);
                for text in decision.texts {
                    let asks = |word: &&str| english(&text).contains(&format!("eply {word}"));
                    assert!(!words.iter().any(asks), "{}", english(&text));
                    assert_eq!(carrier_word(&english(&text)), None);
                }
            }
        }
    }
}
