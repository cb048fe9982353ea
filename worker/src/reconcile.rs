//! The job `reconcile`: asks Twilio what it knows, and has not told us.
//!
//! Delivery reports get lost, and so do texts that came in while nobody could take them: Twilio does not deliver either
//! again. What is found is filed in the inbox like everything else that happens, once, however often it is found.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::events::{self, NewEvent, Payload, Source, storable};
use jobrun_shared::db::messages::{self, Progress, Unreported};
use jobrun_shared::db::{self, audits, pool};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::twilio::lists::Inbound;
use jobrun_shared::{clock, telemetry};

use crate::hands::{Hands, Left};

/// How many texts are asked about at a time.
const SLICE: usize = 10;

/// How many texts that came in are filed in one transaction.
const FILED_AT_ONCE: usize = 100;

/// As long as Twilio tries to deliver a text: younger ones are on their way to us.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(15);

/// How far each comparison looks back beyond the last one: how soon Twilio's list shows a text is undocumented.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);

/// Texts older than this are not answered any more.
const OLDEST: TimeDelta = TimeDelta::hours(24);

/// The cause of the alert that texts do not reach us by themselves.
const MISSED: &str = "texts-missed";

pub(crate) async fn run(hands: &Hands) -> Result<Left, db::Error> {
    audit(hands).await?;
    hands.take_turn(|| ask_about_unreported(hands)).await
}

async fn ask_about_unreported(hands: &Hands) -> Result<usize, db::Error> {
    let unreported = messages::claim_unreported(&hands.pool, clock::now(), SLICE as i64).await?;
    let asked = unreported.len();
    let answers = futures::stream::iter(unreported).map(|text| ask_about(hands, text)).buffer_unordered(SLICE);
    let reports: Vec<NewEvent> = answers.filter_map(std::future::ready).collect().await;
    if !reports.is_empty() {
        events::record(&hands.pool, &reports, clock::now()).await?;
    }
    Ok(asked)
}

/// The report that Twilio would have sent. Nothing, if the text has not left Twilio yet, or Twilio does not say: the next
/// question is put already.
async fn ask_about(hands: &Hands, text: Unreported) -> Option<NewEvent> {
    let standing = match hands.twilio.find_message(&text.sid).await {
        Ok(standing) => standing?,
        Err(error) => {
            tracing::warn!(message_id = text.id, %error, "cannot find out what became of a text");
            return None;
        }
    };
    (Progress::of_status(&standing.status) >= Progress::Sent).then(|| NewEvent {
        source: Source::System,
        external_id: format!("asked:{}:{}", text.sid, standing.status),
        payload: Payload::DeliveryReport {
            message_id: Some(text.id),
            sid: text.sid,
            status: standing.status,
            error_code: standing.error_code,
            to: None,
        },
    })
}

/// Compares Twilio's list of texts that came in with the inbox, and files those that never arrived.
async fn audit(hands: &Hands) -> Result<(), db::Error> {
    let now = clock::now();
    let Some(audited_until) = audits::claim(&hands.pool, hands.audit_interval, now).await? else {
        return Ok(());
    };
    // Each sees to the next, so that the schedule does not hang on another's. Should it be lost, the sweeper makes up for it.
    let next = now + TimeDelta::from_std(hands.audit_interval).unwrap_or(TimeDelta::hours(1));
    queue::nudge_once_at(&hands.pool, Queue::Reconcile, next).await?;
    // Twilio's dates are whole seconds: a text of the second that we begin in bears an earlier one than we do.
    let since = (audited_until - OVERLAP).max(now - OLDEST) - TimeDelta::seconds(1);
    let until = now - ON_ITS_WAY;
    let listed = match hands.twilio.list_inbound(since).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "cannot compare Twilio's list with the inbox, and will try again");
            return Ok(());
        }
    };
    let arrived =
        of_ours(hands, listed.into_iter().filter(|text| text.sent_at >= since && text.sent_at <= until)).await?;
    let compared = arrived.len();
    // Whatever is filed locks the lane of its sender: not those who have nothing to do with it.
    let arrived = events::list_new(&mut *hands.pool.acquire().await?, arrived).await?;
    let mut missed = 0;
    for texts in arrived.chunks(FILED_AT_ONCE) {
        missed += events::record(&hands.pool, texts, now).await?;
    }
    let mut tx = hands.pool.begin().await?;
    audits::save(&mut tx, until).await?;
    let mut alerts: Vec<NewAlert> = (missed > 0).then(texts_missed).into_iter().collect();
    alerts.extend((audited_until < now - OLDEST).then(|| too_old(audited_until, since)));
    let raised = alerts::raise(&mut tx, &alerts, now).await?;
    let over: Vec<String> = (missed == 0).then(|| MISSED.to_owned()).into_iter().collect();
    let cleared = alerts::clear(&mut tx, &over, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    if missed > 0 {
        tracing::warn!(missed, "fetched texts that had not reached us");
    }
    tracing::debug!(compared, missed, "compared Twilio's list with the inbox");
    Ok(())
}

/// The events that the webhooks would have been. The account may have other numbers, whose texts are none of our business.
async fn of_ours(hands: &Hands, texts: impl Iterator<Item = Inbound>) -> Result<Vec<NewEvent>, db::Error> {
    let texts: Vec<Inbound> = texts.collect();
    let numbers: Vec<&str> = texts.iter().map(|text| text.to.as_str()).collect();
    let mut conn = hands.pool.acquire().await?;
    let mut ours = pool::list_known(&mut conn, &numbers).await?;
    ours.insert(hands.onboarding_number.as_str().to_owned());
    Ok(texts.into_iter().filter(|text| ours.contains(&text.to)).map(as_event).collect())
}

fn too_old(from: DateTime<Utc>, to: DateTime<Utc>) -> NewAlert {
    let (from, to) = (from.format("%Y-%m-%d %H:%M"), to.format("%Y-%m-%d %H:%M UTC"));
    NewAlert {
        cause: "texts-too-old".to_owned(),
        about: format!(
            "Texts that came in between {from} and {to} were not compared with the inbox: an answer would come too late. \
             Look at Twilio's log for texts that nobody has answered, and then clear this."
        ),
    }
}

fn texts_missed() -> NewAlert {
    NewAlert {
        cause: MISSED.to_owned(),
        about: "Texts reached Twilio and not us. They have been fetched, and the worker's log says how many; if the ingress \
                was not down, look at `jobrun numbers check`."
            .to_owned(),
    }
}

/// The event that the webhook would have been.
fn as_event(text: Inbound) -> NewEvent {
    NewEvent {
        source: Source::Twilio,
        external_id: text.sid,
        payload: Payload::Text {
            from: storable(&text.from),
            to: storable(&text.to),
            body: storable(&text.body),
            opt_out_type: None,
        },
    }
}
