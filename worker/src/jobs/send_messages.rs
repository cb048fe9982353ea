//! The job `send-messages`: hands texts to Twilio until none is due.
//!
//! It claims, posts and records: no transaction is open during a request to Twilio. Creating a message is not idempotent, so a text
//! that Twilio may have taken is looked for, twice and some time apart, before it is sent again. While Twilio refuses the account,
//! only one text now and then is sent as a probe, and no attempt counts.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use jobrun_onboarding::TextKind;
use jobrun_shared::alerts::{Kind, cause_of_code};
use jobrun_shared::db::outbox::pace::KnownBy;
use jobrun_shared::db::outbox::{self, AttemptOutcome, LaterActivity, Outgoing, SendResult};
use jobrun_shared::db::{self, Patience, alerts};
use jobrun_shared::queue::Queue;
use jobrun_shared::traces::Span;
use jobrun_shared::{clock, metrics, telemetry};
use jobrun_twilio::api::{Post, Posted};
use jobrun_twilio::errors::{self, Class};

use crate::batch::run_bisecting;
use crate::claim;
use crate::context::{JobContext, Progress};
use crate::lookup;
use crate::pace::delay_before_retry;
use crate::send_failures::{self, Failed};

/// The largest number of texts that one job has under way at a time, each on a connection of its own.
const CONCURRENT_POSTS_MAX: usize = 100;

/// The number of texts that one job looks for at a time. Each needs a list of Twilio's.
const LOOKUPS_MAX: usize = 10;

/// A text claimed longer ago than this is not posted any more: the process may have been suspended, and another worker may take it
/// for dead. Much shorter than [`claim::ATTEMPT_ENDS_WITHIN`].
const CLAIM_GOES_STALE_AFTER: TimeDelta = TimeDelta::seconds(2);

/// The delay of a text that was refused because of the account. Another text is the next probe, in case it is this text that is
/// refused and not the account.
const REFUSED_PROBE_DELAY: TimeDelta = TimeDelta::seconds(25);

/// The delay of a text that waits until the operator corrects a setting.
const CONFIGURATION_RETRY_DELAY: TimeDelta = TimeDelta::minutes(5);

pub(crate) async fn run(context: &JobContext) -> Result<Progress, db::Error> {
    context.run_until_drained(|| batch(context)).await
}

async fn batch(context: &JobContext) -> Result<usize, db::Error> {
    Ok(send_due(context).await? + look_for_unknown(context).await?)
}

async fn send_due(context: &JobContext) -> Result<usize, db::Error> {
    let limit = concurrent_posts_max(context);
    let claimed = claim::claim_due(&context.pool, clock::now(), limit as i64, context.segments_per_second).await?;
    let count = claimed.len();
    if count == limit {
        // More may be due. Another worker need not wait for the results of these.
        context.announcer.announce(Queue::SendMessages);
    }
    // Results are recorded as they come: a slow response does not delay the others.
    let mut outcomes = futures::stream::iter(claimed)
        .map(|message| attempt(context, message))
        .buffer_unordered(limit)
        .ready_chunks(limit);
    let mut recorded = Ok(());
    while let Some(outcomes) = outcomes.next().await {
        // After a failure, the other requests are still completed, and recorded if that is possible.
        recorded = record(context, outcomes).await.and(recorded);
    }
    recorded.map(|()| count)
}

fn concurrent_posts_max(context: &JobContext) -> usize {
    CONCURRENT_POSTS_MAX.min(context.batch_max as usize)
}

/// Records the results of attempts, and carries out the actions that follow. A batch that fails because of its rows is retried in
/// halves, so that a bad one costs only itself: its text is of unknown outcome, and is looked for.
async fn record(context: &JobContext, mut outcomes: Vec<AttemptOutcome>) -> Result<(), db::Error> {
    // Sorted, so that two transactions lock rows in the same order and never deadlock.
    outcomes.sort_unstable_by_key(|outcome| outcome.message.id);
    let leave = async |alone: &AttemptOutcome, error| {
        tracing::error!(message_id = alone.message.id, %error, "what became of a text cannot be recorded");
        Ok(())
    };
    run_bisecting(&outcomes, |part, patience| record_together(context, part, patience), leave).await?;
    Ok(())
}

