//! The transition table: every state, every kind of event, and every fact that matters there.
//!
//! It is committed as `tests/transition_table.txt`, so that a reviewer can read it. This test generates it anew and compares.

use std::fmt::Write;

use chrono::DateTime;
use jobrun_onboarding::action::Action;
use jobrun_onboarding::forwarding_checks::ForwardingCheck;
use jobrun_onboarding::phone_change::{CodeReply, PhoneChangeStep};
use jobrun_onboarding::reminders::Reminder;
use jobrun_onboarding::text_back::{CallerFacts, TextBackFacts};
use jobrun_onboarding::{
    Allocation, Call, Client, Collected, Decision, E164, Event, Exchange, Facts, Field, Keyword, Payment, PhoneType,
    State, Step, TextKind, VoiceMessage, decide,
};

use crate::facts;

const COMMITTED: &str = include_str!("../transition_table.txt");

/// One text for each meaning, and the keywords.
const TEXTS: [&str; 34] = [
    "Plumber from London",
    "Plumber",
    "ABC",
    "SMS",
    "YES",
    "READY",
    "NO",
    "1",
    "2",
    "3",
    "DONE",
    "there is no such menu",
    "TEST",
    "???",
    "back",
    "wrong number",
    "Liked “Hi”",
    "stop texting me",
    "cancel my subscription",
    "stop texting me and cancel my subscription",
    "how do I cancel",
    "refund please",
    "how much is it",
    "not interested",
    "speak to a human",
    "is this a scam",
    "can you help me",
    "do you cover Leeds as well?",
    "old number is 07700900123",
    "business name is XYZ",
    "CANCEL",
    "STOP",
    "START",
    "HELP",
];

const OWNER: &str = "+447900000001";

/// The facts on which decisions can depend, in the order of the columns.
const FACTS: [&str; 5] = ["opted out", "unreachable", "paid", "has number", "gave phone type"];

/// The facts of one row. `None` is a fact that does not matter there.
type Known = [Option<bool>; FACTS.len()];

/// Changes of the payment: the status about which the client was last told, and the new status.
const PAYMENTS: [(Payment, Payment); 14] = [
    (Payment::None, Payment::Awaited),
    (Payment::None, Payment::Active),
    (Payment::None, Payment::PastDue),
    (Payment::None, Payment::Ended),
    (Payment::Awaited, Payment::Active),
    (Payment::Awaited, Payment::None),
    (Payment::Active, Payment::Active),
    (Payment::Active, Payment::PastDue),
    (Payment::Active, Payment::Ended),
    (Payment::Active, Payment::Awaited),
    (Payment::Awaited, Payment::Ended),
    (Payment::PastDue, Payment::Active),
    (Payment::PastDue, Payment::Ended),
    (Payment::Ended, Payment::Active),
];

/// Returns the events with their names in the table, each with the payment status about which the client was last told.
fn events() -> Vec<(String, Payment, Event)> {
    let text =
        |body: &str, taken_for| Event::Text { body: body.to_owned(), taken_for, received_at: Default::default() };
    let texts = TEXTS.iter().map(|body| (format!("\"{body}\""), text(body, None)));
    let taken = [
        ("\"YES\" taken for START", text("YES", Some(Keyword::Start))),
        ("\"BYE\" taken for STOP", text("BYE", Some(Keyword::Stop))),
        ("\"HUH\" taken for HELP", text("HUH", Some(Keyword::Help))),
    ];
    let call = |from: &str| Call {
        sid: Some("CA1".to_owned()),
        caller: jobrun_onboarding::caller(from),
        at: Default::default(),
    };
    let others = [
        ("CallArrived", Event::CallArrived(call("+447700900123"))),
        ("CallArrived, withheld", Event::CallArrived(call("anonymous"))),
        ("CallArrived, the owner", Event::CallArrived(call(OWNER))),
        ("CallEnded", Event::CallEnded(call("+447700900123"))),
        ("CallEnded, withheld", Event::CallEnded(call("anonymous"))),
        ("MessageLeft", Event::MessageLeft(message_left())),
        ("NumberDue", Event::NumberDue),
        ("NumberLost", Event::NumberLost(E164::parse("+447111111112").unwrap())),
        ("NumberLost, the same", Event::NumberLost(number())),
        ("Code, right", code(true, 4)),
        ("Code, wrong", code(false, 3)),
        ("Code, the last wrong", code(false, 4)),
        ("Code, right too late", code(true, 5)),
        ("Reminder due", reminder(None, false)),
        ("The last one due", reminder(None, true)),
        ("Reminder due, pay asked", reminder(Some(TextKind::PaymentRequired), false)),
        ("Reminder due, offered", reminder(Some(TextKind::NumberReady), false)),
        ("Reminder due, closed", reminder(Some(TextKind::Closing), false)),
        ("No calls for long", no_calls()),
        ("OptedOut", Event::OptedOut),
        ("Unreachable", Event::Unreachable),
        ("Reached", Event::Reached),
    ];
    let others = taken.into_iter().chain(others).map(|(name, event)| (name.to_owned(), event)).chain(actions());
    let texts_and_others = texts.chain(others).map(|(name, event)| (name, Payment::None, event));
    let ready = ("\"READY\", pay awaited".to_owned(), Payment::Awaited, text("READY", None));
    let payments = PAYMENTS.map(|(last_told, stands)| {
        (format!("Pay {} -> {}", last_told.name(), stands.name()), last_told, Event::PaymentStands(stands))
    });
    texts_and_others.chain([ready]).chain(payments).collect()
}

