//! The decision about an event, and the facts that it depends on.

use chrono::{DateTime, Utc};

use crate::action::Refused;
use crate::caller_text::{CallerText, TextBackFacts};
use crate::calls::{CallHistory, CountedCall, KeptRecording};
use crate::phone_change::PhoneChangeStep;
use crate::wording::Text;
use crate::{Allocation, Client, Collected, E164, Exchange, Payment, State, Takeover};

/// The parts of the conversation beside the sign-up that an operator can switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Whether questions, doubts and calls for help are passed on to a person, and a case is kept of each concern.
    pub cases: bool,
    /// Whether a client can move to a new phone by a code.
    pub phone_change: bool,
}

impl Switches {
    /// Everything is on.
    pub const ON: Self = Self { cases: true, phone_change: true };
}

/// The facts that a decision depends on, besides the client and the event.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The payment link, without the client's reference. `None` if no link is configured.
    pub payment_link: Option<&'a str>,
    /// The address at which clients change or cancel their subscriptions, if one is configured.
    pub payment_portal: Option<&'a str>,
    /// The switches of the operator.
    pub switches: Switches,
    /// The reply of the pool, if this decision asked it with [`Step::AskPool`].
    pub allocation: Option<Allocation>,
    /// Whether the pool has numbers of the client's region, free or not.
    pub region_served: bool,
    /// The earlier calls of the caller, if the event is a call.
    pub calls: CallHistory,
    /// The facts about texting callers back. `None` if that is switched off for all clients.
    pub text_back: Option<TextBackFacts>,
    /// The time of the decision.
    pub now: DateTime<Utc>,
    /// When a question that this decision asks counts as asked: not before the last event of the batch arrived.
    pub asked_at: DateTime<Utc>,
}

/// The result of [`decide`](crate::decide()).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a number from the pool for this client, then decide again with the result in [`Facts::allocation`].
    AskPool,
    /// The decision is made.
    Decided(Box<Decision>),
}

/// A decision. The caller saves it in one transaction, and prints and sends only after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The next state, which may be the same.
    pub next: State,
    /// The answers given by now.
    pub collected: Collected,
    /// The exchange of question and answer from now on.
    pub exchange: Exchange,
    /// The texts to send, in order.
    pub texts: Vec<Text>,
    /// The opt-out change, if there is one.
    pub opt: Option<OptChange>,
    /// Whether texts reach the client's phone, if that has changed.
    pub reachable: Option<bool>,
    /// The status of the client's payment, if it has changed.
    pub payment: Option<Payment>,
    /// Whether the payment gate is open to the client from now on, if that has changed.
    pub payment_active: Option<bool>,
    /// Whether the client gives up its number, and its place on the waiting list.
    pub gives_up_number: bool,
    /// The number that the operator takes from the client. The caller has to record an
    /// [`Event::NumberLost`](crate::Event::NumberLost), and must not give the client this number again.
    pub takes_number: Option<E164>,
    /// The takeover by an operator from now on.
    pub takeover: Option<Takeover>,
    /// When the client asked for the test of its forwarding that is not over yet, from now on.
    pub forwarding_test: Option<DateTime<Utc>>,
    /// Whether the client's callers are texted back from now on.
    pub text_back: bool,
    /// Whether the client has been asked by now whether they are to be.
    pub text_back_asked: bool,
    /// The reason why the action of an operator is refused.
    pub refused: Option<Refused>,
    /// The step of a change of phone that the caller takes.
    pub phone_change: Option<PhoneChangeStep>,
    /// Whether the caller has to record an [`Event::NumberDue`](crate::Event::NumberDue).
    pub number_due: bool,
    /// The alert to the operator, if there is one.
    pub concern: Option<Concern>,
    /// The kind of the case that is opened for an operator to close, if there is one.
    pub case: Option<&'static str>,
    /// The call that is counted from now on, if the event is one to a live number.
    pub counted_call: Option<CountedCall>,
    /// The text to the caller of a missed call, if it is texted back.
    pub caller_text: Option<CallerText>,
    /// What becomes of the recording, if the event is a message that a caller left.
    pub recording: Option<KeptRecording>,
    /// The lines to print, as one block.
    pub journal: Vec<String>,
}

/// An opt-out change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptChange {
    /// The client opts out. Texts that are not sent yet are dropped.
    Out,
    /// The client opts in again.
    In,
}

/// The reason to alert the operator about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The client and the conversation do not understand each other.
    Stuck,
    /// The client asks for a person, and was told that the team will get in touch.
    PersonWanted,
    /// The client asks for help, and was told that the team will get in touch.
    HelpWanted,
    /// The client asks a question, and was told that the team will reply.
    QuestionAsked,
    /// The client doubts that we are honest.
    DoubtsUs,
    /// The client pays or has paid, and asks to cancel or for its money back.
    CancelAsked,
}

impl Concern {
    /// Returns the stored name of the case that an operator has to close.
    #[must_use]
    pub const fn case(self) -> &'static str {
        match self {
            Self::Stuck => "misfits",
            Self::PersonWanted => "person",
            Self::HelpWanted => "help",
            Self::QuestionAsked => "question",
            Self::DoubtsUs => "doubt",
            Self::CancelAsked => "cancel",
        }
    }
}

impl Decision {
    /// Returns the decision that changes nothing and sends nothing.
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
            takes_number: None,
            takeover: client.takeover.clone(),
            forwarding_test: client.forwarding_test,
            text_back: client.text_back,
            text_back_asked: client.text_back_asked,
            refused: None,
            phone_change: None,
            number_due: false,
            concern: None,
            case: None,
            counted_call: None,
            caller_text: None,
            recording: None,
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

    /// Replaces all texts by this one.
    pub(crate) fn instead(mut self, text: Text) -> Self {
        self.texts = vec![text];
        self
    }

    pub(crate) fn opt(mut self, change: OptChange) -> Self {
        self.opt = Some(change);
        self
    }

    pub(super) fn reachable(mut self, reachable: bool) -> Self {
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

    pub(super) fn journal(mut self, lines: Vec<String>) -> Self {
        self.journal.extend(lines);
        self
    }

    pub(crate) fn collect(mut self, collected: Collected) -> Self {
        self.collected = collected;
        self
    }

    pub(crate) fn take_over(mut self, takeover: Takeover) -> Self {
        self.takeover = Some(takeover);
        self
    }

    pub(crate) fn concern(mut self, concern: Concern) -> Self {
        self.concern = Some(concern);
        self
    }

    pub(super) fn number_due(mut self) -> Self {
        self.number_due = true;
        self
    }
}

impl From<Decision> for Step {
    fn from(decision: Decision) -> Self {
        Self::Decided(Box::new(decision))
    }
}