async fn record_together(
    context: &JobContext,
    outcomes: &[AttemptOutcome],
    patience: Patience,
) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut tx = db::begin(&context.pool, patience).await?;
    let late = outbox::record(&mut tx, outcomes, now).await?;
    let accepted = outcomes.iter().filter(|outcome| proves_account_accepted(outcome));
    let mut cleared = match accepted.map(|outcome| outcome.message.attempted_at).max() {
        Some(began_at) => send_failures::account_accepted(&mut tx, began_at, KnownBy::Answer, now).await?,
        None => Vec::new(),
    };
    let failed: Vec<Failed> = outcomes.iter().filter_map(as_failed).collect();
    let raised = send_failures::carry_out(&mut tx, &failed, &[], now).await?;
    let over: Vec<String> = outcomes.iter().filter_map(resolved_cause).collect();
    cleared.extend(alerts::clear(&mut tx, &over, now).await?);
    tx.commit().await?;
    if late > 0 {
        tracing::error!(late, "attempts ended too late: others had given them up");
    }
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(outcomes.len())
}

fn as_failed(outcome: &AttemptOutcome) -> Option<Failed> {
    let (class, code, kept) = match &outcome.result {
        SendResult::Refused { class, code, .. } => (*class, *code, false),
        SendResult::Kept { class, code, .. } => (*class, *code, true),
        SendResult::Sent { .. }
        | SendResult::NotSent { .. }
        | SendResult::Unknown { .. }
        | SendResult::NotFound { .. } => return None,
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
        later: LaterActivity::default(),
    })
}

/// Returns the cause of the alert about a setting that is correct again, because a text that waited for it was taken.
fn resolved_cause(outcome: &AttemptOutcome) -> Option<String> {
    let code = outcome.message.waited_for.filter(|_| matches!(outcome.result, SendResult::Sent { .. }))?;
    (errors::class_of(Some(code)) == Class::Configuration).then(|| cause_of_code(Kind::Configuration, Some(code)))
}

/// Returns whether Twilio examined the text itself, and so accepted the account.
fn proves_account_accepted(outcome: &AttemptOutcome) -> bool {
    match &outcome.result {
        SendResult::Sent { .. } | SendResult::Refused { .. } => true,
        SendResult::Kept { class, .. } => *class != Class::Account,
        SendResult::NotSent { .. } | SendResult::Unknown { .. } | SendResult::NotFound { .. } => false,
    }
}

async fn attempt(context: &JobContext, message: Outgoing) -> AttemptOutcome {
    let now = clock::now();
    let span = message.attempt_span();
    let result = if now - message.attempted_at > CLAIM_GOES_STALE_AFTER {
        SendResult::NotSent { retry_at: now, why: "the claim went stale before the text was posted".to_owned() }
    } else {
        let posted = context.twilio.create_message(as_post(&message, now)).await;
        let done_at = clock::now();
        measure(&message, &posted, now, done_at);
        end_span(span, &message, &posted);
        result(&message, posted, done_at)
    };
    log(&message, &result);
    AttemptOutcome { message, result }
}

/// Ends the span of an attempt. One that Twilio did not accept stays marked as failed.
fn end_span(span: Option<Span>, message: &Outgoing, posted: &Posted) {
    let Some(span) = span else { return };
    let span = span.with("attempt", i64::from(message.attempts)).with("outcome", outcome_name(posted));
    if matches!(posted, Posted::Accepted { .. }) {
        span.succeed();
    }
}

fn measure(message: &Outgoing, posted: &Posted, began_at: DateTime<Utc>, done_at: DateTime<Utc>) {
    let since = |at: DateTime<Utc>| (done_at - at).to_std().unwrap_or_default();
    metrics::twilio_request(outcome_name(posted), since(began_at));
    if let (Posted::Accepted { .. }, Some(received_at)) = (posted, message.follows_from) {
        metrics::ack_to_text(since(received_at));
    }
}