fn code(is_right: bool, wrong_before: u32) -> Event {
    let [expires_at, received_at] = [DateTime::UNIX_EPOCH; 2];
    Event::CodeReply(CodeReply { is_right, wrong_before, expires_at, received_at })
}

fn message_left() -> VoiceMessage {
    VoiceMessage {
        recording: "RE1".to_owned(),
        caller: jobrun_onboarding::caller("+447700900123"),
        seconds: Some(42),
        link: Some("https://link".to_owned()),
    }
}

/// Returns a reminder of a client to whom `last_said` was said last.
fn reminder(last_said: Option<TextKind>, is_last: bool) -> Event {
    let [since, until] = [DateTime::UNIX_EPOCH; 2];
    let payment_asked = last_said == Some(TextKind::PaymentRequired);
    let last_said = last_said.map(|kind| kind.name().to_owned());
    Event::ReminderDue(Reminder { since, nth: if is_last { 3 } else { 1 }, is_last, payment_asked, last_said, until })
}

fn no_calls() -> Event {
    let [since, until] = [DateTime::UNIX_EPOCH; 2];
    Event::ForwardingCheckDue(ForwardingCheck::NoCalls { since, is_of_call: true, until })
}

/// Returns the actions of operators on a client that nobody has taken over.
fn actions() -> impl Iterator<Item = (String, Event)> {
    let reply = Action::Reply { body: "Hi, it's Ada".to_owned() };
    let take_over = Action::TakeOver { from: None, silence_minutes: None };
    let correct = Action::Correct { field: Field::OwnerName, text: "Ann Smyth".to_owned() };
    let actions = [
        ("Op reply", reply),
        ("Op take over", take_over),
        ("Op hand back", Action::HandBack { ask_again: true }),
        ("Op move to S1", Action::MoveTo { state: State::S1BusinessTypeLocation, from: None }),
        ("Op move to S5", Action::MoveTo { state: State::S5ConfirmLive, from: None }),
        ("Op move to S6", Action::MoveTo { state: State::S6PhoneType, from: None }),
        ("Op move to S7", Action::MoveTo { state: State::S7FwdSent, from: None }),
        ("Op move to COMPLETE", Action::MoveTo { state: State::Complete, from: None }),
        ("Op correct", correct),
        ("Op mark paid", Action::MarkPaid),
        ("Op give number", Action::GiveNumber),
        ("Op take number", Action::TakeNumber { number: None }),
        ("Op ask again", Action::AskAgain),
        ("Op opt in", Action::OptIn),
        ("Op cancel", Action::Cancel),
    ];
    actions.into_iter().map(|(name, action)| (name.to_owned(), Event::Operator { by: "ada".to_owned(), action }))
}

fn number() -> E164 {
    E164::parse("+447111111111").unwrap()
}

/// Whether callers are texted back: `None` where TEXT_BACK is off, and otherwise whether the client wants it.
type TextBack = Option<bool>;

