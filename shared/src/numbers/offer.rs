//! Offers free numbers to the waiting list.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::free_numbers::can_be_offered;
use jobrun_onboarding::{E164, Text, Wordings, wording};
use sqlx::{PgConnection, PgPool};

use crate::db::{self, clients, numbers, outbox, stops, waiting_list};

/// Makes numbers available that have cooled down, and offers the free numbers to the waiting list. Holds a number for as many
/// waiting clients as there are numbers, for as long as `hold`, and texts each client once. Returns the ids of these clients.
///
/// While sending or conversations are stopped, no number is offered: the client would not hear of it, or its READY would not be
/// answered, and the hold would run out.
///
/// Takes no input but the rows and the settings, so running it by hand, or twice at once, is safe. Takes the exclusive allocation
/// lock, but only if there is something to do. Commits.
pub async fn offer_free(
    pool: &PgPool,
    onboarding_number: &E164,
    wordings: &Wordings,
    hold: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    let mut tx = pool.begin().await?;
    // Usually no client waits and no number has cooled down. Then allocations are not blocked.
    if !numbers::any_cooled(&mut tx, now).await? && waiting_list::list_regions(&mut tx).await?.is_empty() {
        return Ok(Vec::new());
    }
    numbers::lock_allocation_exclusive(&mut tx).await?;
    numbers::cool_down(&mut tx, now).await?;
    waiting_list::remove_served(&mut tx).await?;
    if stops::any(&mut tx).await? {
        tx.commit().await?;
        return Ok(Vec::new());
    }
    let mut offered = Vec::new();
    for region in waiting_list::list_regions(&mut tx).await? {
        offered.extend(offer_in(&mut tx, &region, hold, now).await?);
    }
    queue_text(&mut tx, &offered, onboarding_number, wordings, &wording::number_ready(), now).await?;
    tx.commit().await?;
    Ok(offered)
}

/// Puts the same text to each of the clients `ids` into the outbox, in the language of each. The texts belong to no event.
pub(crate) async fn queue_text(
    conn: &mut PgConnection,
    ids: &[String],
    onboarding_number: &E164,
    wordings: &Wordings,
    text: &Text,
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    let loaded = clients::load(conn, ids).await?.into_iter().filter_map(Result::ok);
    let texts: Vec<outbox::NewMessage> = loaded
        .map(|loaded| outbox::NewMessage {
            to: loaded.client.owner_phone,
            client_id: Some(loaded.client.id),
            event_id: None,
            from: onboarding_number.clone(),
            text: text.write(wordings.of_region(&loaded.region)),
            answered_before: false,
            held_back: false,
            deferred_until: None,
            traceparent: None,
        })
        .collect();
    outbox::insert(conn, &texts, now).await
}

async fn offer_in(
    conn: &mut PgConnection,
    region: &str,
    hold: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    let waiting = waiting_list::list(conn, region).await?;
    let free = numbers::list_free(conn, region, &waiting, &[]).await?;
    let offers = jobrun_onboarding::waiting::offers(free.len(), &can_be_offered(&free, &waiting), now);
    let held_until = now + chrono::TimeDelta::from_std(hold).unwrap_or(chrono::TimeDelta::hours(48));
    waiting_list::save_offers(conn, &offers, now, held_until).await?;
    Ok(offers.offer)
}
