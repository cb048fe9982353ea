//! Where the conversation goes next, and what the world must do about it.
//!
//! One function for each state, each a list of what can happen there. What a text does is in `texts.rs`. Nothing here fails:
//! what makes no sense in a state moves nothing, and a text always gets a helpful answer, unless its sender wants none.

use chrono::{DateTime, Utc};

use crate::answer::{self, Keyword, keyword};
use crate::wording::{self, Text};
use crate::{Allocation, Call, Client, Collected, Event, Exchange, Payment, PhoneType, State, journal, service, texts};

/// What a decision rests on besides the client and the event.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Where clients pay, before each one's reference is added; nothing, if no link has been set up yet.
    pub payment_link: Option<&'a str>,
    /// What the pool answered, when this decision asked it with [`Step::AskPool`].
    pub allocation: Option<Allocation>,
    /// Whether the pool has numbers of the client's region, free or not.
    pub region_served: bool,
    /// The time of the decision.
    pub now: DateTime<Utc>,
    /// When a question that this decision asks counts as asked: after everything that is in hand has arrived.
    pub asked_at: DateTime<Utc>,
}

/// The answer of [`decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A number is to be taken from the pool for this client; then decide again, with what came of it.
    AskPool,
    /// This is what happens.
    Decided(Box<Decision>),
}

/// What happens: to be saved in one transaction, and only then printed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the client stands now.
    pub next: State,
    /// What the client has told us by now.
    pub collected: Collected,
    /// How the exchange of question and answer stands now.
    pub exchange: Exchange,
    /// The texts to send, in order.
    pub texts: Vec<Text>,
    /// Whether the client's wish about texts changed.
    pub opt: Option<OptChange>,
    /// Whether it turned out that texts reach the client's phone, or that they do not.
    pub reachable: Option<bool>,
    /// How the client's payment stands, if that has changed.
    pub payment: Option<Payment>,
    /// Whether the gate is open to the client from now on, if that has changed.
    pub payment_active: Option<bool>,
    /// Whether the client gives up its number, and its place on the waiting list.
    pub gives_up_number: bool,
    /// Whether an [`Event::NumberDue`] is to follow.
    pub number_due: bool,
    /// What the operator is to be told.
    pub concern: Option<Concern>,
    /// The lines to print, as one block.
    pub journal: Vec<String>,
}

/// A client's changed wish about being texted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptChange {
    /// No more texts, and those not sent yet are dropped.
    Out,
    /// Texts again.
    In,
}

/// What the operator is to be told of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The client and the conversation do not understand each other.
    Stuck,
    /// The client asks for a person, and was told that one will get in touch.
    PersonWanted,
    /// The client pays, or has paid, and asked to cancel or for its money back.
    CancelAsked,
}

impl Decision {
    /// Nothing happens: the client stays where it is, and hears nothing.
    #[must_use]
    pub fn nothing(client: &Client) -> Self {
        Self {
            next: client.state,
            collected: client.collected.clone(),
            exchange: client.exchange.clone(),
            texts: Vec::new(),
            opt: None,
            reachable: None,
            payment: None,
            payment_active: None,
            gives_up_number: false,
            number_due: false,
            concern: None,
            journal: Vec::new(),
        }
    }

    pub(crate) fn to(mut self, next: State) -> Self {
        self.next = next;
        self
    }

    pub(crate) fn text(mut self, text: Text) -> Self {
        self.texts.push(text);
        self
    }

    /// Says this instead of whatever else was to be said.
    pub(crate) fn instead(mut self, text: Text) -> Self {
        self.texts = vec![text];
        self
    }

    pub(crate) fn opt(mut self, change: OptChange) -> Self {
        self.opt = Some(change);
        self
    }

    fn reachable(mut self, reachable: bool) -> Self {
        self.reachable = Some(reachable);
        self
    }

    pub(crate) fn payment(mut self, payment: Payment) -> Self {
        self.payment = Some(payment);
        self
    }

    pub(crate) fn payment_active(mut self, active: bool) -> Self {
        self.payment_active = Some(active);
        self
    }

    pub(crate) fn gives_up_number(mut self) -> Self {
        self.gives_up_number = true;
        self
    }

    fn journal(mut self, lines: Vec<String>) -> Self {
        self.journal.extend(lines);
        self
    }

    pub(crate) fn collect(mut self, collected: Collected) -> Self {
        self.collected = collected;
        self
    }

    pub(crate) fn concern(mut self, concern: Concern) -> Self {
        self.concern = Some(concern);
        self
    }

    fn number_due(mut self) -> Self {
        self.number_due = true;
        self
    }
}

impl From<Decision> for Step {
    fn from(decision: Decision) -> Self {
        Self::Decided(Box::new(decision))
    }
}