fn client(state: State, payment: Payment, facts: [bool; FACTS.len()], text_back: TextBack) -> Client {
    let [opted_out, unreachable, payment_active, has_number, gave_phone_type] = facts;
    Client {
        id: "c".to_owned(),
        owner_phone: E164::parse(OWNER).unwrap(),
        state,
        collected: Collected { phone_type: gave_phone_type.then_some(PhoneType::Android), ..Collected::default() },
        exchange: Exchange::default(),
        payment_active,
        payment,
        payment_reference: "reference".to_owned(),
        number: has_number.then(number),
        opted_out,
        unreachable,
        takeover: None,
        forwarding_test: None,
        text_back: text_back == Some(true),
        text_back_asked: text_back == Some(true),
    }
}

fn outcome(client: &Client, event: &Event, text_back: TextBack) -> String {
    let facts = |allocation| Facts { text_back: text_back.map(|_| text_back_facts()), ..facts(allocation) };
    match decide(client, event, &facts(None)) {
        Step::Decided(decision) => describe(client, &decision),
        Step::AskPool => {
            let answers = [
                ("gets a number", Allocation::Assigned(number())),
                ("had one", Allocation::AlreadyAssigned(number())),
                ("pool empty", Allocation::PoolEmpty { told_late: false }),
                ("pool empty still", Allocation::PoolEmpty { told_late: true }),
            ];
            let each = answers.map(|(name, answer)| match decide(client, event, &facts(Some(answer))) {
                Step::Decided(decision) => format!("{name}: {}", describe(client, &decision)),
                Step::AskPool => format!("{name}: ASKS AGAIN"),
            });
            format!("asks the pool\n{}", each.join("\n"))
        }
    }
}

fn text_back_facts() -> TextBackFacts {
    let caller = Some(CallerFacts { may_be_texted: true, texted_callers: 0 });
    TextBackFacts { region: "GB".to_owned(), business: "ABC Plumbing".to_owned(), quiet: None, caller }
}

