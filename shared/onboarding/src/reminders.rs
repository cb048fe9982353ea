//! Reminds clients who fall silent before they are live.
//!
//! [`next`] says when a reminder is due, from the rows. `remind` decides it when its turn among the client's events has come: by
//! then the client may have written, moved on or been taken over. A client that waits for us, has said no, pays no more, or speaks
//! with a person is not reminded. The last reminder says that it is the last.
//!
//! An unused number costs money every month, and may be what another client waits for. So a client who has one is reported once no
//! reminder follows and it is silent still, whether it was reminded or not.

use chrono::{DateTime, TimeDelta, Utc};

use crate::decision::{Decision, Facts};
use crate::forwarding_help;
use crate::open_question::{asked_again, asks_network};
use crate::quiet_hours::QuietHours;
pub use crate::reminder::Reminder;
use crate::wording;
use crate::words::Words;
use crate::{Client, Payment, State, TextKind};

/// When silent clients are reminded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How long after a client fell silent each reminder is due, the shortest first. Empty: no client is reminded.
    pub after: Vec<TimeDelta>,
    /// When no reminder leaves. `None`: it may leave at any time.
    pub quiet: Option<QuietHours>,
    /// Whether cases tell which clients wait for a person, and until when.
    pub has_cases: bool,
}

impl Schedule {
    /// Returns whether the client waits for the answer of a person. Without cases, one to whom a person was promised waits until
    /// something else is said.
    fn waits_for_person(&self, silence: &Silence) -> bool {
        silence.case_open || (!self.has_cases && silence.last_said == Some(TextKind::OfferPerson))
    }
}

/// What the rows say of a client's silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// When either side last said something, the client last moved, or a person answered it; reminders apart.
    pub since: DateTime<Utc>,
    /// Whether the client has ever written.
    pub has_written: bool,
    /// Whether a text from the client, or another event about it, is not processed yet.
    pub is_unread: bool,
    /// The kind of our last text, reminders apart.
    pub last_said: Option<TextKind>,
    /// Whether the client was asked to pay since the open question was asked.
    pub payment_asked: bool,
    /// Whether the client waits for the answer of a person.
    pub case_open: bool,
    /// Whether a number is held for the client, who waits for one.
    pub number_held: bool,
    /// The number of reminders since that text that have left, or wait to leave.
    pub reminded: usize,
    /// When the last of them was written.
    pub reminded_at: Option<DateTime<Utc>>,
}

/// The next step about a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A reminder is due.
    Remind(Reminder),
    /// The client has a number, and is silent although no reminder follows: the operator has to know.
    ReportUnfinished,
    /// Nothing is due before this time.
    LookAgain(DateTime<Utc>),
    /// Nothing is due until something is said to the client.
    Never,
}

/// A silence is looked at again after this time, if its end cannot be known.
pub const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);

/// A client with a number is reported so long after its last reminder.
const REPORTED_AFTER: TimeDelta = TimeDelta::days(1);

/// Where no client is reminded, one with a number is reported as if its last reminder had been due after this time.
const REMINDED_BY: TimeDelta = TimeDelta::days(3);

/// A reminder that is not decided by then is looked at anew.
const DECIDED_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// A reminder that could not be sent for this long is left out: a text about a sign-up of long ago surprises.
const LATE_BY_MAX: TimeDelta = TimeDelta::days(2);

/// What the state of a client means for reminders.
enum ReminderStatus {
    /// It has a question to answer, in these words.
    Asked(Words),
    /// It waits for us, or speaks with a person, and may be asked again later.
    Waits,
    /// It is live, has said no, or was told something that asks for nothing.
    Done,
}

/// Returns the next step about the silence of a client of `region` (ISO 3166).
#[must_use]
pub fn next(client: &Client, region: &str, silence: &Silence, schedule: &Schedule, now: DateTime<Utc>) -> Next {
    let reminder = next_reminder(client, region, silence, schedule, now);
    let may_be_unfinished = silence.has_written && client.state != State::Complete && client.number.is_some();
    // A client that waits for a person is not reminded, and its number is unused all the same.
    if (reminder != Next::Never && !schedule.waits_for_person(silence)) || !may_be_unfinished {
        return reminder;
    }
    if silence.is_unread || client.takeover_at(now).is_some() {
        return Next::LookAgain(now + LOOK_AGAIN_AFTER);
    }
    let last_due = silence.since + schedule.after.last().copied().unwrap_or(REMINDED_BY);
    let report_at = silence.reminded_at.map_or(last_due, |at| at.max(last_due)) + REPORTED_AFTER;
    match reminder {
        _ if now >= report_at => Next::ReportUnfinished,
        Next::Never => Next::LookAgain(report_at),
        // The case may be closed before then.
        Next::LookAgain(_) | Next::Remind(_) | Next::ReportUnfinished => reminder,
    }
}

fn next_reminder(client: &Client, region: &str, silence: &Silence, schedule: &Schedule, now: DateTime<Utc>) -> Next {
    if !silence.has_written || client.opted_out || client.unreachable {
        return Next::Never;
    }
    // An offer that has passed to another client is none any more.
    let last_said = silence.last_said.filter(|kind| *kind != TextKind::NumberReady || silence.number_held);
    match status(client, last_said, silence.payment_asked, None) {
        ReminderStatus::Done => return Next::Never,
        ReminderStatus::Waits => return Next::LookAgain(now + LOOK_AGAIN_AFTER),
        ReminderStatus::Asked(_)
            if silence.is_unread || schedule.waits_for_person(silence) || client.takeover_at(now).is_some() =>
        {
            return Next::LookAgain(now + LOOK_AGAIN_AFTER);
        }
        ReminderStatus::Asked(_) => {}
    }
    let Some((place, due)) = next_place(silence, schedule, now) else { return Next::Never };
    if now < due {
        return Next::LookAgain(due);
    }
    let leaves_within = DECIDED_WITHIN + TextKind::Reminder.stale_after();
    match schedule.quiet.map_or(Some(now), |quiet| quiet.first_out_of_them(region, now, leaves_within)) {
        None => Next::Never,
        Some(morning) if morning > now => Next::LookAgain(morning),
        Some(_) => Next::Remind(Reminder {
            since: silence.since,
            nth: place + 1,
            is_last: place + 1 == schedule.after.len(),
            payment_asked: silence.payment_asked,
            last_said: last_said.map(|kind| kind.name().to_owned()),
            until: now + DECIDED_WITHIN,
        }),
    }
}

