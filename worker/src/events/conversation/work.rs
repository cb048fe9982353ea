//! One locked client: its events, decided one after the other, and their results. It reads and writes no rows.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use jobrun_onboarding::action::Action;
use jobrun_onboarding::calls::KeptRecording;
use jobrun_onboarding::forwarding_checks::TEST_WITHIN;
use jobrun_onboarding::phone_change::PhoneChangeStep;
use jobrun_onboarding::text_back::CallerText;
use jobrun_onboarding::{
    Allocation, Client, Concern, Decision, Event, Facts, OptChange, Payment, State, Step, Takeover, TextKind, decide,
};
use jobrun_shared::alerts::Kind;
use jobrun_shared::cases;
use jobrun_shared::db::cases::NewCase;
use jobrun_shared::db::clients::{self, OptChangeRecord};
use jobrun_shared::db::forwarding_checks::TestChange;
use jobrun_shared::db::inbox::{NOT_UNDERSTOOD, NewEvent, Outcome, Payload, PendingEvent, Source};
use jobrun_shared::db::numbers;
use jobrun_shared::db::outbox::NewMessage;
use jobrun_shared::db::phone_changes::{OldPhone, OpenRequest, Requests};
use jobrun_shared::traces::{Span, SpanName};

use super::calls::Calls;
use super::text_back::Callers;
use crate::context::JobContext;

/// A locked client, its events that are not decided yet, and the results of the others.
pub(super) struct ClientWork {
    pub(super) loaded: clients::Loaded,
    pub(super) pending: VecDeque<PendingEvent>,
    /// The event that needs a number, as stored and as converted, until the pool has replied.
    pub(super) awaiting_number: Option<(PendingEvent, Event)>,
    /// The payment status by the subscriptions, if an event says that it changed. `loaded.client` holds the status before.
    pub(super) payment: Option<Payment>,
    /// Set if the service has ended: the client gives up its number and its place on the waiting list.
    pub(super) loss: Option<numbers::Loss>,
    pub(super) payment_updated: bool,
    /// The requests for a change of phone, if a text has a code in it.
    pub(super) phone_requests: Requests,
    /// What became of requests: `phone_changes.id`, and the step.
    pub(super) phone_steps: Vec<(i64, PhoneChangeStep)>,
    /// The clients for whose codes all tries were used up.
    pub(super) guessed_at: Vec<String>,
    /// The client that has moved from this phone, or for which a code was asked for, if the client needs a person.
    pub(super) old_phone: Option<OldPhone>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) texts: Vec<NewMessage>,
    pub(super) moved: bool,
    /// Whether the conversation went on: by a move, or by an answer of the client's.
    pub(super) went_on: bool,
    /// Whether the client has gone live.
    pub(super) went_live: bool,
    /// Whether an operator took the client over.
    pub(super) was_taken_over: bool,
    pub(super) misfits_changed: bool,
    /// Since when the client is silent by the rows, if a reminder is due to it.
    pub(super) silent_since: Option<DateTime<Utc>>,
    /// Whether a test of the client's forwarding was begun, or is over.
    pub(super) test_changed: bool,
    /// Whether the pool has numbers of the client's region.
    pub(super) region_served: bool,
    /// The calls that were counted before, and those that these events add.
    pub(super) calls: Calls,
    /// The callers that may be texted back.
    pub(super) callers: Callers,
    /// Whether the client has chosen whether its callers are texted back, or was asked.
    pub(super) text_back_changed: bool,
    /// What becomes of the messages that callers left.
    pub(super) recordings: Vec<KeptRecording>,
    /// The time at which a question asked now counts as asked: not before the arrival of any loaded event.
    pub(super) asked_at: DateTime<Utc>,
    /// Whether the client asked to cancel, or for its money back.
    pub(super) cancel_asked: bool,
    /// Whether the client needs a person for something else.
    pub(super) person_wanted: bool,
    /// What the client said that a person has to answer.
    pub(super) cases: Vec<NewCase>,
    /// The texts of the client that were the last of a row of misfits: `events.id`. Each has a case, if cases are on.
    pub(super) last_misfits: Vec<i64>,
    /// The operator who handed the client back, and has answered it.
    pub(super) handed_back_by: Option<String>,
    /// Whether the client and the conversation misunderstand each other.
    pub(super) stuck: bool,
    pub(super) opt_changes: Vec<OptChangeRecord>,
    pub(super) reach_changed: bool,
    /// Whether an operator has taken the client over or handed it back, or either side has spoken meanwhile.
    pub(super) takeover_changed: bool,
    /// Whether the pool had no number for the client.
    pub(super) found_pool_empty: bool,
    /// Whether a change of the service could not be texted, because the client takes no texts, or none reaches it.
    pub(super) missed_service_notice: bool,
    /// The events that follow from these: a number is due to the client, or was taken from it.
    pub(super) follow_ups: Vec<NewEvent>,
    pub(super) journal: Vec<Vec<String>>,
    /// The span of these decisions, if one of the events belongs to a sampled trace.
    pub(super) span: Option<Span>,
}

