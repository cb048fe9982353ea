//! The router: webhooks and health checks, with their time limit and the log of refusals. Never handles a webhook itself.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jobrun_shared::db::voicemails;
use jobrun_shared::metrics::{self, WebhookOutcome};
use jobrun_twilio::webhooks;
use tokio::time::Instant;

use crate::refusal_log::{self, RefusalKind, log_refusal};
use crate::rejection::Rejection;
use crate::state::AppState;
use crate::{stripe, twilio, voicemail};

/// The time limit for a request, its arrival included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the router of every address.
pub fn router(state: AppState) -> Router {
    let webhooks = Router::new()
        .route(webhooks::SMS, post(twilio::sms))
        .route(webhooks::SMS_STATUS, post(twilio::sms_status))
        .route(webhooks::VOICE, post(twilio::voice))
        .route(webhooks::VOICE_STATUS, post(twilio::voice_status))
        .route(webhooks::VOICE_RECORDING, post(twilio::voice_recording))
        .route(jobrun_stripe::WEBHOOK, post(stripe::event))
        .layer(middleware::from_fn(limit_time))
        // A route layer does not log unknown addresses: scanners would fill the log.
        .route_layer(middleware::from_fn(log_refusal))
        .route_layer(middleware::from_fn(measure));
    let health = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn(limit_time));
    // Its answer may take longer to send than a webhook's, so it has limits of its own.
    let messages = Router::new().route(&format!("{}{{secret}}", voicemails::PATH), get(voicemail::play));
    webhooks.merge(health).merge(messages).fallback(not_found).with_state(state)
}

/// Responds 404 to an unknown address. One that resembles ours is logged: it may have been entered wrongly at Twilio.
async fn not_found(uri: Uri) -> StatusCode {
    let path = uri.path();
    let kind = RefusalKind { path: "elsewhere".to_owned(), status: StatusCode::NOT_FOUND, why: String::new() };
    let resembles_ours = ["webhook", "twilio"].iter().any(|word| path.to_ascii_lowercase().contains(word));
    if resembles_ours && refusal_log::should_log(&kind) {
        let path: String = path.chars().take(100).collect();
        tracing::warn!(path, status = 404, why = "there is no such address", "a webhook was turned away");
    }
    StatusCode::NOT_FOUND
}

/// Records how long a webhook took, and counts it if it was refused. A recorded one is counted where it is recorded, because only
/// that place knows whether it is a repeat.
async fn measure(request: Request, next: Next) -> Response {
    let arrived_at = Instant::now();
    let (source, kind) = source_and_kind(request.uri().path());
    let response = next.run(request).await;
    let outcome = match response.extensions().get() {
        _ if response.status().is_success() => None,
        Some(rejection) => Some(Rejection::outcome(rejection)),
        None => Some(WebhookOutcome::Invalid),
    };
    // Nobody but Twilio and Stripe can spoil the time to the response: others are not measured.
    if matches!(outcome, None | Some(WebhookOutcome::Unavailable)) {
        metrics::webhook_answered(source, arrived_at.elapsed());
    }
    if let Some(outcome) = outcome {
        metrics::webhook(source, kind, outcome);
    }
    response
}

/// Returns the source of a webhook and the kind of its event, by the path: a refused webhook has no event. A call that has ended may
/// also come to the address for calls that arrive.
fn source_and_kind(path: &str) -> (&'static str, &'static str) {
    let [text, report, arrived, ended, recording, stripe] = KINDS;
    match path {
        webhooks::SMS => text,
        webhooks::SMS_STATUS => report,
        webhooks::VOICE => arrived,
        webhooks::VOICE_STATUS => ended,
        webhooks::VOICE_RECORDING => recording,
        _ => stripe,
    }
}

/// The sources of webhooks, and the kinds of their events, as labels.
pub const KINDS: [(&str, &str); 6] = [
    ("twilio", "text"),
    ("twilio", "delivery_report"),
    ("twilio", "call_arrived"),
    ("twilio", "call_ended"),
    ("twilio", "recording_made"),
    ("stripe", "stripe"),
];

/// Responds 408 to a request that takes longer than [`REQUEST_TIMEOUT`].
async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time\n").into_response(),
    }
}

/// Returns `ready` if webhooks can be recorded.
async fn ready(State(state): State<AppState>, _: Request) -> Result<&'static str, (StatusCode, String)> {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    state.ensure_ready().await.map(|()| "ready\n").map_err(unavailable)
}