/// Decides what happens when `event` reaches `client`.
///
/// A first answer of [`Step::AskPool`] is followed by a second call with the pool's answer in `facts`; that call always
/// decides.
#[must_use]
pub fn decide(client: &Client, event: &Event, facts: &Facts<'_>) -> Step {
    let step = match (reach(client, event), event) {
        (Some(decision), _) => decision.into(),
        (None, Event::PaymentStands(payment)) => service::payment_stands(client, *payment, facts),
        (None, Event::NumberLost(number)) => service::number_lost(client, number, facts),
        (None, _) => in_state(client, event, facts),
    };
    match (exchanged(client, event, facts, step), event) {
        (Step::AskPool, _) => Step::AskPool,
        // A client who texts us can be texted.
        (Step::Decided(decision), Event::Text { .. }) if client.unreachable => decision.reachable(true).into(),
        (Step::Decided(decision), Event::Text { .. }) => Step::Decided(decision),
        // Calls and allocations still move a client who opted out, or whom no text reaches, without a word.
        (Step::Decided(mut decision), _) => {
            if client.opted_out || client.unreachable {
                decision.texts.clear();
            }
            Step::Decided(decision)
        }
    }
}

/// Another question is open after a move: when it was asked, and by which text the client got there.
fn exchanged(client: &Client, event: &Event, facts: &Facts<'_>, step: Step) -> Step {
    let led_by = match event {
        Event::Text { body, received_at, .. } => Some((body.clone(), *received_at)),
        Event::CallArrived(_)
        | Event::CallEnded(_)
        | Event::NumberDue
        | Event::OptedOut
        | Event::Unreachable
        | Event::Reached
        | Event::PaymentStands(_)
        | Event::NumberLost(_) => None,
    };
    match step {
        Step::Decided(mut decision) if decision.next != client.state => {
            decision.exchange = Exchange { asked_at: Some(facts.asked_at), led_by, misfits: 0, crossed: 0 };
            Step::Decided(decision)
        }
        Step::Decided(_) | Step::AskPool => step,
    }
}

fn in_state(client: &Client, event: &Event, facts: &Facts<'_>) -> Step {
    match (event, client.state) {
        (Event::Text { body, received_at, .. }, _) => texts::heard(client, body, *received_at, facts),
        (Event::NumberDue, State::S6PhoneType) => number_in_the_background(client, facts),
        // A call that arrives proves the forwarding as well as a DONE does.
        (Event::CallArrived(_) | Event::CallEnded(_), State::S7FwdSent | State::S8FwdConfirm | State::S9TestCall) => {
            called(client, event).into()
        }
        // Whichever is reported first tells the owner; the other may be lost.
        (Event::CallArrived(call) | Event::CallEnded(call), State::Complete) => missed_call(client, call).into(),
        (
            Event::CallArrived(_)
            | Event::CallEnded(_)
            | Event::NumberDue
            | Event::OptedOut
            | Event::Unreachable
            | Event::Reached
            | Event::PaymentStands(_)
            | Event::NumberLost(_),
            State::S1BusinessTypeLocation
            | State::S2BusinessName
            | State::S3OwnerName
            | State::S4NotificationPref
            | State::S5ConfirmLive
            | State::S6PhoneType
            | State::S7FwdSent
            | State::S8FwdConfirm
            | State::S9TestCall
            | State::Complete,
        ) => Decision::nothing(client).into(),
    }
}

/// Whether the client may and can be texted comes before everything else, in every state.
fn reach(client: &Client, event: &Event) -> Option<Decision> {
    let stay = Decision::nothing(client);
    match event {
        Event::Text { body, taken_for, .. } => opting(client, body, *taken_for),
        Event::OptedOut if client.opted_out => Some(stay),
        Event::OptedOut => Some(stay.opt(OptChange::Out)),
        Event::Unreachable if client.unreachable => Some(stay),
        Event::Unreachable => Some(stay.reachable(false)),
        Event::Reached if client.unreachable => Some(stay.reachable(true)),
        Event::Reached => Some(stay),
        Event::CallArrived(_)
        | Event::CallEnded(_)
        | Event::NumberDue
        | Event::PaymentStands(_)
        | Event::NumberLost(_) => None,
    }
}

/// The words that stop and restart texts.
fn opting(client: &Client, body: &str, taken_for: Option<Keyword>) -> Option<Decision> {
    let stay = Decision::nothing(client);
    if client.opted_out {
        let back = taken_for == Some(Keyword::Start) || answer::asks_back_in(body);
        return Some(match () {
            () if back => stay.opt(OptChange::In).text(wording::reminder(client)),
            // Without a word, but not unheard: a client who pays can still be reached in another way.
            () if client.may_be_charged() && answer::wants_to_cancel(body) => stay.concern(Concern::CancelAsked),
            () => stay,
        });
    }
    // Twilio may take a YES for a START. From a client who has not opted out it is an answer.
    match taken_for.filter(|taken| *taken != Keyword::Start).or_else(|| keyword(body))? {
        // Twilio has answered already, and a text of ours would be refused.
        Keyword::Stop => Some(texts::refused(client, body)),
        Keyword::Start => Some(stay.text(wording::reminder(client))),
        // Twilio answers it.
        Keyword::Help => Some(stay),
    }
}