/// Returns the outcome of an attempt in a word, as metrics and spans name it.
const fn outcome_name(posted: &Posted) -> &'static str {
    match posted {
        Posted::Accepted { .. } => "accepted",
        Posted::NotTaken { .. } => "not_taken",
        Posted::Unknown { .. } => "unknown",
        Posted::Refused { class, .. } => class.name(),
    }
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

fn result(message: &Outgoing, posted: Posted, now: DateTime<Utc>) -> SendResult {
    match posted {
        Posted::Accepted { sid } => SendResult::Sent { sid },
        Posted::NotTaken { why, retry_after } => {
            let asked = retry_after.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default();
            SendResult::NotSent { retry_at: now + asked.max(delay_before_retry(message.id, message.attempts)), why }
        }
        Posted::Unknown { why } => SendResult::Unknown { look_at: now, why },
        Posted::Refused { class: Class::Account, code, why } => {
            SendResult::Kept { retry_at: now + REFUSED_PROBE_DELAY, class: Class::Account, code, why }
        }
        Posted::Refused { class: Class::Configuration, code, why } => {
            SendResult::Kept { retry_at: now + CONFIGURATION_RETRY_DELAY, class: Class::Configuration, code, why }
        }
        Posted::Refused { class, code, why } => SendResult::Refused { class, code, why },
    }
}

fn log(message: &Outgoing, result: &SendResult) {
    let (id, attempt) = (message.id, message.attempts);
    match result {
        SendResult::Sent { sid } => {
            tracing::debug!(message_id = id, attempt, twilio_sid = sid, "handed a text to Twilio")
        }
        SendResult::NotSent { why, .. } => {
            tracing::warn!(message_id = id, attempt, why, "a text was not taken, and is tried again")
        }
        SendResult::Unknown { why, .. } => {
            tracing::warn!(message_id = id, attempt, why, "a text may have been taken: looking for it")
        }
        SendResult::Kept { why, .. } => {
            tracing::warn!(message_id = id, attempt, why, "a text waits because of the account or a setting")
        }
        SendResult::NotFound { .. } => {
            tracing::info!(message_id = id, attempt, "a text was not found yet: looking again")
        }
        SendResult::Refused { why, .. } => tracing::error!(message_id = id, attempt, why, "a text was refused"),
    }
}

async fn look_for_unknown(context: &JobContext) -> Result<usize, db::Error> {
    let claimed = claim::claim_unknown(&context.pool, clock::now(), LOOKUPS_MAX as i64).await?;
    let count = claimed.len();
    let mut looks = futures::stream::iter(claimed)
        .map(|message| async move { (lookup::find(context, &message).await, message) })
        .buffer_unordered(LOOKUPS_MAX);
    while let Some((result, message)) = looks.next().await {
        if let Some(result) = result? {
            log(&message, &result);
            record(context, vec![AttemptOutcome { message, result }]).await?;
        }
    }
    Ok(count)
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
            follows_from: None,
            traceparent: None,
        }
    }

    #[test]
    fn the_delay_of_retries_grows_and_is_at_least_what_twilio_asks_for() {
        assert!(delay_before_retry(7, 1) >= TimeDelta::seconds(1));
        assert!(delay_before_retry(7, 4) >= TimeDelta::seconds(8));
        assert!(delay_before_retry(7, 60) <= TimeDelta::minutes(10));
        let posted = Posted::NotTaken { why: String::new(), retry_after: Some(std::time::Duration::from_secs(100)) };
        let SendResult::NotSent { retry_at, .. } = result(&message(1), posted, DateTime::UNIX_EPOCH) else {
            panic!("a text that was not taken is tried again");
        };
        assert_eq!(retry_at, DateTime::UNIX_EPOCH + TimeDelta::seconds(100));
    }
}
