//! What every job needs at hand.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{E164, can_hold_a_conversation};
use jobrun_shared::db::events::{self, Payload, Waiting};
use jobrun_shared::db::{self, Halves, Health, Patience, blockers};
use jobrun_shared::twilio::api::Api;
use jobrun_shared::{clock, telemetry};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How long a job goes on before it leaves the rest to another, so that the queue sees that its workers are alive.
const TURN: TimeDelta = TimeDelta::seconds(5);

/// How often it is looked for who holds locks, at most.
const BLOCKERS_LOOKED_FOR_EVERY: TimeDelta = TimeDelta::seconds(1);

/// What a job that has ended has left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing that it could have done.
    Nothing,
    /// There may be more to do.
    Something,
}

/// What every job needs at hand.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    /// The rows.
    pub(crate) pool: PgPool,
    /// Whether the connections to the rows are to be trusted.
    pub(crate) health: Health,
    /// The account at Twilio.
    pub(crate) twilio: Api,
    /// The number that clients text, and that texts come from.
    pub(crate) onboarding_number: E164,
    /// Where clients pay, before each one's reference is added; nothing, if no link has been set up yet.
    pub(crate) payment_link: Option<String>,
    /// How long a number is kept free for a waiting client.
    pub(crate) hold: Duration,
    /// How long a number is kept from others after its client has gone.
    pub(crate) cooling: Duration,
    /// How often a sweep runs on schedule.
    pub(crate) sweep_interval: Duration,
    /// How often Twilio's list of texts that came in is compared with the inbox.
    pub(crate) audit_interval: Duration,
    /// How many segments each of our numbers sends a second at most.
    pub(crate) segments_per_second: u32,
    /// Fewer numbers of a region that nobody has a claim on than this are too few; 0 for never.
    pub(crate) pool_level_min: u32,
    /// How many clients, texts or reports share a transaction at most.
    pub(crate) slice_max: u32,
    /// How long what is over is kept; nothing, if for ever.
    pub(crate) retention: Duration,
    /// When it was last looked for who holds locks.
    pub(crate) blockers_looked_for_at: Arc<Mutex<Option<DateTime<Utc>>>>,
    /// Set when the process is to end: jobs finish the slice in hand, and begin no other.
    pub(crate) stop: CancellationToken,
}

impl Hands {
    /// The phone that a text to the onboarding number comes from, if it can hold a conversation: such a text makes its sender
    /// a client, now or when that is tried again, and never belongs to nobody.
    pub(crate) fn newcomer(&self, event: &Waiting) -> Option<E164> {
        match &event.payload {
            Some(Payload::Text { from, to, .. }) if to == self.onboarding_number.as_str() => {
                E164::parse(from).ok().filter(can_hold_a_conversation)
            }
            _ => None,
        }
    }

    /// Puts off the events of `lane`, which failed alone: for `refused_for` if their rows are refused, and for less if only a
    /// lock was not to be had, of which the operator is told. `waiting_since` is when the first of them arrived.
    pub(crate) async fn put_off(
        &self,
        lane: &str,
        error: &db::Error,
        refused_for: TimeDelta,
        waiting_since: DateTime<Utc>,
    ) -> Result<(), db::Error> {
        if error.is_lock_timeout() {
            self.alert_of_blockers().await;
        }
        let now = clock::now();
        events::put_off(&self.pool, lane, now + put_off_for(error, refused_for, waiting_since, now)).await
    }

    /// Does `work`, and fails at once when the connections to the database are given up meanwhile.
    pub(crate) async fn unless_lost<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, db::Error>
    where
        db::Error: From<E>,
    {
        Ok(self.health.unless_lost(work).await??)
    }

    /// Tells the operator which sessions hold locks for long. Best effort, and once a second at most: what waits for them is
    /// looked at again anyway.
    pub(crate) async fn alert_of_blockers(&self) {
        let now = clock::now();
        let mut looked_at = self.blockers_looked_for_at.lock().await;
        if looked_at.is_some_and(|at| now - at < BLOCKERS_LOOKED_FOR_EVERY) {
            return;
        }
        *looked_at = Some(now);
        drop(looked_at);
        let alerting = async {
            let mut tx = self.pool.begin().await?;
            let raised = blockers::alert(&mut tx, now).await?;
            tx.commit().await?;
            Ok::<_, db::Error>(raised)
        };
        match alerting.await {
            Ok(raised) => telemetry::raised(&raised),
            Err(error) => tracing::warn!(%error, "cannot find out which sessions hold locks"),
        }
    }

    /// Does `slice` again and again, until it answers that it found nothing to do, or the job's turn is over.
    pub(crate) async fn take_turn<S, E>(&self, mut slice: impl FnMut() -> S + Send) -> Result<Left, E>
    where
        S: Future<Output = Result<usize, E>> + Send,
    {
        let end = clock::now() + TURN;
        while !self.stop.is_cancelled() && clock::now() < end {
            if slice().await? == 0 {
                return Ok(Left::Nothing);
            }
        }
        Ok(Left::Something)
    }
}

/// Where this many items in a row wait in vain for a lock, everything is probably locked.
const LOCKED_IN_A_ROW_MAX: usize = 20;

/// A lane whose lock was not to be had is looked at again after this long at first; the longer it has waited already, the less
/// often.
pub(crate) const LOCKED_FOR_MIN: TimeDelta = TimeDelta::seconds(1);
const LOCKED_FOR_MAX: TimeDelta = TimeDelta::seconds(15);

