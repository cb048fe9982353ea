//! Stored events, converted into events of the conversation.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jobrun_onboarding::forwarding_checks::ForwardingCheck;
use jobrun_onboarding::phone_change::{self, CodeReply, WRONG_TRIES_MAX};
use jobrun_onboarding::{Call, E164, Event, Keyword, VoiceMessage, caller, keyword};
use jobrun_shared::db::inbox::{Payload, PendingEvent};
use jobrun_shared::phone_codes;

use super::work::ClientWork;
use crate::context::JobContext;
use crate::events::unmatched;

/// A stored event, as the conversation receives it.
pub(super) enum Inbound {
    /// An event of the conversation.
    Event(Event),
    /// A text to a number of ours that is neither the onboarding number nor the client's own.
    Misdirected,
    /// A reminder or a check that something said meanwhile has overtaken, or a code that was given before.
    Overtaken,
    /// An event that is not for a conversation, or cannot be read.
    Nothing,
}

impl ClientWork {
    pub(super) fn to_domain_event(&self, context: &JobContext, event: &PendingEvent) -> Inbound {
        let call =
            |from: &str, sid: &Option<String>| Call { sid: sid.clone(), caller: caller(from), at: event.received_at };
        match &event.payload {
            Some(Payload::Text { to, body, opt_out_type, .. }) if !self.is_addressed_to_us(context, to) => {
                self.convert_misdirected(event, body, opt_out_type.as_deref())
            }
            Some(Payload::Text { body, opt_out_type, .. }) => {
                if let Some(inbound) = self.code_reply(body, event.received_at) {
                    return inbound;
                }
                let taken_for = opt_out_type.as_deref().and_then(keyword);
                Inbound::Event(Event::Text { body: body.clone(), taken_for, received_at: event.received_at })
            }
            Some(Payload::CallArrived { from, sid, .. }) => Inbound::Event(Event::CallArrived(call(from, sid))),
            Some(Payload::CallEnded { from, sid, .. }) => Inbound::Event(Event::CallEnded(call(from, sid))),
            Some(Payload::RecordingMade { sid, call_sid, seconds, .. }) => {
                let (recording, seconds) = (sid.clone(), *seconds);
                let caller = self.calls.caller_of(call_sid);
                Inbound::Event(Event::MessageLeft(VoiceMessage {
                    recording,
                    caller,
                    seconds,
                    link: context.new_link(),
                }))
            }
            Some(Payload::NumberDue { .. }) => Inbound::Event(Event::NumberDue),
            Some(Payload::OptedOut { .. }) => Inbound::Event(Event::OptedOut),
            Some(Payload::Unreachable { .. }) => Inbound::Event(Event::Unreachable),
            Some(Payload::Reached { .. }) => Inbound::Event(Event::Reached),
            Some(Payload::PaymentChanged { .. }) => {
                Inbound::Event(Event::PaymentStands(self.payment.unwrap_or_default()))
            }
            Some(Payload::OperatorAction { by, action, .. }) => {
                Inbound::Event(Event::Operator { by: by.clone(), action: action.clone() })
            }
            // A text that came meanwhile is answered first, and ends the silence. So does a text of ours, in this batch or before.
            Some(Payload::ReminderDue { reminder, .. })
                if !self.texts.is_empty()
                    || self.silent_since.is_some_and(|since| since > reminder.since)
                    || self.pending.iter().any(PendingEvent::is_text) =>
            {
                Inbound::Overtaken
            }
            Some(Payload::ReminderDue { reminder, .. }) => Inbound::Event(Event::ReminderDue(reminder.clone())),
            // What happened meanwhile may be a call. The sweep looks again.
            Some(Payload::ForwardingCheckDue { check: ForwardingCheck::NoCalls { .. }, .. })
                if !self.outcomes.is_empty() || !self.pending.is_empty() =>
            {
                Inbound::Overtaken
            }
            Some(Payload::ForwardingCheckDue { check, .. }) => Inbound::Event(Event::ForwardingCheckDue(check.clone())),
            Some(Payload::NumberLost { number, .. }) => {
                E164::parse(number).map_or(Inbound::Nothing, |it| Inbound::Event(Event::NumberLost(it)))
            }
            Some(
                Payload::DeliveryReport { .. }
                | Payload::Stripe { .. }
                | Payload::SubscriptionAsked { .. }
                | Payload::PhoneChangeAsked { .. }
                | Payload::PhoneChangeDue { .. },
            )
            | None => Inbound::Nothing,
        }
    }

    /// Compares a code with that of the open request, if the client has one. Without one, the digits are still no answer to a question
    /// for a day: they are a code that came too late, or the right one again.
    fn code_reply(&self, body: &str, received_at: DateTime<Utc>) -> Option<Inbound> {
        let code = phone_change::code_in(body)?;
        let Some(request) = &self.phone_requests.open else {
            if self.phone_requests.is_proved {
                return Some(Inbound::Overtaken);
            }
            let expires_at = self.phone_requests.over_since?;
            let over = CodeReply { is_right: false, wrong_before: WRONG_TRIES_MAX, expires_at, received_at };
            return Some(Inbound::Event(Event::CodeReply(over)));
        };
        // Without a client that moves, no code is right, even if it is guessed.
        let is_right = request.client_id.is_some() && phone_codes::is_right(&request.code, &code);
        let (wrong_before, expires_at) = (request.wrong_tries, request.expires_at);
        Some(Inbound::Event(Event::CodeReply(CodeReply { is_right, wrong_before, expires_at, received_at })))
    }

    /// Returns whether `number` is the onboarding number or the client's own. On any other, a client is treated as a stranger.
    fn is_addressed_to_us(&self, context: &JobContext, number: &str) -> bool {
        let own = self.loaded.client.number.as_ref().map(E164::as_str);
        number == context.onboarding_number.as_str() || Some(number) == own
    }

    /// Converts a text to another number of ours. STOP and START count on every number, because an opt-out belongs to the person.
    /// All other texts are for the holder of that number, and so is a START from a client who takes texts.
    fn convert_misdirected(&self, event: &PendingEvent, body: &str, opt_out_type: Option<&str>) -> Inbound {
        let taken_for = unmatched::opt_keyword(body, opt_out_type);
        let counts = match taken_for {
            Some(Keyword::Stop) => true,
            Some(Keyword::Start) => self.loaded.client.opted_out,
            Some(Keyword::Help) | None => false,
        };
        let text = || Event::Text { body: body.to_owned(), taken_for, received_at: event.received_at };
        if counts { Inbound::Event(text()) } else { Inbound::Misdirected }
    }

    pub(super) fn reply_to_misdirected(
        &mut self,
        context: &JobContext,
        event: &PendingEvent,
        pool_numbers: &HashSet<String>,
    ) {
        self.record_outcome(event, "misdirected");
        self.texts.extend(
            unmatched::misdirected_reply(event, context, pool_numbers).filter(|_| !self.loaded.client.opted_out),
        );
    }
}
