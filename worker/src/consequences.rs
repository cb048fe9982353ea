//! What follows when Twilio does not take a text, or reports that it was not delivered.
//!
//! Which class a code belongs to stands in `twilio/errors.rs`; what each class means for the text, its recipient, the queue
//! and the operator stands here, as a pure function. Nothing here sends anything.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::TextKind;
use jobrun_shared::db;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::events::{self, NewEvent, Payload, Source};
use jobrun_shared::db::messages::{self, Since};
use jobrun_shared::db::sending::{self, KnownBy};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::twilio::errors::{self, Class};
use sqlx::PgConnection;

/// What alerts are about that are over once a text that waited for the setting is taken.
pub(crate) const CONFIGURATION: &str = "configuration";

/// After this long, a report that the account was refused is no reason to stop sending.
const OLD_NEWS: TimeDelta = TimeDelta::minutes(10);

/// How soon a text is tried once more that was lost with the account.
const AFTER_ACCOUNT: TimeDelta = TimeDelta::minutes(10);

/// A text that was refused, or not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// `messages.id`.
    pub(crate) id: i64,
    /// Which of our texts it is; empty for a kind that this version does not know.
    pub(crate) kind: Option<TextKind>,
    /// The client it was for.
    pub(crate) client_id: Option<String>,
    /// To whom, E.164.
    pub(crate) to: String,
    /// When the attempt began.
    pub(crate) began_at: DateTime<Utc>,
    /// Whether it was a second try.
    pub(crate) second_try: bool,
    /// What is to be done about it.
    pub(crate) class: Class,
    /// Twilio's code.
    pub(crate) code: Option<i32>,
    /// Whether the row waits to be sent all the same.
    pub(crate) kept: bool,
    /// Whether Twilio had taken it, and reports that it was not delivered.
    pub(crate) reported: bool,
    /// What happened since it was sent.
    pub(crate) since: Since,
}

/// A text that was reported as lost, and has arrived after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// `messages.id`.
    pub(crate) id: i64,
    /// Whether it was for a client, whose conversation may have heard that it was lost.
    pub(crate) is_for_a_client: bool,
    /// To whom, E.164.
    pub(crate) to: String,
    /// What the earlier report made of it.
    pub(crate) class_before: Class,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Sending stops until the account is accepted again.
    Park {
        /// When the attempt began that was refused.
        began_at: DateTime<Utc>,
        /// How we know.
        known_by: KnownBy,
    },
    /// The recipient's conversation hears of it.
    Tell(NewEvent),
    /// The text is tried once more.
    TryAgain {
        /// `messages.id`.
        id: i64,
        /// Which of our texts it is.
        kind: TextKind,
        /// When.
        at: DateTime<Utc>,
    },
    /// The operator hears of it.
    Raise(NewAlert),
}

/// Decides what follows.
pub(crate) fn of(failed: &Failed, now: DateTime<Utc>) -> Vec<Consequence> {
    of_class(failed, now).into_iter().chain(of_loss(failed, now)).collect()
}

/// What follows from this one text's being lost.
fn of_loss(failed: &Failed, now: DateTime<Utc>) -> Option<Consequence> {
    // A text that still waits is not lost; one that the conversation has overtaken is not missed.
    let kind = failed.kind.filter(|_| !failed.kept && !failed.since.went_on)?;
    match may_try_again(failed) {
        // What the account lost, it lost without looking: every text, and as often as it takes.
        Some(after) if failed.class == Class::Account || (kind.matters() && !failed.second_try) => {
            Some(Consequence::TryAgain { id: failed.id, kind, at: now + after })
        }
        _ if kind.matters() && failed.class != Class::OptedOut => {
            Some(Consequence::Raise(not_delivered(kind, failed.client_id.as_deref(), errors::meaning(failed.code))))
        }
        _ => None,
    }
}

