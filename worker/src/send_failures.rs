//! The actions after a failed text: one that Twilio did not take, or reports as not delivered.
//!
//! `shared/twilio/src/errors.rs` gives each code a class. The pure function [`actions_for`] decides what each class means for the
//! text, its recipient, the queue and the operator. [`carry_out`] executes that. Nothing here sends a text.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::TextKind;
use jobrun_shared::alerts::{Kind, texts};
use jobrun_shared::db;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, NewEvent, Payload, Source};
use jobrun_shared::db::outbox::pace::{KnownBy, park, unpark};
use jobrun_shared::db::outbox::{self, LaterActivity};
use jobrun_shared::queue::{self, Queue};
use jobrun_twilio::errors::{self, Class};
use sqlx::PgConnection;

use crate::pace;

/// The age of an attempt at which a report that the account was refused no longer stops sending.
const REPORT_STALE_AFTER: TimeDelta = TimeDelta::minutes(10);

/// The delay of the second try of a text that was lost because of the account.
const ACCOUNT_RETRY_DELAY: TimeDelta = TimeDelta::minutes(10);

/// A text that was refused, or not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// `messages.id`.
    pub(crate) id: i64,
    /// The kind of text; nothing for a kind that this version does not know.
    pub(crate) kind: Option<TextKind>,
    /// The client it was for; nothing for a stranger.
    pub(crate) client_id: Option<String>,
    /// The recipient, E.164.
    pub(crate) to: String,
    /// When the attempt began.
    pub(crate) began_at: DateTime<Utc>,
    /// Whether it was a second try.
    pub(crate) second_try: bool,
    /// The class of the code.
    pub(crate) class: Class,
    /// Twilio's code.
    pub(crate) code: Option<i32>,
    /// Whether the row still waits to be sent.
    pub(crate) kept: bool,
    /// Whether Twilio had taken it, and reported later that it was not delivered.
    pub(crate) reported: bool,
    /// The activity since it was sent.
    pub(crate) later: LaterActivity,
}

/// A text that was reported as lost, and has arrived after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// `messages.id`.
    pub(crate) id: i64,
    /// Whether it was for a client, whose conversation may have been told of the loss.
    pub(crate) is_for_a_client: bool,
    /// The recipient, E.164.
    pub(crate) to: String,
    /// The class of the earlier report.
    pub(crate) class_before: Class,
}

/// An action after a failed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FailureAction {
    /// Sending stops until the account is accepted again.
    Park {
        /// When the refused attempt began.
        began_at: DateTime<Utc>,
        /// How the refusal became known.
        known_by: KnownBy,
    },
    /// The recipient's conversation receives an event.
    RecordEvent(NewEvent),
    /// The text is tried once more.
    TryAgain {
        /// `messages.id`.
        id: i64,
        /// The kind of text.
        kind: TextKind,
        /// The time of the second try.
        at: DateTime<Utc>,
    },
    /// An alert is raised for the operator.
    RaiseAlert(NewAlert),
}

/// Returns the actions after a failed text.
pub(crate) fn actions_for(failed: &Failed, now: DateTime<Utc>) -> Vec<FailureAction> {
    action_for_class(failed, now).into_iter().chain(action_for_loss(failed, now)).collect()
}

/// Returns the action on the loss of this one text.
fn action_for_loss(failed: &Failed, now: DateTime<Utc>) -> Option<FailureAction> {
    // A text that still waits is not lost. If the client has gone on without the text, it is not missed.
    let kind = failed.kind.filter(|_| !failed.kept && !failed.later.went_on)?;
    // The link in the news of a message stands nowhere else.
    let is_missed = kind.matters() || kind == TextKind::Voicemail;
    match second_try_delay(failed) {
        // Twilio refused the account, not the text: every text is tried again, without limit.
        Some(after) if failed.class == Class::Account || (is_missed && !failed.second_try) => {
            Some(FailureAction::TryAgain { id: failed.id, kind, at: now + after })
        }
        _ if is_missed && failed.class != Class::OptedOut => Some(FailureAction::RaiseAlert(texts::undelivered(
            kind,
            failed.client_id.as_deref(),
            errors::meaning(failed.code),
        ))),
        _ => None,
    }
}