/// Returns the place of the next reminder in the schedule, and when it is due. A client who said that it needs time is spared the
/// first. One that could not be sent for too long is left out, and the next one follows.
fn next_place(silence: &Silence, schedule: &Schedule, now: DateTime<Utc>) -> Option<(usize, DateTime<Utc>)> {
    let spared = usize::from(silence.last_said == Some(TextKind::NoHurry) && schedule.after.len() > 1);
    let due = |(place, after): (usize, &TimeDelta)| {
        let before = place.checked_sub(1).and_then(|before| schedule.after.get(before));
        let pause = before.map_or(TimeDelta::zero(), |before| *after - *before);
        let after_the_last = silence.reminded_at.map(|at| at + pause);
        (place, after_the_last.map_or(silence.since + *after, |at| at.max(silence.since + *after)))
    };
    let places = || schedule.after.iter().enumerate();
    // The last reminder may have followed one that was left out.
    let last = silence.reminded_at.map(|at| {
        let before = places().skip((silence.reminded + spared).saturating_sub(1));
        before.map(|(place, after)| (place, silence.since + *after)).find(|(_, due)| at <= *due + LATE_BY_MAX)
    });
    let first = match last {
        None => spared,
        Some(last) => last?.0 + 1,
    };
    places().skip(first).map(due).find(|(_, due)| now <= *due + LATE_BY_MAX)
}

/// Decides a reminder. It is left out if the client has moved on since it was due, or if it could leave at night by now.
pub(crate) fn remind(client: &Client, reminder: &Reminder, facts: &Facts<'_>) -> Decision {
    let stay = Decision::nothing(client);
    let went_on = client.exchange.asked_at.is_some_and(|at| at > reminder.since);
    let cannot_be_texted = client.opted_out || client.unreachable || client.takeover_at(facts.now).is_some();
    if facts.now > reminder.until || went_on || cannot_be_texted {
        return stay;
    }
    let last_said = reminder.last_said.as_deref().and_then(TextKind::from_name);
    let ReminderStatus::Asked(question) = status(client, last_said, reminder.payment_asked, facts.payment_link) else {
        return stay;
    };
    stay.text(wording::remind_silent(question, reminder.nth, reminder.is_last))
}

fn status(
    client: &Client,
    last_said: Option<TextKind>,
    payment_asked: bool,
    payment_link: Option<&str>,
) -> ReminderStatus {
    let said = |kinds: &[TextKind]| last_said.is_some_and(|kind| kinds.contains(&kind));
    let is_over = said(&[
        TextKind::Closing,
        TextKind::WhoWeAre,
        TextKind::NoNumbersThere,
        TextKind::HowToCancel,
        TextKind::CancelAtPortal,
        TextKind::RefundAsked,
        TextKind::ServiceEnded,
        TextKind::PhoneCodeAsked,
        TextKind::PhoneCodeWrong,
        TextKind::PhoneNotMoved,
    ]);
    if client.state == State::Complete || client.payment == Payment::Ended || is_over {
        return ReminderStatus::Done;
    }
    let is_offered = said(&[TextKind::NumberReady]);
    let at_gate = matches!(client.state, State::S5ConfirmLive | State::S6PhoneType);
    if at_gate && client.number.is_none() {
        if client.payment_active {
            return if is_offered {
                ReminderStatus::Asked(wording::number_ready().words)
            } else {
                ReminderStatus::Waits
            };
        }
        if client.payment == Payment::Awaited {
            return ReminderStatus::Waits;
        }
        if payment_asked {
            return ReminderStatus::Asked(wording::payment_again(&wording::payment_link(payment_link, client)));
        }
    }
    let could_not_forward = said(&[TextKind::ForwardAnotherWay, TextKind::AskNetwork, TextKind::ForwardOnNetwork]);
    if let Some(way) = forwarding_help::open_way(client).filter(|_| could_not_forward) {
        return ReminderStatus::Asked(way.words);
    }
    ReminderStatus::Asked(question(client))
}

/// Returns the open question, with all that is needed to answer it.
fn question(client: &Client) -> Words {
    match (client.state, client.collected.phone_type, &client.number) {
        (State::S6PhoneType, Some(phone_type), Some(number)) => wording::instructions_again(phone_type, number),
        (State::S7FwdSent, Some(phone_type), Some(number)) if !asks_network(client) => {
            wording::forwarding_instructions(phone_type, number).words
        }
        // The test call arrived long ago, and its end was never reported.
        (State::S9TestCall, _, _) => wording::remind_test_call().words,
        (
            State::S1BusinessTypeLocation
            | State::S2BusinessName
            | State::S3OwnerName
            | State::S4NotificationPref
            | State::S5ConfirmLive
            | State::S6PhoneType
            | State::S7FwdSent
            | State::S8FwdConfirm
            | State::Complete,
            _,
            _,
        ) => asked_again(client),
    }
}
