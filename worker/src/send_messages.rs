//! The job `send-messages`: hands texts to Twilio until none is due.
//!
//! Claim, call, record: no transaction is open while anything crosses the network. Creating a message is not idempotent, so
//! a text that may have been taken is looked for, twice and some time apart, before it is sent again.

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use jobrun_shared::db::messages::{self, Fate, LOOK_AGAIN_AFTER, Outcome, Outgoing};
use jobrun_shared::twilio::api::Posted;
use jobrun_shared::{clock, db};

use crate::hands::{Hands, Left};

/// How many texts one job has under way at a time.
const SLICE: usize = 10;

/// A text claimed longer ago than this is not posted any more: the process may have been asleep, and somebody else may think
/// that it is dead. Much shorter than [`messages::ATTEMPT_ENDS_WITHIN`].
const CLAIM_GOES_STALE_AFTER: TimeDelta = TimeDelta::seconds(2);

/// How often a text is looked for in vain before it counts as never sent.
const LOOKS_MAX: i32 = 2;

pub(crate) async fn run(hands: &Hands) -> Result<Left, db::Error> {
    hands.take_turn(|| slice(hands)).await
}

async fn slice(hands: &Hands) -> Result<usize, db::Error> {
    Ok(send_due(hands).await? + look_for_unknown(hands).await?)
}

async fn send_due(hands: &Hands) -> Result<usize, db::Error> {
    let claimed = messages::claim(&hands.pool, clock::now(), SLICE as i64).await?;
    let count = claimed.len();
    // Recorded as they come: a slow answer does not hold up what the others have to say.
    let mut outcomes = futures::stream::iter(claimed)
        .map(|message| attempt(hands, message))
        .buffer_unordered(SLICE)
        .ready_chunks(SLICE);
    let mut recorded = Ok(());
    while let Some(outcomes) = outcomes.next().await {
        // A failure does not keep the others from being posted to the end, and recorded if that is possible.
        recorded = record(hands, &outcomes).await.and(recorded);
    }
    recorded.map(|()| count)
}

async fn record(hands: &Hands, outcomes: &[Outcome]) -> Result<(), db::Error> {
    let late = messages::record(&hands.pool, outcomes, clock::now()).await?;
    if late > 0 {
        tracing::error!(late, "attempts were given up by others before they ended");
    }
    Ok(())
}

async fn attempt(hands: &Hands, message: Outgoing) -> Outcome {
    let fate = if clock::now() - message.attempted_at > CLAIM_GOES_STALE_AFTER {
        Fate::NotSent { retry_at: clock::now(), why: "the claim went stale before the text was posted".to_owned() }
    } else {
        let posted = hands.twilio.create_message(message.id, &message.from, &message.to, &message.body).await;
        fate(&message, posted, clock::now())
    };
    log(&message, &fate);
    Outcome { message_id: message.id, attempt: message.attempts, fate }
}

fn fate(message: &Outgoing, posted: Posted, now: DateTime<Utc>) -> Fate {
    match posted {
        Posted::Accepted { sid } => Fate::Sent { sid },
        Posted::NotTaken { why, retry_after } => {
            let asked = retry_after.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default();
            Fate::NotSent { retry_at: now + asked.max(delay_before_retry(message)), why }
        }
        Posted::Unknown { why } => Fate::Unknown { look_at: now, why },
        Posted::Refused { code, why } => Fate::Refused { code, why },
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
        Fate::NotFound { .. } => tracing::info!(message_id = id, attempt, "a text was not found yet: looking again"),
        Fate::Refused { why, .. } => tracing::error!(message_id = id, attempt, why, "a text was refused"),
    }
}

async fn look_for_unknown(hands: &Hands) -> Result<usize, db::Error> {
    let claimed = messages::claim_unknown(&hands.pool, clock::now(), SLICE as i64).await?;
    let count = claimed.len();
    let mut looks = futures::stream::iter(claimed)
        .map(|message| async move { (look_for(hands, &message).await, message) })
        .buffer_unordered(SLICE);
    while let Some((fate, message)) = looks.next().await {
        if let Some(fate) = fate? {
            log(&message, &fate);
            record(hands, &[Outcome { message_id: message.id, attempt: message.attempts, fate }]).await?;
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
            to: String::new(),
            from: String::new(),
            body: String::new(),
            attempts,
            attempted_at: DateTime::UNIX_EPOCH,
            looks: 0,
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