fn action_for_class(failed: &Failed, now: DateTime<Utc>) -> Option<FailureAction> {
    let (message_id, phone) = (failed.id, failed.to.clone());
    // Without a client id, the text went to a stranger, who has no conversation, or to a client from a pool number that is not its
    // own. A refusal of such a number says nothing about the onboarding number. A caller who is texted back is a stranger too.
    let record_event = |name: &str, payload| {
        let external_id = format!("{name}:{message_id}");
        failed
            .client_id
            .as_ref()
            .filter(|_| !failed.kind.is_some_and(TextKind::is_to_a_caller))
            .map(|_| FailureAction::RecordEvent(NewEvent::new(Source::System, external_id, payload)))
    };
    match failed.class {
        // A report about an old attempt says nothing about the account now.
        Class::Account if now - failed.began_at > REPORT_STALE_AFTER => None,
        Class::Account => {
            let known_by = if failed.reported { KnownBy::Report } else { KnownBy::Answer };
            Some(FailureAction::Park { began_at: failed.began_at, known_by })
        }
        // A report can be hours old. A later opt-in, or a later text from the recipient, overrides it.
        Class::OptedOut if failed.later.opted_in => None,
        Class::Recipient if failed.later.went_on => None,
        Class::OptedOut => record_event("opted-out", Payload::OptedOut { phone, message_id }),
        Class::Recipient => record_event("unreachable", Payload::Unreachable { phone, message_id }),
        Class::Configuration => Some(FailureAction::RaiseAlert(texts::configuration(failed.code))),
        Class::Content | Class::Loop | Class::Defect | Class::Unlisted => {
            Some(FailureAction::RaiseAlert(texts::refused(failed.code)))
        }
        Class::Passing(_) | Class::Uncertain | Class::Blocked | Class::Expired => None,
    }
}

/// Returns the event that a recipient can be reached again, for a conversation that was told the opposite.
fn reached_event(arrived: &Arrived) -> Option<NewEvent> {
    (arrived.is_for_a_client && arrived.class_before == Class::Recipient).then(|| {
        NewEvent::new(
            Source::System,
            format!("reached:{}", arrived.id),
            Payload::Reached { phone: arrived.to.clone(), message_id: arrived.id },
        )
    })
}

/// Returns the delay of a second try, if there may be one: the text was surely not delivered, and a second try may succeed.
fn second_try_delay(failed: &Failed) -> Option<TimeDelta> {
    match failed.class {
        _ if !failed.reported => None,
        // The sweep writes the next one, when it is day.
        _ if failed.kind == Some(TextKind::Reminder) => None,
        // A second try would go to the client, and come late.
        _ if failed.kind.is_some_and(TextKind::is_to_a_caller) => None,
        Class::Passing(after) => Some(after),
        Class::Expired => Some(TimeDelta::zero()),
        Class::Account => Some(ACCOUNT_RETRY_DELAY),
        Class::Uncertain
        | Class::Recipient
        | Class::Blocked
        | Class::OptedOut
        | Class::Content
        | Class::Configuration
        | Class::Loop
        | Class::Defect
        | Class::Unlisted => None,
    }
}

/// Carries out the actions, in the transaction that records their reasons: first for the failed texts, then for those that arrived
/// after all, because one text may be among both. Returns the new alerts, to be printed after the commit.
pub(crate) async fn carry_out(
    conn: &mut PgConnection,
    failed: &[Failed],
    arrived: &[Arrived],
    now: DateTime<Utc>,
) -> Result<Vec<NewAlert>, db::Error> {
    let (mut events, mut alerts) = (Vec::new(), Vec::new());
    for failed in failed {
        for action in actions_for(failed, now) {
            match action {
                FailureAction::RecordEvent(event) => events.push(event),
                FailureAction::RaiseAlert(alert) => alerts.push(alert),
                FailureAction::TryAgain { id, kind, at } => {
                    outbox::try_again(conn, id, at, at + kind.stale_after(), now).await?;
                }
                FailureAction::Park { began_at, known_by } => {
                    if park(conn, began_at, known_by, pace::next_probe(known_by, now), now).await? {
                        alerts.push(texts::account(failed.code));
                    }
                }
            }
        }
    }
    if !arrived.is_empty() {
        let ids: Vec<i64> = arrived.iter().map(|text| text.id).collect();
        outbox::drop_second_tries_of(conn, &ids, now).await?;
    }
    events.extend(arrived.iter().filter_map(reached_event));
    if !events.is_empty() {
        inbox::insert(conn, &events, now).await?;
    }
    alerts::raise(conn, &alerts, now).await
}

