//! Tests of the whole core: its transition table, which people can read, and the rules that no conversation may break.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use jobrun_onboarding::{
    Allocation, Client, Collected, E164, Exchange, Facts, Payment, State, Switches, Text, Wordings,
};

mod answers;

mod callers;

mod text_back;

mod texts;

mod asked_again;

mod forwarding;

mod forwarding_checks;

mod table;

mod rules;

mod operator;

mod replay;

mod reminders;

mod cancelling;

mod phone_change;

mod switches;

/// Returns a client at `state` that has given no answer yet.
fn client_at(state: State) -> Client {
    Client {
        id: "c".to_owned(),
        owner_phone: E164::parse("+447900000001").unwrap(),
        state,
        collected: Collected::default(),
        exchange: Exchange::default(),
        payment_active: false,
        payment: Payment::None,
        payment_reference: "reference".to_owned(),
        number: None,
        opted_out: false,
        unreachable: false,
        takeover: None,
        forwarding_test: None,
        text_back: false,
        text_back_asked: false,
    }
}

/// Returns the facts of a decision in which time does not matter.
fn facts(allocation: Option<Allocation>) -> Facts<'static> {
    Facts {
        payment_link: Some("https://pay"),
        payment_portal: None,
        switches: Switches::ON,
        allocation,
        region_served: true,
        calls: Default::default(),
        text_back: None,
        now: Default::default(),
        asked_at: Default::default(),
    }
}

/// Returns the words of a text as a British client gets it, if the operator has changed none.
fn english(text: &Text) -> String {
    text.write(Wordings::built_in().of_region("UK")).body
}
