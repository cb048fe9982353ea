//! Texts a caller back whose call was missed, if the owner wants that: once a day, from the owner's own number.
//!
//! The owner is asked once, when it goes live, and may choose at any time while it is live. Only mobiles of the client's own country
//! are texted, because texts do not reach a landline, and a text abroad costs more. A text follows from a call of the last minutes
//! or not at all, and so few callers are texted in a day that calls with forged numbers are no way to text many people.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::answer;
pub use crate::caller_text::{CallerFacts, CallerText, TextBackFacts};
use crate::decision::{Decision, Facts};
use crate::open_question::end_misfits;
use crate::phone::is_mobile_of;
use crate::wording::{self, Text, TextKind};
use crate::{Call, Client, E164, State};

/// A call that was reported longer ago than this is not texted back.
pub const TEXTED_WITHIN: TimeDelta = TimeDelta::minutes(3);

/// How many callers of one client are texted back in 24 hours.
pub const CALLERS_MAX: usize = 50;

/// Returns whether a caller of this client may be texted back at all, so that the facts about it are worth a look at the rows.
#[must_use]
pub fn may_concern(client: &Client, region: &str, caller: &E164) -> bool {
    client.text_back && client.state == State::Complete && is_mobile_of(caller, region)
}

/// Asks a client that goes live whether its callers are to be texted back, unless it was asked before or takes no texts now.
pub(crate) fn ask(client: &Client, facts: &Facts<'_>, live: Decision) -> Decision {
    let takes_texts = !client.opted_out && !client.unreachable && client.takeover_at(facts.now).is_none();
    if facts.text_back.is_none() || client.text_back_asked || !takes_texts {
        return live;
    }
    Decision { text_back_asked: true, ..live.text(wording::ask_text_back()) }
}

/// Decides a text in which a live client says whether its callers are to be texted back.
pub(crate) fn choose(client: &Client, body: &str, facts: &Facts<'_>) -> Option<Decision> {
    facts.text_back.as_ref().filter(|_| client.state == State::Complete)?;
    let text_back = answer::chooses_text_back(body)?;
    let chosen = Decision { text_back, text_back_asked: true, ..Decision::nothing(client) };
    Some(end_misfits(chosen.text(wording::text_back_chosen(text_back))))
}

/// Returns the text to the caller of a missed call, if it is texted back. `texted_today`: whether it was before, in the same day.
pub(crate) fn to_caller(client: &Client, call: &Call, texted_today: bool, facts: &Facts<'_>) -> Option<CallerText> {
    let rules = facts.text_back.as_ref()?;
    let (to, from) = (call.caller.as_ref()?, client.number.as_ref()?);
    let known = rules.caller?;
    // An owner who is not told of the call does not ring back.
    let owner_is_told = !client.opted_out && !client.unreachable && client.takeover_at(facts.now).is_none();
    // The call may be the test that the owner has asked for.
    let may_be_test = client.forwarding_test.is_some();
    let caller_may =
        known.may_be_texted && known.texted_callers < CALLERS_MAX && *to != client.owner_phone && to != from;
    let is_new = !texted_today && facts.now - call.at <= TEXTED_WITHIN;
    let may = may_concern(client, &rules.region, to) && client.payment_active && owner_is_told && !may_be_test;
    if !may || !caller_may || !is_new || rules.business.is_empty() || !leaves_by_day(rules, facts.now) {
        return None;
    }
    let day = facts.calls.day.date_of(call.at);
    let text = Text { once_key: Some(once_key(client, to, day)), ..wording::text_back(&rules.business) };
    Some(CallerText { to: to.clone(), from: from.clone(), text })
}

/// Returns whether a text that is written now leaves outside of the quiet hours.
fn leaves_by_day(rules: &TextBackFacts, now: DateTime<Utc>) -> bool {
    let leaves_within = TextKind::TextBack.stale_after();
    rules.quiet.is_none_or(|quiet| quiet.first_out_of_them(&rules.region, now, leaves_within) == Some(now))
}

/// A caller who rings more often in a day than its calls are looked at is texted once all the same.
fn once_key(client: &Client, caller: &E164, day: NaiveDate) -> String {
    format!("text-back:{}:{}:{day}", client.id, caller.digits())
}