/// Resumes sending after the account was accepted in an attempt that began at `began_at`. Returns the causes of the alerts that
/// this clears, to be printed after the commit.
///
/// Call it before [`carry_out`]: every transaction locks the row of `sending` before alerts.
pub(crate) async fn account_accepted(
    conn: &mut PgConnection,
    began_at: DateTime<Utc>,
    known_by: KnownBy,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    if !unpark(conn, began_at, known_by, now).await? {
        return Ok(Vec::new());
    }
    queue::enqueue(conn, Queue::SendMessages).await?;
    // The extra day clears the alert whenever it was last raised, by the clock of any worker. The lock on the row of `sending`
    // keeps others from raising it.
    alerts::clear_quiet(conn, &[&Kind::Account.prefix()], now + TimeDelta::days(1), now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: TextKind, code: i32, reported: bool) -> Failed {
        Failed {
            id: 7,
            kind: Some(kind),
            client_id: Some("c".to_owned()),
            to: "+447900000001".to_owned(),
            began_at: DateTime::UNIX_EPOCH,
            second_try: false,
            class: errors::class_of(Some(code)),
            code: Some(code),
            kept: false,
            reported,
            later: LaterActivity::default(),
        }
    }

    /// Returns each action in a word.
    fn words(failed: &Failed) -> Vec<String> {
        let word = |action: FailureAction| match action {
            FailureAction::Park { .. } => "park".to_owned(),
            FailureAction::RecordEvent(event) => event.payload.kind().to_owned(),
            FailureAction::TryAgain { at, .. } => format!("again after {}", (at - DateTime::UNIX_EPOCH).num_minutes()),
            FailureAction::RaiseAlert(alert) => alert.cause,
        };
        actions_for(failed, DateTime::UNIX_EPOCH).into_iter().map(word).collect()
    }

    #[test]
    fn a_text_that_matters_is_tried_once_more_if_its_code_allows_and_then_raises_an_alert() {
        let ready = TextKind::NumberReady;
        assert_eq!(words(&failed(ready, 30003, true)), ["again after 120"]);
        let second = Failed { second_try: true, ..failed(ready, 30003, true) };
        assert_eq!(words(&second), ["undelivered:number_ready:c"]);
        assert_eq!(words(&failed(ready, 30410, true)), ["undelivered:number_ready:c"], "it may have arrived");
        assert_eq!(words(&failed(ready, 30005, true)), ["unreachable", "undelivered:number_ready:c"]);
        assert_eq!(words(&failed(ready, 21617, false)), ["refused:21617", "undelivered:number_ready:c"]);
        assert_eq!(words(&failed(ready, 21610, true)), ["opted_out"], "a recipient who opted out gets no second try");
        let portal = failed(TextKind::CancelAtPortal, 30003, true);
        assert_eq!(words(&portal), ["again after 120"]);
        assert_eq!(words(&Failed { second_try: true, ..portal }), ["undelivered:cancel_at_portal:c"]);
        assert!(words(&failed(TextKind::HowToCancel, 30003, true)).is_empty(), "a client who asked itself asks again");
        assert!(words(&failed(TextKind::Welcome, 30003, true)).is_empty(), "a client who misses a question asks again");
    }

    #[test]
    fn a_text_to_a_caller_is_not_tried_again_and_says_nothing_of_the_client() {
        for (code, action) in
            [(21610, None), (30005, None), (30003, None), (30002, Some("park")), (30007, Some("refused:30007"))]
        {
            let found = words(&failed(TextKind::TextBack, code, true));
            assert_eq!(found, action.into_iter().collect::<Vec<_>>(), "{code}");
        }
    }

    #[test]
    fn activity_after_a_text_was_sent_overrides_a_report_about_it() {
        let went_on = LaterActivity { went_on: true, opted_in: false };
        for code in [30003, 30005, 30410] {
            let overtaken = Failed { later: went_on, ..failed(TextKind::PaymentRequired, code, true) };
            assert!(words(&overtaken).is_empty(), "{code}");
        }
        let back =
            Failed { later: LaterActivity { went_on: true, opted_in: true }, ..failed(TextKind::Welcome, 21610, true) };
        assert!(words(&back).is_empty());
        let still_out = Failed { later: went_on, ..failed(TextKind::Welcome, 21610, true) };
        assert_eq!(words(&still_out), ["opted_out"]);
    }

    #[test]
    fn only_a_client_reported_as_unreachable_is_reported_as_reached() {
        let after = |code, is_for_a_client| {
            let class_before = errors::class_of(Some(code));
            reached_event(&Arrived { id: 7, is_for_a_client, to: "+447900000001".to_owned(), class_before })
        };
        assert_eq!(after(30005, true).map(|event| event.external_id), Some("reached:7".to_owned()));
        assert!(after(30003, true).is_none() && after(30005, false).is_none());
    }

    #[test]
    fn each_class_of_code_has_its_action() {
        let hi = TextKind::Welcome;
        assert_eq!(words(&failed(hi, 20003, false)), ["park"]);
        assert_eq!(words(&failed(hi, 30002, true)), ["park", "again after 10"], "also a text that does not matter");
        let old = Failed { began_at: DateTime::UNIX_EPOCH - TimeDelta::hours(1), ..failed(hi, 30002, true) };
        assert_eq!(words(&old), ["again after 10"], "and sending goes on");
        let again = Failed { second_try: true, ..failed(hi, 30002, true) };
        assert_eq!(words(&again), ["park", "again after 10"], "without limit");
        assert_eq!(words(&failed(hi, 21610, false)), ["opted_out"]);
        assert_eq!(words(&failed(hi, 21614, false)), ["unreachable"]);
        assert_eq!(words(&failed(hi, 21606, false)), ["configuration:21606"]);
        assert_eq!(words(&failed(hi, 30007, true)), ["refused:30007"]);
        assert_eq!(words(&failed(hi, 99999, false)), ["refused:99999"]);
        let to_a_stranger = Failed { client_id: None, ..failed(TextKind::Misdirected, 21610, false) };
        assert!(words(&to_a_stranger).is_empty());
        let kept = Failed { kept: true, ..failed(TextKind::NumberReady, 20003, false) };
        assert_eq!(words(&kept), ["park"], "a text that still waits is not lost");
    }
}
