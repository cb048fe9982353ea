//! Work done in batches, in which an item that fails costs only itself.
//!
//! [`run_bisecting`] does a batch in one transaction. If its rows are refused, the batch is done again in halves. If a lock is not
//! released in time, each item is done alone, and waits for locks only briefly from then on. If many in a row wait in vain, the
//! rest is not tried.

use std::sync::Arc;

use jobrun_shared::db::{self, Bisect, Patience};
use jobrun_shared::metrics;

/// If this many items in a row wait in vain for a lock, everything is probably locked.
const LOCK_TIMEOUTS_MAX: usize = 20;

/// Does `work` with `items`, as the module describes. An item that fails alone, or is not tried, is left to `defer`, and counts as
/// done. Returns how much was done.
///
/// # Errors
/// Those of `work` that concern neither its rows nor a lock, and those of `defer`.
pub(crate) async fn run_bisecting<'a, T, W, P>(
    items: &'a [T],
    mut work: impl FnMut(&'a [T], Patience) -> W + Send,
    mut defer: impl FnMut(&'a T, Arc<db::Error>) -> P + Send,
) -> Result<usize, db::Error>
where
    T: Sync,
    W: Future<Output = Result<usize, db::Error>> + Send,
    P: Future<Output = Result<(), db::Error>> + Send,
{
    let (mut done, mut locked_in_a_row, mut patience) = (0, 0, Patience::Usual);
    let mut parts = Bisect::of(items);
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
        metrics::db_error(&error);
        let error = Arc::new(error);
        if let Some(alone) = alone {
            defer(alone, Arc::clone(&error)).await?;
            done += 1;
        }
        if locked_in_a_row > LOCK_TIMEOUTS_MAX {
            while let Some(part) = parts.next_part() {
                for item in part {
                    defer(item, Arc::clone(&error)).await?;
                }
                done += part.len();
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::borrow::Cow;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// PostgreSQL's error when a lock is not released in time.
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

    pub(crate) fn lock_timeout() -> db::Error {
        sqlx::Error::Database(Box::new(LockTimeout)).into()
    }

    /// Runs `items`, of which those in `locked` are locked. Returns the parts that were tried, each with its patience, then the
    /// deferred items, and the result.
    async fn tried(items: &[i32], locked: &[i32]) -> (Vec<(Vec<i32>, Patience)>, Vec<i32>, Result<usize, db::Error>) {
        let (mut parts, mut deferred) = (Vec::new(), Vec::new());
        let work = |part: &[i32], patience| {
            parts.push((part.to_vec(), patience));
            let (count, is_locked) = (part.len(), part.iter().any(|item| locked.contains(item)));
            async move { if is_locked { Err(lock_timeout()) } else { Ok(count) } }
        };
        let defer = |item: &i32, _| {
            deferred.push(*item);
            async { Ok(()) }
        };
        let done = run_bisecting(items, work, defer).await;
        (parts, deferred, done)
    }

    #[tokio::test]
    async fn a_lock_timeout_defers_only_the_item_that_needs_the_lock() {
        let (parts, defer, done) = tried(&[1, 2, 3, 4], &[3]).await;
        let each = [1, 2, 3, 4].map(|item| (vec![item], Patience::Short));
        assert_eq!(parts.first(), Some(&(vec![1, 2, 3, 4], Patience::Usual)));
        assert_eq!(parts[1..], each);
        assert_eq!((defer, done.ok()), (vec![3], Some(4)));
    }

    #[tokio::test]
    async fn only_the_first_locked_part_is_waited_for_with_the_usual_patience() {
        let all: Vec<i32> = (0..20).collect();
        let (parts, defer, done) = tried(&all, &all[..19]).await;
        assert_eq!(parts.iter().filter(|(_, patience)| *patience == Patience::Usual).count(), 1);
        assert_eq!((defer.len(), done.ok()), (19, Some(20)), "and the last is done in the same run");
    }

    #[tokio::test]
    async fn after_many_lock_timeouts_in_a_row_the_rest_is_deferred_untried() {
        let all: Vec<i32> = (0..100).collect();
        let (parts, defer, done) = tried(&all, &all).await;
        assert_eq!(parts.len(), LOCK_TIMEOUTS_MAX + 1);
        assert_eq!((defer, done.ok()), (all, Some(100)));
    }
}
