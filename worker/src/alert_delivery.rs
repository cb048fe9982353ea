//! Delivers alerts and all-clears to `ALERT_WEBHOOK_URL`, each once, in the form that the receiver reads.
//!
//! It works from rows, and never posts inside a transaction. Alerts about dead workers have no rows, because a dead worker writes
//! none: `jobrun alerts` and the rules for Prometheus have those.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jobrun_shared::config::{AlertFormat, AlertWebhook};
use jobrun_shared::db::alert_deliveries::{self, Notice};
use jobrun_shared::{backoff, clock, db};
use jobrun_stripe::signature;
use jobrun_twilio::api::use_tls_provider;
use reqwest::header;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::context::JobContext;

/// How often rows are looked for.
const INTERVAL: Duration = Duration::from_secs(2);

/// The time limit of one request: less than a claim lasts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The header with the signature, in the form of Stripe's: `t=SECONDS,v1=HEX`, an HMAC-SHA256 of `SECONDS.BODY`.
const SIGNATURE_HEADER: &str = "jobrun-signature";

/// The header with the id of a notice. A notice that is posted twice has the same.
const ID_HEADER: &str = "jobrun-notice-id";

/// Alertmanager keeps alerts in memory, and expects each open one again and again, with the time at which it is over otherwise.
const ALERTMANAGER_REPEAT: TimeDelta = TimeDelta::minutes(1);
const ALERTMANAGER_LASTS: TimeDelta = TimeDelta::minutes(5);

/// Delivers notices for ever. Stops between two posts when the process is to end.
pub(crate) async fn run(context: Arc<JobContext>, webhook: AlertWebhook) {
    use_tls_provider();
    let http = match reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build() {
        Ok(http) => http,
        Err(error) => return tracing::error!(%error, "alerts cannot be delivered"),
    };
    while !context.stop.is_cancelled() {
        if let Err(error) = deliver_due(&context, &http, &webhook).await {
            tracing::warn!(%error, "alerts cannot be delivered now");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Delivers the notices that are due, one after the other: a claim lasts only for one.
async fn deliver_due(context: &JobContext, http: &reqwest::Client, webhook: &AlertWebhook) -> Result<(), db::Error> {
    let pool = &context.pool;
    context.unless_lost(alert_deliveries::begin(pool, clock::now())).await?;
    while !context.stop.is_cancelled() {
        let now = clock::now();
        let repeat_before = (webhook.format == AlertFormat::Alertmanager).then(|| now - ALERTMANAGER_REPEAT);
        let claimed = context.unless_lost(alert_deliveries::claim(pool, repeat_before, now)).await?;
        let Some(notice) = claimed else { break };
        match post(http, webhook, &notice).await {
            Ok(()) => context.unless_lost(alert_deliveries::record_delivered(pool, &notice, clock::now())).await?,
            Err(why) => {
                let (cause, attempt) = (&notice.cause, notice.attempt);
                tracing::warn!(cause, attempt, why, "an alert was not delivered, and is tried again");
                let retry_at = clock::now() + delay_after(notice.failures);
                context.unless_lost(alert_deliveries::record_failed(pool, &notice, retry_at)).await?;
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
    let response = request.body(body).send().await.map_err(|error| reason(&error.without_url()))?;
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(format!("the receiver answered {status}")) }
}

/// Returns an error with its causes, which say more than it does itself.
fn reason(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    reason
}

fn notice_id(notice: &Notice) -> String {
    let event = if notice.cleared_at.is_some() { "cleared" } else { "raised" };
    format!("{}-{event}", notice.alert_id)
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
            "endsAt": cleared_at.unwrap_or(clock::now() + ALERTMANAGER_LASTS),
        }]),
    }
}

/// Returns the delay after an attempt in vain: five seconds after the first, doubling, at most a minute. A new alert of the same
/// cause waits for it.
fn delay_after(failures_before: i32) -> TimeDelta {
    let failures = usize::try_from(failures_before).unwrap_or_default() + 1;
    let delay = backoff::delay_after(failures, Duration::from_secs(5), Duration::from_secs(60));
    TimeDelta::from_std(delay).unwrap_or(TimeDelta::minutes(1))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn notice(cleared_at: Option<DateTime<Utc>>) -> Notice {
        Notice {
            alert_id: 7,
            cause: "pool-low:GB".to_owned(),
            about: "Two numbers are left.".to_owned(),
            raised_at: DateTime::UNIX_EPOCH,
            cleared_at,
            attempt: 1,
            failures: 0,
        }
    }

    #[test]
    fn alertmanager_is_told_when_an_alert_is_over() {
        let cleared_at = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let open = body_of(AlertFormat::Alertmanager, &notice(None));
        let over = body_of(AlertFormat::Alertmanager, &notice(Some(cleared_at)));
        let ends_at: DateTime<Utc> = open[0]["endsAt"].as_str().unwrap().parse().unwrap();
        assert!(ends_at > clock::now() + ALERTMANAGER_REPEAT, "it lasts until it is repeated");
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
    fn the_delay_grows_to_a_minute() {
        assert_eq!([0, 1, 2, 20].map(delay_after), [5, 10, 20, 60].map(TimeDelta::seconds));
    }
}
