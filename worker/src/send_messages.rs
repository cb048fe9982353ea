//! The job `send-messages`: hands texts to Twilio until none is due.
//!
//! Claim, call, record: no transaction is open while anything crosses the network. Creating a message is not idempotent, so
//! a text that may have been taken is looked for, twice and some time apart, before it is sent again. While Twilio refuses the
//! account, nothing is sent but one text now and then, and no attempt counts.

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use jobrun_onboarding::TextKind;
use jobrun_shared::db::alerts;
use jobrun_shared::db::messages::{self, Fate, LOOK_AGAIN_AFTER, Outcome, Outgoing, Since};
use jobrun_shared::db::sending::KnownBy;
use jobrun_shared::db::{self, Patience};
use jobrun_shared::twilio::api::{Post, Posted};
use jobrun_shared::twilio::errors::{self, Class};
use jobrun_shared::{clock, telemetry};

use crate::consequences::{self, CONFIGURATION, Failed};
use crate::hands::{Hands, Left, in_halves};

/// How many texts one job has under way at a time at most, each on a connection of its own.
const UNDER_WAY_MAX: usize = 100;

/// How many texts one job looks for at a time: each takes a list of Twilio's.
const LOOKED_FOR_AT_ONCE: usize = 10;

/// A text claimed longer ago than this is not posted any more: the process may have been asleep, and somebody else may think
/// that it is dead. Much shorter than [`messages::ATTEMPT_ENDS_WITHIN`].
const CLAIM_GOES_STALE_AFTER: TimeDelta = TimeDelta::seconds(2);

/// How long a text waits that was refused for the account's sake, so that the next probe is another: what is refused may be
/// this one after all.
const ANOTHER_PROBES_FIRST: TimeDelta = TimeDelta::seconds(25);

/// How soon a text is tried again that waits for somebody to set something right.
const WHILE_SOMETHING_IS_MENDED: TimeDelta = TimeDelta::minutes(5);

/// How often a text is looked for in vain before it counts as never sent.
const LOOKS_MAX: i32 = 2;

pub(crate) async fn run(hands: &Hands) -> Result<Left, db::Error> {
    hands.take_turn(|| slice(hands)).await
}

async fn slice(hands: &Hands) -> Result<usize, db::Error> {
    Ok(send_due(hands).await? + look_for_unknown(hands).await?)
}

async fn send_due(hands: &Hands) -> Result<usize, db::Error> {
    let limit = under_way_max(hands);
    let claimed = messages::claim(&hands.pool, clock::now(), limit as i64, hands.segments_per_second).await?;
    let count = claimed.len();
    // Recorded as they come: a slow answer does not hold up what the others have to say.
    let mut outcomes = futures::stream::iter(claimed)
        .map(|message| attempt(hands, message))
        .buffer_unordered(limit)
        .ready_chunks(limit);
    let mut recorded = Ok(());
    while let Some(outcomes) = outcomes.next().await {
        // A failure does not keep the others from being posted to the end, and recorded if that is possible.
        recorded = record(hands, outcomes).await.and(recorded);
    }
    recorded.map(|()| count)
}

fn under_way_max(hands: &Hands) -> usize {
    UNDER_WAY_MAX.min(hands.slice_max as usize)
}

/// Records what became of attempts, and what follows from it. A slice that fails because of its rows is taken again in halves,
/// so that a bad one costs only itself: it is of unknown outcome, and is looked for.
async fn record(hands: &Hands, mut outcomes: Vec<Outcome>) -> Result<(), db::Error> {
    // In one order everywhere, so that two transactions never wait for each other.
    outcomes.sort_unstable_by_key(|outcome| outcome.message.id);
    let leave = async |alone: &Outcome, error| {
        tracing::error!(message_id = alone.message.id, %error, "what became of a text cannot be recorded");
        Ok(())
    };
    in_halves(&outcomes, |part, patience| record_together(hands, part, patience), leave).await?;
    Ok(())
}