/// Does `work` with all of `items` in one transaction. Where that fails because of their rows, it is done again with halves of
/// them, so that one bad row costs only itself. Where a lock is not to be had in time, it is done with each alone, and from
/// then on without patience; and when that has failed for many in a row, the rest is not tried. What fails alone, or is not
/// tried, is left to `put_off`, and counts as done. Returns how much was done.
pub(crate) async fn in_halves<'a, T, W, P>(
    items: &'a [T],
    mut work: impl FnMut(&'a [T], Patience) -> W + Send,
    mut put_off: impl FnMut(&'a T, Arc<db::Error>) -> P + Send,
) -> Result<usize, db::Error>
where
    T: Sync,
    W: Future<Output = Result<usize, db::Error>> + Send,
    P: Future<Output = Result<(), db::Error>> + Send,
{
    let (mut done, mut locked_in_a_row, mut patience) = (0, 0, Patience::Usual);
    let mut parts = Halves::of(items);
    while let Some(part) = parts.next_part() {
        let (alone, error) = match work(part, patience).await {
            Err(error) if error.is_of_the_rows() => (parts.halve(part), error),
            Err(error) if error.is_lock_timeout() => {
                patience = Patience::Short;
                locked_in_a_row += 1;
                (parts.split(part), error)
            }
            count => {
                locked_in_a_row = 0;
                done += count?;
                continue;
            }
        };
        let error = Arc::new(error);
        if let Some(alone) = alone {
            put_off(alone, Arc::clone(&error)).await?;
            done += 1;
        }
        if locked_in_a_row > LOCKED_IN_A_ROW_MAX {
            while let Some(part) = parts.next_part() {
                for item in part {
                    put_off(item, Arc::clone(&error)).await?;
                }
                done += part.len();
            }
        }
    }
    Ok(done)
}

/// How long events wait that failed alone. A lock that was not to be had may be given up at any time.
fn put_off_for(
    error: &db::Error,
    refused_for: TimeDelta,
    waiting_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> TimeDelta {
    if error.is_lock_timeout() {
        ((now - waiting_since) / 2).clamp(LOCKED_FOR_MIN, LOCKED_FOR_MAX)
    } else {
        refused_for
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What PostgreSQL answers when a lock was not to be had in time.
    #[derive(Debug)]
    struct LockTimeout;

    impl std::fmt::Display for LockTimeout {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("canceling statement due to lock timeout")
        }
    }

    impl std::error::Error for LockTimeout {}

    impl DatabaseError for LockTimeout {
        fn message(&self) -> &'static str {
            "canceling statement due to lock timeout"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some("55P03".into())
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn lock_timeout() -> db::Error {
        sqlx::Error::Database(Box::new(LockTimeout)).into()
    }

    /// Does `items`, of which those in `locked` are locked. Returns the parts that were tried, each with its patience, and what
    /// was put off.
    async fn tried(items: &[i32], locked: &[i32]) -> (Vec<(Vec<i32>, Patience)>, Vec<i32>, Result<usize, db::Error>) {
        let (mut parts, mut left) = (Vec::new(), Vec::new());
        let work = |part: &[i32], patience| {
            parts.push((part.to_vec(), patience));
            let (count, is_locked) = (part.len(), part.iter().any(|item| locked.contains(item)));
            async move { if is_locked { Err(lock_timeout()) } else { Ok(count) } }
        };
        let put_off = |item: &i32, _| {
            left.push(*item);
            async { Ok(()) }
        };
        let done = in_halves(items, work, put_off).await;
        (parts, left, done)
    }

    #[tokio::test]
    async fn a_lock_that_is_not_to_be_had_costs_only_what_needs_it() {
        let (parts, put_off, done) = tried(&[1, 2, 3, 4], &[3]).await;
        let each = [1, 2, 3, 4].map(|item| (vec![item], Patience::Short));
        assert_eq!(parts.first(), Some(&(vec![1, 2, 3, 4], Patience::Usual)));
        assert_eq!(parts[1..], each);
        assert_eq!((put_off, done.ok()), (vec![3], Some(4)));
    }

    #[tokio::test]
    async fn however_much_is_locked_only_the_first_is_waited_for_with_patience() {
        let all: Vec<i32> = (0..20).collect();
        let (parts, put_off, done) = tried(&all, &all[..19]).await;
        assert_eq!(parts.iter().filter(|(_, patience)| *patience == Patience::Usual).count(), 1);
        assert_eq!((put_off.len(), done.ok()), (19, Some(20)), "and the last is done in the same turn");
    }

    #[tokio::test]
    async fn where_everything_is_locked_not_everything_is_tried() {
        let all: Vec<i32> = (0..100).collect();
        let (parts, put_off, done) = tried(&all, &all).await;
        assert_eq!(parts.len(), LOCKED_IN_A_ROW_MAX + 1);
        assert_eq!((put_off, done.ok()), (all, Some(100)));
    }

    #[test]
    fn what_waits_long_for_a_lock_is_looked_at_less_often() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let refused = db::Error::UnreadableNumber;
        assert_eq!(put_off_for(&refused, TimeDelta::seconds(60), now, now), TimeDelta::seconds(60));
        for (waited, wait) in [(0, 1), (10, 5), (3_600, 15)] {
            let since = now - TimeDelta::seconds(waited);
            assert_eq!(put_off_for(&lock_timeout(), TimeDelta::seconds(60), since, now), TimeDelta::seconds(wait));
        }
    }
}
