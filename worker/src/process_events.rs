//! The job `process-events`: looks at what waits in the inbox until nothing does.
//!
//! It takes slices. What somebody else has locked is passed over, and never lost: whoever holds a lock looks again after
//! giving it up, and only ends when it finds nothing.

use jobrun_shared::{clock, db, db::events};

use crate::hands::Hands;
use crate::{conversations, delivery_reports, strays};

/// How many waiting events are looked at together.
const SLICE: i64 = 200;

pub(crate) async fn run(hands: &Hands) -> Result<(), db::Error> {
    while !hands.stop.is_cancelled() {
        let mut conn = hands.pool.acquire().await?;
        let oldest = events::list_oldest(&mut conn, clock::now(), SLICE).await?;
        drop(conn);
        if oldest.is_empty() {
            break;
        }
        let processed = conversations::process(hands, &oldest).await?
            + delivery_reports::process(hands, &oldest).await?
            + strays::process(hands, &oldest).await?;
        if processed == 0 {
            break;
        }
    }
    Ok(())
}