async fn record_together(hands: &Hands, outcomes: &[Outcome], patience: Patience) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut tx = db::begin(&hands.pool, patience).await?;
    let late = messages::record(&mut tx, outcomes, now).await?;
    let accepted = outcomes.iter().filter(|outcome| shows_the_account_is_accepted(outcome));
    let mut cleared = match accepted.map(|outcome| outcome.message.attempted_at).max() {
        Some(began_at) => consequences::account_accepted(&mut tx, began_at, KnownBy::Answer, now).await?,
        None => Vec::new(),
    };
    let failed: Vec<Failed> = outcomes.iter().filter_map(as_failed).collect();
    let raised = consequences::carry_out(&mut tx, &failed, &[], now).await?;
    let over: Vec<String> = outcomes.iter().filter_map(cause_that_is_gone).collect();
    cleared.extend(alerts::clear(&mut tx, &over, now).await?);
    tx.commit().await?;
    if late > 0 {
        tracing::error!(late, "attempts were given up by others before they ended");
    }
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(outcomes.len())
}

fn as_failed(outcome: &Outcome) -> Option<Failed> {
    let (class, code, kept) = match &outcome.fate {
        Fate::Refused { class, code, .. } => (*class, *code, false),
        Fate::Kept { class, code, .. } => (*class, *code, true),
        Fate::Sent { .. } | Fate::NotSent { .. } | Fate::Unknown { .. } | Fate::NotFound { .. } => return None,
    };
    let message = &outcome.message;
    Some(Failed {
        id: message.id,
        kind: TextKind::from_name(&message.kind),
        client_id: message.client_id.clone(),
        to: message.to.clone(),
        began_at: message.attempted_at,
        second_try: message.second_try,
        class,
        code,
        kept,
        reported: false,
        since: Since::default(),
    })
}

/// The alert about a setting that was mended, because a text that waited for it was taken.
fn cause_that_is_gone(outcome: &Outcome) -> Option<String> {
    let code = outcome.message.waited_for.filter(|_| matches!(outcome.fate, Fate::Sent { .. }))?;
    (errors::class_of(Some(code)) == Class::Configuration)
        .then(|| consequences::cause_of_code(CONFIGURATION, Some(code)))
}

/// Twilio looked at the text itself, and so let the account in.
fn shows_the_account_is_accepted(outcome: &Outcome) -> bool {
    match &outcome.fate {
        Fate::Sent { .. } | Fate::Refused { .. } => true,
        Fate::Kept { class, .. } => *class != Class::Account,
        Fate::NotSent { .. } | Fate::Unknown { .. } | Fate::NotFound { .. } => false,
    }
}

async fn attempt(hands: &Hands, message: Outgoing) -> Outcome {
    let now = clock::now();
    let fate = if now - message.attempted_at > CLAIM_GOES_STALE_AFTER {
        Fate::NotSent { retry_at: now, why: "the claim went stale before the text was posted".to_owned() }
    } else {
        let posted = hands.twilio.create_message(as_post(&message, now)).await;
        fate(&message, posted, clock::now())
    };
    log(&message, &fate);
    Outcome { message, fate }
}

fn as_post(message: &Outgoing, now: DateTime<Utc>) -> Post<'_> {
    Post {
        message_id: message.id,
        from: &message.from,
        to: &message.to,
        body: &message.body,
        valid_for: message.expires_at.map_or(TimeDelta::hours(4), |at| at - now),
    }
}

fn fate(message: &Outgoing, posted: Posted, now: DateTime<Utc>) -> Fate {
    match posted {
        Posted::Accepted { sid } => Fate::Sent { sid },
        Posted::NotTaken { why, retry_after } => {
            let asked = retry_after.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default();
            Fate::NotSent { retry_at: now + asked.max(delay_before_retry(message)), why }
        }
        Posted::Unknown { why } => Fate::Unknown { look_at: now, why },
        Posted::Refused { class: Class::Account, code, why } => {
            Fate::Kept { retry_at: now + ANOTHER_PROBES_FIRST, class: Class::Account, code, why }
        }
        Posted::Refused { class: Class::Configuration, code, why } => {
            Fate::Kept { retry_at: now + WHILE_SOMETHING_IS_MENDED, class: Class::Configuration, code, why }
        }
        Posted::Refused { class, code, why } => Fate::Refused { class, code, why },
    }
}

