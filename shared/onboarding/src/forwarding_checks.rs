//! Finds out that the forwarding of a live client has stopped working, and tells how to mend it.
//!
//! A client asks for a test with TEST: the next call proves that forwarding works, and if none comes in time the client is told
//! the codes again. A client to whom no call has come for long is told so, once in such a silence.
//!
//! [`next`] says when a check is due, from the rows. `check` decides it when its turn among the client's events has come.

use chrono::{DateTime, TimeDelta, Utc};

use crate::calls::CountedCall;
use crate::decision::{Decision, Facts};
pub use crate::forwarding_check::ForwardingCheck;
use crate::open_question::end_misfits;
use crate::quiet_hours::QuietHours;
use crate::{Call, Client, Payment, State, TextKind, wording};

/// When clients are told that no call has come for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How long after the last call a client is told. `None`: it is never told. Tests go on.
    pub after: Option<TimeDelta>,
    /// When it is not told. `None`: it may be told at any time.
    pub quiet: Option<QuietHours>,
}

/// The calls of a client, as the rows tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// When the last call came to the client's number.
    pub last_at: Option<DateTime<Utc>>,
    /// When the client came to its state, or was created.
    pub live_since: DateTime<Utc>,
    /// When either side last said something.
    pub said_at: Option<DateTime<Utc>>,
    /// When the client was last told that no call has come for long.
    pub told_at: Option<DateTime<Utc>>,
    /// Whether a call, a text or another event about the client is not processed yet.
    pub is_unread: bool,
}

/// The next step about a client's forwarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A check is due.
    Check(ForwardingCheck),
    /// Nothing is due before this time.
    LookAgain(DateTime<Utc>),
    /// Nothing is due until the client is live.
    Never,
}

/// A test waits this long for its call.
pub const TEST_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// A client that goes live is first looked at after this time.
pub const FIRST_LOOK_AFTER: TimeDelta = TimeDelta::days(1);

/// A client is looked at again after this time, if the end of what stands in the way cannot be known.
pub const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);

/// A client who waits for the result of a test is looked at again sooner.
const LOOK_AT_TEST_AGAIN_AFTER: TimeDelta = TimeDelta::minutes(1);

/// A client for whom no check can be due now is looked at again after this time.
pub const LOOK_AT_LIVE_AFTER: TimeDelta = TimeDelta::days(30);

/// The result of a test that comes later than this is no reply any more, and waits for the morning.
const RESULT_LATE_AFTER: TimeDelta = TimeDelta::hours(1);

/// No check comes so soon after a text of either side.
const AFTER_A_TEXT: TimeDelta = TimeDelta::hours(1);

/// A silence that is not decided by then is looked at anew.
const DECIDED_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// Returns the next step about the forwarding of a client of `region` (ISO 3166).
#[must_use]
pub fn next(client: &Client, region: &str, calls: &Calls, schedule: &Schedule, now: DateTime<Utc>) -> Next {
    match client.forwarding_test {
        Some(asked_at) => end_of_test(asked_at, region, calls, schedule, now),
        // Only so that it is not found again as one at whom no sweep looks.
        None if client.state != State::Complete && client.number.is_some() => Next::LookAgain(now + LOOK_AT_LIVE_AFTER),
        None if client.state != State::Complete => Next::Never,
        None => silence(client, region, calls, schedule, now),
    }
}

fn end_of_test(asked_at: DateTime<Utc>, region: &str, calls: &Calls, schedule: &Schedule, now: DateTime<Utc>) -> Next {
    let due = asked_at + TEST_WITHIN;
    if now < due {
        return Next::LookAgain(due);
    }
    if calls.is_unread {
        return Next::LookAgain(now + LOOK_AT_TEST_AGAIN_AFTER);
    }
    let may_leave_at = schedule.quiet.filter(|_| now > due + RESULT_LATE_AFTER);
    let morning = may_leave_at.and_then(|quiet| quiet.first_out_of_them(region, now, DECIDED_WITHIN));
    if let Some(morning) = morning.filter(|morning| *morning > now) {
        return Next::LookAgain(morning);
    }
    let called = calls.last_at.is_some_and(|at| at >= asked_at);
    Next::Check(ForwardingCheck::TestOver { asked_at, called })
}

