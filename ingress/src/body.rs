//! Reading the body of a webhook before it is verified.
//!
//! An unverified body may come from any sender. So a request without a signature is refused before its body is read, and the bytes
//! of the bodies that are arriving are counted and limited.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::rejection::Rejection;
use crate::server::Client;

/// The first bytes of each body, which are not counted: nearly every text fits into them. The limit on connections bounds them, so
/// a flood of large bodies keeps no text out.
const UNCOUNTED: usize = 8 * 1024;

/// The bytes available to unverified bodies of one kind of webhook.
#[derive(Debug)]
pub(crate) struct Room {
    /// The largest body, in bytes.
    largest: usize,
    bytes: Semaphore,
}

/// A body, and the room that it takes. Dropping it gives the room back, so it is dropped once the body is verified.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    pub(crate) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

impl Room {
    /// Returns room for `bytes` bytes in all, in bodies of at most `largest` bytes.
    pub(crate) const fn new(largest: usize, bytes: usize) -> Self {
        Self { largest, bytes: Semaphore::const_new(bytes) }
    }

    /// Reads a body to its end. Bytes are counted as they arrive, so a length that is only claimed reserves nothing.
    pub(crate) async fn read(&self, mut body: Body, client: Option<&Arc<Client>>) -> Result<Unverified<'_>, Rejection> {
        if body.size_hint().lower() > u64::try_from(self.largest).unwrap_or(u64::MAX) {
            return Err(Rejection::TooLarge);
        }
        let (mut first, mut rest, mut room) = (Bytes::new(), Vec::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(data) = frame.map_err(|_| Rejection::BrokenOff)?.into_data() else {
                continue;
            };
            let before = first.len() + rest.len();
            self.count(before, before + data.len(), &mut room)?;
            if before == 0 {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if let Some(client) = client {
            client.has_asked();
        }
        let bytes = if rest.is_empty() { first } else { [first.as_ref(), &rest].concat().into() };
        Ok(Unverified { bytes, _room: room })
    }

    /// Takes the room for the bytes by which a body has grown beyond [`UNCOUNTED`].
    fn count<'a>(
        &'a self,
        before: usize,
        after: usize,
        room: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<(), Rejection> {
        if after > self.largest {
            return Err(Rejection::TooLarge);
        }
        let more = after.saturating_sub(UNCOUNTED) - before.saturating_sub(UNCOUNTED);
        if more == 0 {
            return Ok(());
        }
        let more =
            self.bytes.try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX)).map_err(|_| Rejection::NoRoom)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 4 * UNCOUNTED;

    fn body(bytes: usize) -> Body {
        Body::from(vec![b'a'; bytes])
    }

    #[tokio::test]
    async fn unverified_bodies_are_limited_in_size_and_in_total() {
        let room = Room::new(LARGEST, 4 * UNCOUNTED);
        let one = room.read(body(LARGEST), None).await.unwrap();
        assert_eq!(one.bytes.len(), LARGEST);
        assert!(matches!(room.read(body(LARGEST), None).await, Err(Rejection::NoRoom)));
        let small = room.read(body(UNCOUNTED), None).await.unwrap();
        assert_eq!(small.bytes.len(), UNCOUNTED, "a usual text is not kept out");
        drop(one);
        assert!(room.read(body(LARGEST), None).await.is_ok(), "verified, it takes no room");
        assert!(matches!(room.read(body(LARGEST + 1), None).await, Err(Rejection::TooLarge)));
    }
}
