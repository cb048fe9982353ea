//! Delivers alerts and all-clears to `ALERT_WEBHOOK_URL`, each once, in the form that the receiver reads.
//!
//! It works from rows, and never posts inside a transaction. Alerts about dead workers have no rows, because a dead worker writes
//! none: `jobrun alerts` and the rules for Prometheus have those.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::TimeDelta;
use jobrun_shared::config::{AlertFormat, AlertWebhook};
use jobrun_shared::db::alert_deliveries::{self, Notice};
use jobrun_shared::{clock, db};
use jobrun_stripe::signature;
use jobrun_twilio::api::use_tls_provider;
use reqwest::header;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::PgPool;

/// How often rows are looked for.
const INTERVAL: Duration = Duration::from_secs(2);

/// The most notices of one look.
const BATCH_MAX: i64 = 20;

/// The time limit of one request: less than a claim lasts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The header with the signature, in the form of Stripe's: `t=SECONDS,v1=HEX`, an HMAC-SHA256 of `SECONDS.BODY`.
const SIGNATURE_HEADER: &str = "jobrun-signature";

/// The header with the id of a notice. A notice that is posted twice has the same.
const ID_HEADER: &str = "jobrun-notice-id";

/// Alertmanager takes an alert for resolved that it has not been sent for some minutes, unless it is told an end.
const ALERTMANAGER_LASTS: TimeDelta = TimeDelta::days(365);

/// Delivers notices for ever.
pub(crate) async fn run(pool: PgPool, webhook: AlertWebhook) {
    use_tls_provider();
    let http = match reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build() {
        Ok(http) => http,
        Err(error) => return tracing::error!(%error, "alerts cannot be delivered"),
    };
    loop {
        if let Err(error) = deliver_due(&pool, &http, &webhook).await {
            tracing::warn!(%error, "alerts cannot be delivered now");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn deliver_due(pool: &PgPool, http: &reqwest::Client, webhook: &AlertWebhook) -> Result<(), db::Error> {
    for notice in alert_deliveries::claim(pool, BATCH_MAX, clock::now()).await? {
        match post(http, webhook, &notice).await {
            Ok(()) => alert_deliveries::record_delivered(pool, &notice, clock::now()).await?,
            Err(why) => {
                tracing::warn!(
                    cause = notice.cause,
                    attempt = notice.attempt,
                    why,
                    "an alert was not delivered, and is tried again"
                );
                alert_deliveries::record_failed(pool, &notice, clock::now() + delay_after(notice.attempt)).await?;
            }
        }
    }
    Ok(())
}

/// Posts a notice. The error is the reason, without the address, which may be a secret.
async fn post(http: &reqwest::Client, webhook: &AlertWebhook, notice: &Notice) -> Result<(), String> {
    let body = body_of(webhook.format, notice).to_string();
    let mut request = http
        .post(webhook.url.expose_secret())
        .header(header::CONTENT_TYPE, "application/json")
        .header(ID_HEADER, notice_id(notice));
    if let Some(secret) = &webhook.secret {
        request = request.header(SIGNATURE_HEADER, signature::sign(secret, body.as_bytes(), clock::now()));
    }
    let response = request.body(body).send().await.map_err(|error| error.without_url().to_string())?;
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(format!("the receiver answered {status}")) }
}

fn notice_id(notice: &Notice) -> String {
    let event = if notice.cleared_at.is_some() { "cleared" } else { "raised" };
    format!("{}-{event}", notice.id)
}

fn body_of(format: AlertFormat, notice: &Notice) -> Value {
    let kind = notice.cause.split(':').next().unwrap_or_default();
    let Notice { cause, about, raised_at, cleared_at, .. } = notice;
    match format {
        AlertFormat::Json => json!({
            "id": notice_id(notice),
            "event": if cleared_at.is_some() { "cleared" } else { "raised" },
            "kind": kind,
            "cause": cause,
            "about": about,
            "raisedAt": raised_at,
            "clearedAt": cleared_at,
        }),
        AlertFormat::Slack => match cleared_at {
            None => json!({ "text": format!(":rotating_light: *{cause}* {about}") }),
            Some(_) => json!({ "text": format!(":white_check_mark: *{cause}* is over.") }),
        },
        AlertFormat::Alertmanager => json!([{
            "labels": { "alertname": "JobrunAlert", "kind": kind, "cause": cause },
            "annotations": { "summary": about },
            "startsAt": raised_at,
            "endsAt": cleared_at.unwrap_or(*raised_at + ALERTMANAGER_LASTS),
        }]),
    }
}

/// Returns the delay after an attempt: five seconds after the first, doubling, at most five minutes.
fn delay_after(attempt: i32) -> TimeDelta {
    let delays = ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(5))
        .with_max_delay(Duration::from_secs(300))
        .without_max_times();
    let before = usize::try_from(attempt - 1).unwrap_or_default();
    delays.build().nth(before).and_then(|delay| TimeDelta::from_std(delay).ok()).unwrap_or(TimeDelta::minutes(5))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn notice(cleared_at: Option<DateTime<Utc>>) -> Notice {
        Notice {
            id: 7,
            cause: "pool-low:GB".to_owned(),
            about: "Two numbers are left.".to_owned(),
            raised_at: DateTime::UNIX_EPOCH,
            cleared_at,
            attempt: 1,
        }
    }

    #[test]
    fn alertmanager_keeps_an_open_alert_and_ends_a_cleared_one() {
        let cleared_at = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let (open, over) = (
            body_of(AlertFormat::Alertmanager, &notice(None)),
            body_of(AlertFormat::Alertmanager, &notice(Some(cleared_at))),
        );
        assert_eq!(open[0]["endsAt"], "1971-01-01T00:00:00Z");
        assert_eq!(over[0]["endsAt"], "1970-01-01T01:00:00Z");
        assert_eq!(open[0]["labels"], over[0]["labels"], "the same alert");
    }

    #[test]
    fn slack_is_told_the_problem_and_its_end() {
        let open = body_of(AlertFormat::Slack, &notice(None));
        assert_eq!(open["text"], ":rotating_light: *pool-low:GB* Two numbers are left.");
        let over = body_of(AlertFormat::Slack, &notice(Some(DateTime::UNIX_EPOCH)));
        assert_eq!(over["text"], ":white_check_mark: *pool-low:GB* is over.");
    }

    #[test]
    fn the_delay_grows_to_five_minutes() {
        assert_eq!([1, 2, 3, 20].map(delay_after), [5, 10, 20, 300].map(TimeDelta::seconds));
    }
}