impl ClientWork {
    pub(super) fn new(loaded: clients::Loaded, pending: Vec<PendingEvent>) -> Self {
        let span = Span::child_of(SpanName::Decide, pending.iter().filter_map(|event| event.traceparent));
        Self {
            loaded,
            pending: pending.into(),
            awaiting_number: None,
            payment: None,
            loss: None,
            payment_updated: false,
            phone_requests: Requests::default(),
            phone_steps: Vec::new(),
            guessed_at: Vec::new(),
            old_phone: None,
            outcomes: Vec::new(),
            texts: Vec::new(),
            moved: false,
            went_on: false,
            went_live: false,
            was_taken_over: false,
            misfits_changed: false,
            silent_since: None,
            test_changed: false,
            region_served: true,
            calls: Calls::default(),
            callers: Callers::default(),
            text_back_changed: false,
            recordings: Vec::new(),
            asked_at: DateTime::default(),
            cancel_asked: false,
            person_wanted: false,
            cases: Vec::new(),
            last_misfits: Vec::new(),
            handed_back_by: None,
            stuck: false,
            opt_changes: Vec::new(),
            reach_changed: false,
            takeover_changed: false,
            found_pool_empty: false,
            missed_service_notice: false,
            follow_ups: Vec::new(),
            journal: Vec::new(),
            span,
        }
    }

    /// Ends the span of these decisions, once they are committed.
    pub(super) fn end_span(&mut self) {
        let (events, texts) = (self.outcomes.len(), self.texts.len());
        if let Some(span) = self.span.take() {
            span.with("events", events as i64).with("texts", texts as i64).succeed();
        }
    }

    /// Records the outcome of an event, and the client's state after it.
    pub(super) fn record_outcome(&mut self, event: &PendingEvent, word: &'static str) {
        let client = &self.loaded.client;
        self.outcomes.push(Outcome { event_id: event.id, word, client: Some((client.id.clone(), client.state)) });
    }

