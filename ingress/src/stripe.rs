//! Stripe's webhooks. An event is stored as it is; the worker decides its meaning.

use axum::extract::State;
use axum::http::StatusCode;
use jobrun_shared::db::inbox::NewEvent;

use crate::rejection::Rejection;
use crate::signed::SignedEvent;
use crate::state::AppState;

pub(crate) async fn event(State(state): State<AppState>, signed: SignedEvent) -> Result<StatusCode, Rejection> {
    if let Some(incoming) = signed.event {
        state.record(NewEvent::from(incoming).into(), signed.arrived_at, signed.bytes).await?;
    }
    Ok(StatusCode::OK)
}