/// One second after the first attempt, doubling, at most five minutes; spread, so that texts that failed together do not
/// come back together.
fn delay_before_retry(message: &Outgoing) -> TimeDelta {
    let delays = ExponentialBuilder::new()
        .with_min_delay(std::time::Duration::from_secs(1))
        .with_max_delay(std::time::Duration::from_secs(300))
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(message.id.unsigned_abs());
    let before = usize::try_from(message.attempts - 1).unwrap_or_default();
    delays.build().nth(before).and_then(|delay| TimeDelta::from_std(delay).ok()).unwrap_or(TimeDelta::minutes(5))
}

fn log(message: &Outgoing, fate: &Fate) {
    let (id, attempt) = (message.id, message.attempts);
    match fate {
        Fate::Sent { sid } => tracing::debug!(message_id = id, attempt, twilio_sid = sid, "handed a text to Twilio"),
        Fate::NotSent { why, .. } => {
            tracing::warn!(message_id = id, attempt, why, "a text was not taken, and is tried again")
        }
        Fate::Unknown { why, .. } => {
            tracing::warn!(message_id = id, attempt, why, "a text may have been taken: looking for it")
        }
        Fate::Kept { why, .. } => {
            tracing::warn!(message_id = id, attempt, why, "a text waits, through no fault of its own")
        }
        Fate::NotFound { .. } => tracing::info!(message_id = id, attempt, "a text was not found yet: looking again"),
        Fate::Refused { why, .. } => tracing::error!(message_id = id, attempt, why, "a text was refused"),
    }
}

async fn look_for_unknown(hands: &Hands) -> Result<usize, db::Error> {
    let claimed = messages::claim_unknown(&hands.pool, clock::now(), LOOKED_FOR_AT_ONCE as i64).await?;
    let count = claimed.len();
    let mut looks = futures::stream::iter(claimed)
        .map(|message| async move { (look_for(hands, &message).await, message) })
        .buffer_unordered(LOOKED_FOR_AT_ONCE);
    while let Some((fate, message)) = looks.next().await {
        if let Some(fate) = fate? {
            log(&message, &fate);
            record(hands, vec![Outcome { message, fate }]).await?;
        }
    }
    Ok(count)
}

/// Looks for a text in Twilio's list. Answers nothing if the list cannot be read: then this was no look.
async fn look_for(hands: &Hands, message: &Outgoing) -> Result<Option<Fate>, db::Error> {
    let listed = match hands.twilio.list_messages(&message.from, &message.to).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(message_id = message.id, %error, "cannot look for a text, and will try again");
            return Ok(None);
        }
    };
    let alike: Vec<String> = listed
        .into_iter()
        .filter(|listed| listed.is_attempt(&message.body, message.attempted_at))
        .map(|listed| listed.sid)
        .collect();
    // The same words may have gone to the same person before, in a text of its own.
    let known = messages::list_known_sids(&hands.pool, &alike).await?;
    let now = clock::now();
    let fate = match alike.into_iter().find(|sid| !known.contains(sid)) {
        Some(sid) => Fate::Sent { sid },
        None if message.looks + 1 >= LOOKS_MAX => {
            Fate::NotSent { retry_at: now, why: "Twilio's list does not show the text".to_owned() }
        }
        None => Fate::NotFound { look_at: now + LOOK_AGAIN_AFTER },
    };
    Ok(Some(fate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attempts: i32) -> Outgoing {
        Outgoing {
            id: 7,
            kind: "welcome".to_owned(),
            client_id: None,
            to: String::new(),
            from: String::new(),
            body: String::new(),
            claims: attempts,
            attempts,
            attempted_at: DateTime::UNIX_EPOCH,
            looks: 0,
            expires_at: None,
            second_try: false,
            waited_for: None,
        }
    }

    #[test]
    fn retries_come_later_each_time_and_twilio_s_wish_is_respected() {
        assert!(delay_before_retry(&message(1)) >= TimeDelta::seconds(1));
        assert!(delay_before_retry(&message(4)) >= TimeDelta::seconds(8));
        assert!(delay_before_retry(&message(60)) <= TimeDelta::minutes(10));
        let posted = Posted::NotTaken { why: String::new(), retry_after: Some(std::time::Duration::from_secs(100)) };
        let Fate::NotSent { retry_at, .. } = fate(&message(1), posted, DateTime::UNIX_EPOCH) else {
            panic!("a text that was not taken is tried again");
        };
        assert_eq!(retry_at, DateTime::UNIX_EPOCH + TimeDelta::seconds(100));
    }
}