    fn facts<'a>(
        &self,
        context: &'a JobContext,
        stored: &PendingEvent,
        event: &Event,
        allocation: Option<Allocation>,
        now: DateTime<Utc>,
    ) -> Facts<'a> {
        // A text that was answered before a restore of the database: the question that followed was asked then, not now.
        let asked_before = stored.payload.as_ref().and_then(Payload::answered_at);
        Facts {
            payment_link: context.payment_link.as_deref(),
            payment_portal: context.payment_portal.as_deref(),
            switches: context.switches,
            allocation,
            region_served: self.region_served,
            calls: self.calls.history(&self.loaded, event),
            text_back: self.callers.facts(context, &self.loaded, &self.calls, event),
            now,
            asked_at: asked_before.unwrap_or(self.asked_at),
        }
    }

    pub(super) fn decide_event(
        &mut self,
        context: &JobContext,
        stored: PendingEvent,
        event: Event,
        now: DateTime<Utc>,
    ) {
        let facts = self.facts(context, &stored, &event, None, now);
        self.calls.saw(&event);
        match decide(&self.loaded.client, &event, &facts) {
            Step::Decided(decision) => self.apply(context, &stored, *decision),
            Step::AskPool => self.awaiting_number = Some((stored, event)),
        }
    }

    /// Returns whether these events may take the client's number from it.
    pub(super) fn may_lose_number(&self) -> bool {
        let takes_number = |event: &PendingEvent| {
            matches!(event.payload, Some(Payload::OperatorAction { action: Action::TakeNumber { .. }, .. }))
        };
        self.payment.is_some_and(|payment| !payment.is_served()) || self.pending.iter().any(takes_number)
    }

    /// Returns the client's request for a number, if it needs one.
    pub(super) fn number_request(&self) -> Option<numbers::NumberRequest> {
        let (stored, _) = self.awaiting_number.as_ref()?;
        let client = &self.loaded.client;
        let since = match stored.payload {
            Some(Payload::PaymentChanged { since, .. }) => since,
            _ => stored.received_at,
        };
        Some(numbers::NumberRequest {
            client_id: client.id.clone(),
            region: self.loaded.region.clone(),
            number: client.number.clone(),
            since,
        })
    }

    /// Decides the event that needs a number, with the pool's reply.
    pub(super) fn decide_with_allocation(&mut self, context: &JobContext, allocation: Allocation, now: DateTime<Utc>) {
        let Some((stored, event)) = self.awaiting_number.take() else { return };
        let facts = self.facts(context, &stored, &event, Some(allocation.clone()), now);
        let step = decide(&self.loaded.client, &event, &facts);
        match allocation {
            Allocation::Assigned(number) => self.loaded.client.number = Some(number),
            Allocation::AlreadyAssigned(_) => {}
            Allocation::PoolEmpty { .. } => self.found_pool_empty = true,
        }
        match step {
            Step::Decided(decision) => self.apply(context, &stored, *decision),
            Step::AskPool => tracing::error!(event = stored.id, "a decision asked the pool twice"),
        }
    }

    /// Returns the client's id, if something was said to it that it may leave unanswered, and no sweep looks at it by `look_at`. Also
    /// if it has moved and has a number: a client whom no text reaches may leave the number unused.
    pub(super) fn begins_a_silence(&self, look_at: DateTime<Utc>) -> Option<&str> {
        let client = &self.loaded.client;
        let asks = |text: &NewMessage| {
            !matches!(
                text.text.kind,
                TextKind::MissedCall | TextKind::Voicemail | TextKind::Reminder | TextKind::TextBack
            )
        };
        let is_late = self.loaded.remind_at.is_none_or(|at| at > look_at);
        let may_leave_unused = self.moved && client.number.is_some();
        let begins = client.state != State::Complete && is_late && (may_leave_unused || self.texts.iter().any(asks));
        begins.then_some(client.id.as_str())
    }

    /// Returns the test of the client's forwarding to save, if it changed.
    pub(super) fn test_change(&self) -> Option<TestChange<'_>> {
        let Client { id, forwarding_test, .. } = &self.loaded.client;
        let look_at = forwarding_test.map(|at| at + TEST_WITHIN);
        self.test_changed.then_some(TestChange { client_id: id, asked_at: *forwarding_test, look_at })
    }

    /// Returns the client's id, if it is live and no sweep looks at its forwarding yet; if it has just gone live, none by `look_at`.
    pub(super) fn goes_live(&self, look_at: DateTime<Utc>) -> Option<&str> {
        let client = &self.loaded.client;
        let is_late = self.loaded.forwarding_check_at.is_none_or(|at| self.went_live && at > look_at);
        let is_new = is_late && client.forwarding_test.is_none();
        (client.state == State::Complete && is_new).then_some(client.id.as_str())
    }

    /// Returns whether the client wants its callers texted back, if that is to be saved.
    pub(super) fn text_back_choice(&self) -> Option<(&str, bool)> {
        let Client { id, text_back, .. } = &self.loaded.client;
        self.text_back_changed.then_some((id, *text_back))
    }

    /// Returns the payment status to save, if it changed.
    pub(super) fn payment_update(&self) -> Option<clients::PaymentUpdate<'_>> {
        let Client { id, payment, payment_active, .. } = &self.loaded.client;
        let update = clients::PaymentUpdate { client_id: id, payment: *payment, payment_active: *payment_active };
        self.payment_updated.then_some(update)
    }

    /// Notes the step of a change of phone. Returns the event that follows from it, with its name.
    fn take_phone_step(&mut self, step: PhoneChangeStep, event: &PendingEvent) -> Option<(&'static str, Payload)> {
        if let PhoneChangeStep::Asked(old) = &step {
            let (client_id, old_phone) = (self.loaded.client.id.clone(), old.as_str().to_owned());
            let asked_at = event.received_at;
            return Some(("phone-change-asked", Payload::PhoneChangeAsked { client_id, old_phone, asked_at }));
        }
        let requests = &mut self.phone_requests;
        let open = requests.open.take()?;
        self.phone_steps.push((open.id, step.clone()));
        match step {
            PhoneChangeStep::WrongTry => {
                requests.open = Some(OpenRequest { wrong_tries: open.wrong_tries + 1, ..open });
                None
            }
            PhoneChangeStep::Proved => {
                requests.is_proved = true;
                let due = |client_id| ("phone-change-due", Payload::PhoneChangeDue { change_id: open.id, client_id });
                open.client_id.map(due)
            }
            PhoneChangeStep::Over => {
                requests.over_since = Some(event.received_at);
                // In time, so it was the last wrong code.
                self.guessed_at.extend(open.client_id.filter(|_| event.received_at <= open.expires_at));
                None
            }
            PhoneChangeStep::Asked(_) => None,
        }
    }

    fn apply(&mut self, context: &JobContext, event: &PendingEvent, decision: Decision) {
        let client = &mut self.loaded.client;
        let changes_state = decision.next != client.state;
        let is_stuck = decision.concern == Some(Concern::Stuck);
        let is_misfit = is_stuck || decision.exchange.misfits > client.exchange.misfits;
        let outcome = match (decision.refused, changes_state, decision.texts.is_empty()) {
            (Some(refused), _, _) => refused.name(),
            (None, false, _) if is_misfit => NOT_UNDERSTOOD,
            (None, true, _) => "moved",
            (None, false, false) => "answered",
            (None, false, true) => "noted",
        };
        let changes_answers = decision.collected != client.collected;
        let is_of_operator = matches!(event.payload, Some(Payload::OperatorAction { .. }));
        self.moved |= changes_state || changes_answers;
        let answers_more = decision.collected.answers_more_than(&client.collected);
        self.went_on |= changes_state || (answers_more && !is_of_operator);
        self.went_live |= changes_state && decision.next == State::Complete;
        let is_another = |it: &Takeover| client.takeover.as_ref().is_none_or(|before| before.by != it.by);
        self.was_taken_over |= decision.takeover.as_ref().is_some_and(is_another);
        self.misfits_changed |= decision.exchange.misfits != client.exchange.misfits;
        if let (None, Some(Payload::OperatorAction { by, action: Action::HandBack { .. }, .. })) =
            (decision.refused, &event.payload)
        {
            self.handed_back_by = Some(by.clone());
        }
        client.state = decision.next;
        client.collected = decision.collected;
        client.exchange = decision.exchange;
        self.cancel_asked |= decision.concern == Some(Concern::CancelAsked);
        self.person_wanted |=
            decision.concern.is_some_and(|concern| cases::alert_kind(concern.case()) == Kind::PersonWanted);
        self.stuck = is_stuck || (self.stuck && !changes_state);
        self.last_misfits.extend(is_stuck.then_some(event.id));
        self.cases.extend(decision.case.map(|kind| NewCase {
            client_id: client.id.clone(),
            kind,
            said: event.payload.as_ref().and_then(Payload::words).map(str::to_owned).into_iter().collect(),
            state: client.state,
        }));
        self.payment_updated |= decision.payment.is_some() || decision.payment_active.is_some();
        // The service has ended after the wish to end it, in one batch.
        if decision.payment_active == Some(false) {
            self.cancel_asked = false;
            self.cases.retain(|case| case.kind != Concern::CancelAsked.case());
        }
        let of_service = matches!(event.payload, Some(Payload::PaymentChanged { .. } | Payload::NumberLost { .. }));
        self.missed_service_notice |= of_service
            && (client.opted_out || client.unreachable || decision.takeover.is_some())
            && (changes_state || decision.payment_active.is_some());
        client.payment = decision.payment.unwrap_or(client.payment);
        client.payment_active = decision.payment_active.unwrap_or(client.payment_active);
        if decision.gives_up_number || decision.takes_number.is_some() {
            let why =
                if decision.gives_up_number { numbers::LossReason::ServiceEnded } else { numbers::LossReason::Taken };
            // Both may come in one batch: the number that the first took is still to be given up.
            let earlier = self.loss.take();
            let why = earlier.as_ref().map_or(why, |loss| loss.why);
            let number = client.number.take().or_else(|| earlier.and_then(|loss| loss.number));
            self.loss = Some(numbers::Loss { client_id: client.id.clone(), number, why });
        }
        self.takeover_changed |= decision.takeover != client.takeover;
        client.takeover = decision.takeover;
        self.test_changed |= decision.forwarding_test != client.forwarding_test;
        client.forwarding_test = decision.forwarding_test;
        self.text_back_changed |=
            (decision.text_back, decision.text_back_asked) != (client.text_back, client.text_back_asked);
        client.text_back = decision.text_back;
        client.text_back_asked = decision.text_back_asked;
        if let Some(change) = decision.opt {
            client.opted_out = change == OptChange::Out;
            self.opt_changes.push(OptChangeRecord { phone: client.owner_phone.clone(), change, event_id: event.id });
        }
        if let Some(reachable) = decision.reachable {
            client.unreachable = !reachable;
            self.reach_changed = true;
        }
        if client.opted_out || client.unreachable {
            self.texts.clear();
        }
        self.calls.counted.extend(decision.counted_call);
        self.recordings.extend(decision.recording);
        let wording = context.wordings.of_region(&self.loaded.region);
        let to_owner = decision.texts.into_iter().map(|text| CallerText {
            to: client.owner_phone.clone(),
            from: context.onboarding_number.clone(),
            text,
        });
        self.texts.extend(to_owner.chain(decision.caller_text).map(|CallerText { to, from, text }| NewMessage {
            client_id: Some(client.id.clone()),
            event_id: Some(event.id),
            to,
            from,
            text: text.write(wording),
            answered_before: event.payload.as_ref().and_then(Payload::answered_at).is_some(),
            held_back: false,
            deferred_until: None,
            traceparent: self.span.as_ref().map(Span::traceparent),
        }));
        let client_id = client.id.clone();
        let client_id = &client_id;
        let phone_change = decision.phone_change.and_then(|step| self.take_phone_step(step, event));
        let due = decision.number_due.then(|| ("number-due", Payload::NumberDue { client_id: client_id.clone() }));
        let taken = decision.takes_number.map(|number| {
            let number = number.as_str().to_owned();
            ("number-taken", Payload::NumberLost { client_id: client_id.clone(), number })
        });
        self.follow_ups.extend(due.into_iter().chain(taken).chain(phone_change).map(|(name, payload)| NewEvent {
            traceparent: self.span.as_ref().map(Span::traceparent),
            ..NewEvent::new(Source::System, format!("{name}:{}", event.id), payload)
        }));
        self.journal.push(decision.journal);
        self.record_outcome(event, outcome);
    }
}