fn of_class(failed: &Failed, now: DateTime<Utc>) -> Option<Consequence> {
    let (message_id, phone) = (failed.id, failed.to.clone());
    // A stranger has no conversation. And a client may have been texted as a stranger, from a pool number that is nobody's or
    // somebody else's: what is said of that number is not said of ours.
    let tell = |name: &str, payload| {
        let external_id = format!("{name}:{message_id}");
        failed.client_id.as_ref().map(|_| Consequence::Tell(NewEvent { source: Source::System, external_id, payload }))
    };
    match failed.class {
        // A report about an attempt long past says nothing of now.
        Class::Account if now - failed.began_at > OLD_NEWS => None,
        Class::Account => {
            let known_by = if failed.reported { KnownBy::Report } else { KnownBy::Answer };
            Some(Consequence::Park { began_at: failed.began_at, known_by })
        }
        // A report can be hours old. Whoever has asked for texts since, or has sent us one, has the last word.
        Class::OptedOut if failed.since.opted_in => None,
        Class::Recipient if failed.since.went_on => None,
        Class::OptedOut => tell("opted-out", Payload::OptedOut { phone, message_id }),
        Class::Recipient => tell("unreachable", Payload::Unreachable { phone, message_id }),
        Class::Configuration => {
            Some(Consequence::Raise(alert(CONFIGURATION, failed.code, "Mend the settings at Twilio")))
        }
        Class::Content | Class::Loop | Class::Defect | Class::Unlisted => {
            Some(Consequence::Raise(alert("refused", failed.code, "Look at the texts in `messages` with this code")))
        }
        Class::Passing(_) | Class::Uncertain | Class::Blocked | Class::Expired => None,
    }
}

/// The conversation that heard that the recipient cannot be reached hears that it can.
fn news_of_arrival(arrived: &Arrived) -> Option<NewEvent> {
    (arrived.is_for_a_client && arrived.class_before == Class::Recipient).then(|| NewEvent {
        source: Source::System,
        external_id: format!("reached:{}", arrived.id),
        payload: Payload::Reached { phone: arrived.to.clone(), message_id: arrived.id },
    })
}

