//! Decides calls to a live number: which of them its owner is told of. And messages that callers leave.
//!
//! The first call of a caller in a day is told by itself. The same caller's further calls are counted: the owner is told of the
//! calls in [`TOLD`], and of any call that comes [`TOLD_AGAIN_AFTER`] or more after the last that was told. So a caller who rings
//! fifty times in an hour causes seven texts, and one who rings all day about twenty. `text_back.rs` decides the text to the caller.

use chrono::{DateTime, TimeDelta, Utc};

use crate::calls::{CallsToday, CountedCall, EarlierCall, KeptRecording};
use crate::decision::{Decision, Facts};
use crate::{Call, Client, State, VoiceMessage, text_back, wording};

/// The calls of one caller in a day that are told of. After the last of them, about one in a hundred is.
const TOLD: [usize; 8] = [1, 2, 3, 5, 10, 20, 50, 100];

/// How long after the last call that was told any further call is told.
const TOLD_AGAIN_AFTER: TimeDelta = TimeDelta::hours(2);

/// Tells the owner of a live number who rang and how often today, unless it is counted already. The owner's own call is counted, so
/// that a message in it is known as the owner's, and not told.
pub(crate) fn missed_call(client: &Client, call: &Call, facts: &Facts<'_>) -> Decision {
    let stay = Decision::nothing(client);
    let is_own = call.caller.as_ref() == Some(&client.owner_phone);
    let Some(sid) = call.sid.clone().filter(|_| !facts.calls.is_known) else { return stay };
    let began_at = facts.calls.day.began_at(call.at);
    let earlier: Vec<EarlierCall> = facts.calls.earlier.iter().filter(|it| it.at >= began_at).copied().collect();
    let told = !is_own && is_told(&earlier, call.at) && !client.opted_out && !client.unreachable;
    let text = told.then(|| {
        let calls = CallsToday::new(facts.calls.day, &earlier, call.at);
        let text = match &call.caller {
            Some(caller) => wording::missed_call(caller, &calls),
            None => wording::withheld_call(&calls),
        };
        text.once_for(call)
    });
    let mut decision = stay;
    decision.texts.extend(text);
    decision.caller_text = text_back::to_caller(client, call, earlier.iter().any(|it| it.texted_back), facts);
    let texted_back = decision.caller_text.is_some();
    decision.counted_call = Some(CountedCall { sid, caller: call.caller.clone(), at: call.at, told, texted_back });
    decision
}

fn is_told(earlier: &[EarlierCall], at: DateTime<Utc>) -> bool {
    let last_told = earlier.iter().rev().find(|it| it.told);
    TOLD.contains(&(earlier.len() + 1)) || last_told.is_none_or(|it| at - it.at >= TOLD_AGAIN_AFTER)
}

/// Tells the owner of a live number where to hear a message. A message that the owner cannot be told of is not kept.
pub(crate) fn message_left(client: &Client, message: &VoiceMessage) -> Decision {
    let may_be_told = client.state == State::Complete && !client.opted_out && !client.unreachable;
    let is_own = message.caller.as_ref() == Some(&client.owner_phone);
    let mut decision = Decision::nothing(client);
    let link = message.link.clone().filter(|_| may_be_told && !is_own);
    decision.texts.extend(link.as_deref().map(|link| wording::voicemail(message, link)));
    decision.recording = Some(KeptRecording { recording: message.recording.clone(), link });
    decision
}