fn silence(client: &Client, region: &str, calls: &Calls, schedule: &Schedule, now: DateTime<Utc>) -> Next {
    let Some(after) = schedule.after else { return Next::LookAgain(now + LOOK_AT_LIVE_AFTER) };
    let since = calls.last_at.map_or(calls.live_since, |at| at.max(calls.live_since));
    let was_told = calls.told_at.is_some_and(|at| at >= since);
    if was_told || !may_be_told(client) {
        return Next::LookAgain(now + after);
    }
    let due = calls.said_at.map_or(since + after, |at| (since + after).max(at + AFTER_A_TEXT));
    if now < due {
        return Next::LookAgain(due);
    }
    if calls.is_unread || client.takeover_at(now).is_some() {
        return Next::LookAgain(now + LOOK_AGAIN_AFTER);
    }
    let leaves_within = DECIDED_WITHIN + TextKind::NoCallsLately.stale_after();
    match schedule.quiet.map_or(Some(now), |quiet| quiet.first_out_of_them(region, now, leaves_within)) {
        // Its night is not known.
        None => Next::LookAgain(now + after),
        Some(morning) if morning > now => Next::LookAgain(morning),
        Some(_) => {
            let is_of_call = calls.last_at == Some(since);
            Next::Check(ForwardingCheck::NoCalls { since, is_of_call, until: now + DECIDED_WITHIN })
        }
    }
}

/// Returns whether the client is live, pays, and takes texts.
fn may_be_told(client: &Client) -> bool {
    let is_served = client.payment_active && client.payment != Payment::Ended && client.number.is_some();
    client.state == State::Complete && is_served && !client.opted_out && !client.unreachable
}

/// Begins a test, which the client asked for.
pub(crate) fn begin_test(client: &Client, facts: &Facts<'_>) -> Decision {
    // A text that was answered before a restore of the database began its test then.
    let asked_at = facts.now.min(facts.asked_at);
    let begun = Decision { forwarding_test: Some(asked_at), ..Decision::nothing(client) };
    end_misfits(begun.text(wording::ask_forwarding_test()))
}

/// Decides a call that proves that the forwarding of a live client works, while it tests it. The text is also the news of the call,
/// so an operator who has taken the client over does not stop it: then the call is told as a missed one, which `missed` decides.
pub(crate) fn end_test(client: &Client, call: &Call, facts: &Facts<'_>, missed: impl FnOnce() -> Decision) -> Decision {
    match client.forwarding_test.filter(|_| client.takeover_at(facts.now).is_none()) {
        None => missed(),
        // A call whose end was decided first is told of already, under the key of the call.
        Some(asked_at) if facts.now <= asked_at + TEST_WITHIN && !facts.calls.is_known => {
            let caller = call.caller.as_ref().filter(|caller| **caller != client.owner_phone);
            let (caller_of_it, at) = (call.caller.clone(), call.at);
            let counted = call.sid.clone().map(|sid| CountedCall {
                sid,
                caller: caller_of_it,
                at,
                told: true,
                texted_back: false,
            });
            let works = wording::forwarding_works(caller).once_for(call);
            Decision { counted_call: counted, ..over(Decision::nothing(client)).text(works) }
        }
        // It came or was decided too late to be the test call, and proves the forwarding all the same.
        Some(_) => over(missed()).text(wording::forwarding_worked()),
    }
}

/// Decides a check that is due. It is left out if the client has moved on since.
pub(crate) fn check(client: &Client, check: &ForwardingCheck, facts: &Facts<'_>) -> Decision {
    let stay = Decision::nothing(client);
    match check {
        // A call has ended the test, or another one was begun.
        ForwardingCheck::TestOver { asked_at, .. } if client.forwarding_test != Some(*asked_at) => stay,
        ForwardingCheck::TestOver { called, .. } => match &client.number {
            Some(number) if client.state == State::Complete => over(stay).text(if *called {
                wording::forwarding_worked()
            } else {
                wording::forwarding_broken(client.collected.phone_type, number)
            }),
            Some(_) | None => over(stay),
        },
        ForwardingCheck::NoCalls { since, is_of_call, until } => {
            let is_in_time = facts.now <= *until && client.takeover_at(facts.now).is_none();
            if !is_in_time || !may_be_told(client) || client.forwarding_test.is_some() {
                return stay;
            }
            stay.text(wording::no_calls_lately(is_of_call.then(|| (facts.now - *since).num_days())))
        }
    }
}

fn over(decision: Decision) -> Decision {
    Decision { forwarding_test: None, ..decision }
}
