//! What every job needs at hand.

use std::time::Duration;

use chrono::TimeDelta;
use jobrun_onboarding::E164;
use jobrun_shared::clock;
use jobrun_shared::db::{self, Halves};
use jobrun_shared::twilio::api::Api;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// How long a job goes on before it leaves the rest to another, so that the queue sees that its workers are alive.
const TURN: TimeDelta = TimeDelta::seconds(5);

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
    /// Set when the process is to end: jobs finish the slice in hand, and begin no other.
    pub(crate) stop: CancellationToken,
}

impl Hands {
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

/// Does `work` with all of `items` in one transaction. Where that fails because of their rows, it is done again with halves of
/// them, so that one bad row costs only itself: it is left to `put_off`, and counts as done. Answers how much was done.
pub(crate) async fn in_halves<'a, T, W, P>(
    items: &'a [T],
    mut work: impl FnMut(&'a [T]) -> W + Send,
    mut put_off: impl FnMut(&'a T, db::Error) -> P + Send,
) -> Result<usize, db::Error>
where
    T: Sync,
    W: Future<Output = Result<usize, db::Error>> + Send,
    P: Future<Output = Result<(), db::Error>> + Send,
{
    let mut done = 0;
    let mut parts = Halves::of(items);
    while let Some(part) = parts.next_part() {
        match work(part).await {
            Err(error) if error.is_of_the_rows() => {
                if let Some(alone) = parts.halve(part) {
                    put_off(alone, error).await?;
                    done += 1;
                }
            }
            count => done += count?,
        }
    }
    Ok(done)
}