/// Only what surely was not delivered, and only if that may be otherwise another time.
fn may_try_again(failed: &Failed) -> Option<TimeDelta> {
    match failed.class {
        _ if !failed.reported => None,
        Class::Passing(after) => Some(after),
        Class::Expired => Some(TimeDelta::zero()),
        Class::Account => Some(AFTER_ACCOUNT),
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

fn alert(what: &str, code: Option<i32>, advice: &str) -> NewAlert {
    let shown = shown(code);
    NewAlert {
        cause: cause_of_code(what, code),
        about: format!("Twilio refuses texts (error {shown}): {}. {advice}.", errors::meaning(code)),
    }
}

/// The operator hears that somebody was left standing.
pub(crate) fn not_delivered(kind: TextKind, client_id: Option<&str>, why: &str) -> NewAlert {
    let client = client_id.unwrap_or("nobody");
    NewAlert {
        cause: cause_of_not_delivered(kind, client),
        about: format!("The text {} did not reach client {client}: {why}. Get in touch another way.", kind.name()),
    }
}

/// The cause of an alert about texts that Twilio refuses with `code`.
pub(crate) fn cause_of_code(what: &str, code: Option<i32>) -> String {
    format!("{what}:{}", shown(code))
}

fn shown(code: Option<i32>) -> String {
    code.map_or_else(|| "without a code".to_owned(), |code| code.to_string())
}

/// The alert's cause is gone once the same text has been delivered to the same client.
pub(crate) fn cause_of_not_delivered(kind: TextKind, client_id: &str) -> String {
    format!("undelivered:{}:{client_id}", kind.name())
}

/// Carries out what follows, in the transaction that records why: first from what failed, then from what arrived after all,
/// because one text may be among both. Returns the alerts that are new, to be printed after the commit.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn carry_out(
    conn: &mut PgConnection,
    failed: &[Failed],
    arrived: &[Arrived],
    now: DateTime<Utc>,
) -> Result<Vec<NewAlert>, db::Error> {
    let (mut events, mut alerts) = (Vec::new(), Vec::new());
    for failed in failed {
        for consequence in of(failed, now) {
            match consequence {
                Consequence::Tell(event) => events.push(event),
                Consequence::Raise(alert) => alerts.push(alert),
                Consequence::TryAgain { id, kind, at } => {
                    messages::try_again(conn, id, at, at + kind.stale_after(), now).await?;
                }
                Consequence::Park { began_at, known_by } => {
                    if sending::park(conn, began_at, known_by, now).await? {
                        alerts.push(alert(
                            "account",
                            failed.code,
                            "Nothing is sent until the account is accepted again",
                        ));
                    }
                }
            }
        }
    }
    if !arrived.is_empty() {
        let ids: Vec<i64> = arrived.iter().map(|text| text.id).collect();
        messages::drop_second_tries_of(conn, &ids, now).await?;
    }
    events.extend(arrived.iter().filter_map(news_of_arrival));
    if !events.is_empty() {
        events::insert(conn, &events, now).await?;
    }
    alerts::raise(conn, &alerts, now).await
}

/// Goes on sending once the account has been accepted in an attempt that began at `began_at`. Answers the causes of the
/// alerts that this clears, to be printed after the commit. To be called before [`carry_out`], so that every transaction
/// comes to the row of `sending` before it comes to alerts.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn account_accepted(
    conn: &mut PgConnection,
    began_at: DateTime<Utc>,
    known_by: KnownBy,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    if !sending::unpark(conn, began_at, known_by, now).await? {
        return Ok(Vec::new());
    }
    queue::nudge(conn, Queue::SendMessages).await?;
    // Whenever it last showed, by whoever's clock: the row of `sending` is locked, so nobody is raising it.
    alerts::clear_quiet(conn, &["account:"], now + TimeDelta::days(1), now).await
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
            since: Since::default(),
        }
    }

    /// Each consequence in a word.
    fn words(failed: &Failed) -> Vec<String> {
        let word = |consequence: Consequence| match consequence {
            Consequence::Park { .. } => "park".to_owned(),
            Consequence::Tell(event) => event.payload.kind().to_owned(),
            Consequence::TryAgain { at, .. } => format!("again after {}", (at - DateTime::UNIX_EPOCH).num_minutes()),
            Consequence::Raise(alert) => alert.cause,
        };
        of(failed, DateTime::UNIX_EPOCH).into_iter().map(word).collect()
    }

    #[test]
    fn what_matters_is_tried_once_more_if_its_code_allows_and_then_raised() {
        let ready = TextKind::NumberReady;
        assert_eq!(words(&failed(ready, 30003, true)), ["again after 120"]);
        let second = Failed { second_try: true, ..failed(ready, 30003, true) };
        assert_eq!(words(&second), ["undelivered:number_ready:c"]);
        assert_eq!(words(&failed(ready, 30410, true)), ["undelivered:number_ready:c"], "it may have arrived");
        assert_eq!(words(&failed(ready, 30005, true)), ["unreachable", "undelivered:number_ready:c"]);
        assert_eq!(words(&failed(ready, 21617, false)), ["refused:21617", "undelivered:number_ready:c"]);
        assert_eq!(words(&failed(ready, 21610, true)), ["opted_out"], "who opted out is left alone");
        assert!(words(&failed(TextKind::Welcome, 30003, true)).is_empty(), "whoever misses a question asks again");
    }

    #[test]
    fn what_happened_since_has_the_last_word() {
        let went_on = Since { went_on: true, opted_in: false };
        for code in [30003, 30005, 30410] {
            let overtaken = Failed { since: went_on, ..failed(TextKind::PaymentRequired, code, true) };
            assert!(words(&overtaken).is_empty(), "{code}");
        }
        let back = Failed { since: Since { went_on: true, opted_in: true }, ..failed(TextKind::Welcome, 21610, true) };
        assert!(words(&back).is_empty());
        let still_out = Failed { since: went_on, ..failed(TextKind::Welcome, 21610, true) };
        assert_eq!(words(&still_out), ["opted_out"]);
    }

    #[test]
    fn only_who_was_said_to_be_out_of_reach_is_said_to_be_reached() {
        let after = |code, is_for_a_client| {
            let class_before = errors::class_of(Some(code));
            news_of_arrival(&Arrived { id: 7, is_for_a_client, to: "+447900000001".to_owned(), class_before })
        };
        assert_eq!(after(30005, true).map(|event| event.external_id), Some("reached:7".to_owned()));
        assert!(after(30003, true).is_none() && after(30005, false).is_none());
    }

    #[test]
    fn each_class_has_its_consequence() {
        let hi = TextKind::Welcome;
        assert_eq!(words(&failed(hi, 20003, false)), ["park"]);
        assert_eq!(words(&failed(hi, 30002, true)), ["park", "again after 10"], "every text, not only what matters");
        let old = Failed { began_at: DateTime::UNIX_EPOCH - TimeDelta::hours(1), ..failed(hi, 30002, true) };
        assert_eq!(words(&old), ["again after 10"], "and does not stop everybody");
        let again = Failed { second_try: true, ..failed(hi, 30002, true) };
        assert_eq!(words(&again), ["park", "again after 10"], "as often as it takes");
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