/// The payment gate and the allocation behind it: only a client who has paid gets a number.
pub(crate) fn gate(client: &Client, facts: &Facts<'_>, passed: impl FnOnce(&crate::E164) -> Decision) -> Step {
    let stay = Decision::nothing(client);
    if !client.payment_active {
        return payment_missing(client, facts).into();
    }
    let Some(allocation) = &facts.allocation else {
        return Step::AskPool;
    };
    let mut decision = match allocation {
        Allocation::Assigned(number) | Allocation::AlreadyAssigned(number) => passed(number),
        Allocation::PoolEmpty { told_late } => stay.text(wording::no_number_yet(*told_late)),
    };
    let rest = std::mem::replace(&mut decision.journal, journal::gate_passed(client, allocation, facts.now));
    decision.journal(rest).into()
}

/// What a client at the gate hears who has just got its number.
pub(crate) fn through_the_gate(client: &Client, number: &crate::E164) -> Decision {
    Decision::nothing(client).to(State::S6PhoneType).text(wording::ask_phone_type(number))
}

/// Asked to pay, unless the payment is on its way.
fn payment_missing(client: &Client, facts: &Facts<'_>) -> Decision {
    let stay = Decision::nothing(client);
    if client.payment == Payment::Awaited {
        return stay.text(wording::payment_awaited());
    }
    stay.journal(journal::payment_required(client, facts.now))
        .text(wording::payment_required(&wording::payment_link(facts.payment_link, client)))
}

/// READY at S6: onwards with the phone type already given, or the question again.
pub(crate) fn ready_for_phone_type(client: &Client, facts: &Facts<'_>) -> Step {
    if client.number.is_none() {
        return gate(client, facts, |number| with_number(client, number));
    }
    match client.collected.phone_type {
        Some(phone_type) => instructions(client, phone_type, facts),
        None => Decision::nothing(client).text(wording::reminder(client)).into(),
    }
}

/// What a client at S6 hears who has just got its number.
pub(crate) fn with_number(client: &Client, number: &crate::E164) -> Decision {
    match client.collected.phone_type {
        Some(phone_type) => send_instructions(client, phone_type, number),
        None => Decision::nothing(client).text(wording::ask_phone_type(number)),
    }
}

/// The client was told that a number is on its way: the words come true, without another text, unless there is none.
fn number_in_the_background(client: &Client, facts: &Facts<'_>) -> Step {
    let stay = Decision::nothing(client);
    if client.number.is_some() || !client.payment_active {
        return stay.into();
    }
    let Some(allocation) = &facts.allocation else {
        return Step::AskPool;
    };
    let decision = stay.journal(journal::allocated_in_the_background(client, allocation, facts.now));
    match allocation {
        Allocation::Assigned(_) | Allocation::AlreadyAssigned(_) => decision.into(),
        Allocation::PoolEmpty { told_late } => decision.text(wording::no_number_yet(*told_late)).into(),
    }
}

/// The forwarding instructions, which make no sense without the number to forward to.
pub(crate) fn instructions(client: &Client, phone_type: PhoneType, facts: &Facts<'_>) -> Step {
    if let Some(number) = &client.number {
        return send_instructions(client, phone_type, number).into();
    }
    if !client.payment_active {
        return gate(client, facts, |number| with_number(client, number));
    }
    let collected = Collected { phone_type: Some(phone_type), ..client.collected.clone() };
    Decision::nothing(client)
        .collect(collected)
        .to(State::S6PhoneType)
        .journal(journal::blocked_without_number(client, facts.now))
        .text(wording::assigning_number())
        .number_due()
        .into()
}

fn send_instructions(client: &Client, phone_type: PhoneType, number: &crate::E164) -> Decision {
    let collected = Collected { phone_type: Some(phone_type), ..client.collected.clone() };
    Decision::nothing(client)
        .collect(collected)
        .to(State::S7FwdSent)
        .journal(journal::forwarding_instructions(number.as_str()))
        .text(wording::forwarding_instructions(phone_type, number))
}

/// A call on the client's number, from S7 on. Its end may be reported first, and proves its arrival.
fn called(client: &Client, event: &Event) -> Decision {
    let stay = Decision::nothing(client);
    match event {
        Event::CallArrived(_) => stay.to(State::S9TestCall),
        Event::CallEnded(call) => stay.to(State::Complete).text(wording::live().once_for(call)),
        Event::Text { .. }
        | Event::NumberDue
        | Event::OptedOut
        | Event::Unreachable
        | Event::Reached
        | Event::PaymentStands(_)
        | Event::NumberLost(_) => stay,
    }
}

/// The owner of a live number hears who rang, unless the caller withheld the number.
fn missed_call(client: &Client, call: &Call) -> Decision {
    let stay = Decision::nothing(client);
    match (&call.caller, &call.sid) {
        (Some(caller), Some(_)) if *caller != client.owner_phone => {
            stay.text(wording::missed_call(caller).once_for(call))
        }
        (Some(_) | None, _) => stay,
    }
}
