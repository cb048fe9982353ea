//! The log lines about refused webhooks, limited in number: a flood of attempts must not become a flood of lines.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use crate::rejection::Rejection;

/// The largest number of lines a second about one kind of refusal.
const LINES_MAX: u64 = 10;

const WINDOW: Duration = Duration::from_secs(1);

/// Refusals that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// The path: one of our addresses, or one word for all others.
    pub(crate) path: String,
    /// The status of the response.
    pub(crate) status: StatusCode,
    /// The reason, without the details that differ from one to the next.
    pub(crate) why: String,
}

/// The number of refusals of each kind, in the second that began with the first of them.
static LATEST: LazyLock<Mutex<HashMap<Kind, u64>>> = LazyLock::new(Mutex::default);

fn latest() -> MutexGuard<'static, HashMap<Kind, u64>> {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether one more refusal of this kind gets a line. Those without one are counted in a line at the end of the second.
pub(crate) fn is_to_be_told(kind: &Kind) -> bool {
    let mut latest = latest();
    if let Some(count) = latest.get_mut(kind) {
        *count += 1;
        return *count <= LINES_MAX;
    }
    latest.insert(kind.clone(), 1);
    drop(latest);
    tokio::spawn(end_second(kind.clone()));
    true
}

async fn end_second(kind: Kind) {
    tokio::time::sleep(WINDOW).await;
    let count = latest().remove(&kind).unwrap_or_default();
    if count > LINES_MAX {
        let (more, Kind { path, status, why }) = (grouped(count - LINES_MAX), kind);
        let status = status.as_u16();
        if status >= 500 {
            tracing::error!(path, status, why, "and {more} more");
        } else {
            tracing::warn!(path, status, why, "and {more} more");
        }
    }
}

/// Formats `4211` as `4,211`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Logs the path and the reason of each refused webhook, whether the handler or a layer refused it, within the limit of
/// [`is_to_be_told`]. Never logs the query, the form or the signature.
pub(crate) async fn log_refusal(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let rejection = response.extensions().get::<Rejection>();
        let canonical = || status.canonical_reason().unwrap_or_default().to_owned();
        let kind = Kind { path, status, why: rejection.map_or_else(canonical, Rejection::reason) };
        if is_to_be_told(&kind) {
            let why = rejection.map_or_else(canonical, ToString::to_string);
            let path = kind.path;
            if status.is_server_error() {
                tracing::error!(path, status = status.as_u16(), why, "a webhook was not recorded");
            } else {
                tracing::warn!(path, status = status.as_u16(), why, "a webhook was turned away");
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_kind_of_refusal_has_a_limit_of_lines_of_its_own() {
        let kind = |why: &str| Kind { path: "/a".to_owned(), status: StatusCode::FORBIDDEN, why: why.to_owned() };
        let told = |why: &str| (0..5000).filter(|_| is_to_be_told(&kind(why))).count();
        assert_eq!((told("one"), told("another")), (10, 10));
        assert_eq!([7, 999, 1000, 4211, 1_234_567].map(grouped), ["7", "999", "1,000", "4,211", "1,234,567"]);
    }
}
