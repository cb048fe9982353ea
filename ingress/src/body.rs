//! Reading the body of a webhook before it is verified.
//!
//! Any sender may send an unverified body. So a request without a signature is refused before its body is read, and the bytes of
//! the bodies that are arriving are counted and limited. This module never looks into a body.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::rejection::Rejection;
use crate::server::Connection;

/// The first bytes of each body, which are not counted: nearly every text fits into them, so a flood of large bodies keeps no
/// text out. The limit on connections bounds them.
const UNCOUNTED_BYTES: usize = 8 * 1024;

/// The limits on unverified bodies of one kind of webhook: on the bytes of each, and on the bytes of all that are arriving.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    body_bytes_max: usize,
    bytes: Semaphore,
}

/// A body, and its share of the budget. Dropping it returns the share, so it is dropped once the body is verified.
#[derive(Debug)]
pub(crate) struct UnverifiedBody<'a> {
    pub(crate) bytes: Bytes,
    _permit: Option<SemaphorePermit<'a>>,
}

impl BodyBudget {
    /// Returns a budget of `bytes` bytes in all, for bodies of at most `body_bytes_max` bytes.
    pub(crate) const fn new(body_bytes_max: usize, bytes: usize) -> Self {
        Self { body_bytes_max, bytes: Semaphore::const_new(bytes) }
    }

    /// Reads a body to its end. Bytes are counted as they arrive, so a `Content-Length` alone reserves nothing.
    pub(crate) async fn read(
        &self,
        mut body: Body,
        connection: Option<&Arc<Connection>>,
    ) -> Result<UnverifiedBody<'_>, Rejection> {
        if body.size_hint().lower() > u64::try_from(self.body_bytes_max).unwrap_or(u64::MAX) {
            return Err(Rejection::PayloadTooLarge);
        }
        let (mut first, mut rest, mut permit) = (Bytes::new(), Vec::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(data) = frame.map_err(|_| Rejection::BodyIncomplete)?.into_data() else {
                continue;
            };
            let before = first.len() + rest.len();
            self.reserve(before, before + data.len(), &mut permit)?;
            if before == 0 {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if let Some(connection) = connection {
            connection.mark_request_received();
        }
        let bytes = if rest.is_empty() { first } else { [first.as_ref(), &rest].concat().into() };
        Ok(UnverifiedBody { bytes, _permit: permit })
    }

    /// Takes the bytes by which a body has grown beyond [`UNCOUNTED_BYTES`] from the budget.
    fn reserve<'a>(
        &'a self,
        before: usize,
        after: usize,
        permit: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<(), Rejection> {
        if after > self.body_bytes_max {
            return Err(Rejection::PayloadTooLarge);
        }
        let more = after.saturating_sub(UNCOUNTED_BYTES) - before.saturating_sub(UNCOUNTED_BYTES);
        if more == 0 {
            return Ok(());
        }
        let more = self.bytes.try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX));
        let more = more.map_err(|_| Rejection::BodyBudgetExhausted)?;
        match permit {
            Some(permit) => permit.merge(more),
            None => *permit = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_BYTES_MAX: usize = 4 * UNCOUNTED_BYTES;

    fn body(bytes: usize) -> Body {
        Body::from(vec![b'a'; bytes])
    }

    #[tokio::test]
    async fn unverified_bodies_are_limited_in_size_and_in_total() {
        let budget = BodyBudget::new(BODY_BYTES_MAX, 4 * UNCOUNTED_BYTES);
        let one = budget.read(body(BODY_BYTES_MAX), None).await.unwrap();
        assert_eq!(one.bytes.len(), BODY_BYTES_MAX);
        assert!(matches!(budget.read(body(BODY_BYTES_MAX), None).await, Err(Rejection::BodyBudgetExhausted)));
        let small = budget.read(body(UNCOUNTED_BYTES), None).await.unwrap();
        assert_eq!(small.bytes.len(), UNCOUNTED_BYTES, "a usual text is not kept out");
        drop(one);
        assert!(budget.read(body(BODY_BYTES_MAX), None).await.is_ok(), "verified, it takes none of the budget");
        assert!(matches!(budget.read(body(BODY_BYTES_MAX + 1), None).await, Err(Rejection::PayloadTooLarge)));
    }
}