fn describe(client: &Client, decision: &Decision) -> String {
    let mut parts = Vec::new();
    if decision.next != client.state {
        parts.push(format!("-> {}", decision.next.name()));
    }
    parts.extend(decision.texts.iter().map(|text| format!("says {}", text.kind.name())));
    parts.extend(decision.opt.map(|change| format!("opts {change:?}").to_lowercase()));
    parts.extend(decision.reachable.map(|reachable| if reachable { "reachable" } else { "unreachable" }.to_owned()));
    if decision.collected != client.collected {
        parts.push("keeps the answer".to_owned());
    }
    parts.extend(decision.payment.map(|payment| format!("payment {}", payment.name())));
    parts.extend(decision.payment_active.map(|active| if active { "gate open" } else { "gate closed" }.to_owned()));
    if decision.gives_up_number {
        parts.push("gives up its number".to_owned());
    }
    parts.extend(decision.takes_number.as_ref().map(|_| "takes its number".to_owned()));
    parts.extend(decision.forwarding_test.map(|_| "tests its forwarding".to_owned()));
    if decision.text_back != client.text_back {
        parts.push(if decision.text_back { "callers are texted" } else { "callers are not texted" }.to_owned());
    }
    if decision.text_back_asked != client.text_back_asked {
        parts.push("was asked".to_owned());
    }
    parts.extend(decision.caller_text.as_ref().map(|_| "texts the caller".to_owned()));
    parts.extend(decision.takeover.as_ref().map(|_| "taken over".to_owned()));
    parts.extend(decision.refused.map(|refused| format!("refused: {}", refused.words())));
    parts.extend(decision.phone_change.as_ref().map(|step| match step {
        PhoneChangeStep::Asked(_) => "asks for a code".to_owned(),
        PhoneChangeStep::Proved => "moves the phone".to_owned(),
        PhoneChangeStep::WrongTry => "counts a wrong code".to_owned(),
        PhoneChangeStep::Over => "ends the request".to_owned(),
    }));
    if decision.number_due {
        parts.push("a number is due".to_owned());
    }
    parts.extend(decision.concern.map(|concern| format!("alerts {concern:?}")));
    if !decision.journal.is_empty() {
        parts.push(format!("{} journal lines", decision.journal.len()));
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// Returns the rows of a state and an event. Facts are split only where they matter, so that there are as few rows as possible.
fn rows(known: Known, outcome: &impl Fn([bool; FACTS.len()]) -> String) -> Vec<(Known, String)> {
    let all = completions(known);
    let first = outcome(all[0]);
    if all.iter().all(|facts| outcome(*facts) == first) {
        return vec![(known, first)];
    }
    let matters = |fact: &usize| {
        known[*fact].is_none()
            && completions(known).iter().any(|facts| {
                let mut other = *facts;
                other[*fact] = !other[*fact];
                outcome(*facts) != outcome(other)
            })
    };
    let fact = (0..FACTS.len()).find(matters).expect("outcomes differ, so some fact matters");
    [true, false]
        .into_iter()
        .flat_map(|value| {
            let mut known = known;
            known[fact] = Some(value);
            rows(known, outcome)
        })
        .collect()
}

/// Returns every way to fill in the open facts.
fn completions(known: Known) -> Vec<[bool; FACTS.len()]> {
    (0..1usize << FACTS.len())
        .map(|bits| std::array::from_fn(|fact| bits >> fact & 1 == 1))
        .filter(|facts: &[bool; FACTS.len()]| {
            facts.iter().zip(known).all(|(fact, known)| known.is_none_or(|known| known == *fact))
        })
        .collect()
}

/// Adds the rows of a state and an event.
fn write_rows(table: &mut String, state: State, event: (String, Payment, Event), text_back: TextBack) {
    let (name, last_told, event) = event;
    let outcome = |facts| outcome(&client(state, last_told, facts, text_back), &event, text_back);
    for (known, outcome) in rows([None; FACTS.len()], &outcome) {
        let letters: String = ["Oo", "Uu", "Pp", "Nn", "Tt"]
            .iter()
            .zip(known)
            .map(|(letters, known)| match known {
                None => '.',
                Some(true) => letters.chars().next().unwrap(),
                Some(false) => letters.chars().nth(1).unwrap(),
            })
            .collect();
        let mut lines = outcome.lines();
        writeln!(table, "  {name:<24} {letters}  {}", lines.next().unwrap()).unwrap();
        for line in lines {
            writeln!(table, "  {:<24} {:<5}    {line}", "", "").unwrap();
        }
    }
}

/// Returns the events that TEXT_BACK may decide in another way.
fn events_of_text_back() -> impl Iterator<Item = (String, Payment, Event)> {
    let text = |body: &str| {
        let event = Event::Text { body: body.to_owned(), taken_for: None, received_at: Default::default() };
        (format!("\"{body}\""), event)
    };
    let call = |from: &str| Call {
        caller: jobrun_onboarding::caller(from),
        sid: Some("CA1".to_owned()),
        at: Default::default(),
    };
    let calls = [
        ("a mobile", "+447700900123"),
        ("a landline", "+442079460000"),
        ("abroad", "+353851234567"),
        ("withheld", ""),
        ("the owner", OWNER),
    ];
    let calls = calls.into_iter().flat_map(move |(name, from)| {
        [
            (format!("CallArrived, {name}"), Event::CallArrived(call(from))),
            (format!("CallEnded, {name}"), Event::CallEnded(call(from))),
        ]
    });
    let texts = ["TEXT BACK", "TEXT BACK OFF", "text back please", "YES", "STOP"].map(text);
    calls.chain(texts).map(|(name, event)| (name, Payment::None, event))
}

fn generate() -> String {
    let mut table = "Every state, what can happen there, and what comes of it. Generated, and checked, by a test.\n\
        Facts: O opted out, U unreachable, P paid, N has a number, T gave the phone type; a small letter means not, a dot either way.\n\
        Pay active -> ended: the payment was active when the client last heard of it, and has ended.\n"
        .to_owned();
    for state in State::ALL {
        writeln!(table, "\n{}", state.name()).unwrap();
        for event in events() {
            write_rows(&mut table, state, event, None);
        }
    }
    for wants in [false, true] {
        let client = if wants { "wants its callers texted back" } else { "has not chosen" };
        for state in [State::S9TestCall, State::Complete] {
            writeln!(table, "\n{}, where TEXT_BACK is on and the client {client}", state.name()).unwrap();
            for event in events_of_text_back() {
                write_rows(&mut table, state, event, Some(wants));
            }
        }
    }
    table
}

#[test]
fn the_committed_transition_table_is_up_to_date() {
    let generated = generate();
    if generated != COMMITTED {
        let fresh = concat!(env!("CARGO_TARGET_TMPDIR"), "/transition_table.txt");
        std::fs::write(fresh, &generated).unwrap();
        panic!(
            "the transition table has changed: compare {fresh} with tests/transition_table.txt, and commit it if it is right"
        );
    }
}
