//! The log lines about refused webhooks. A flood of webhooks never becomes a flood of lines: they are limited in number.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use crate::rejection::Rejection;

/// The largest number of lines about one kind of refusal in one [`WINDOW`].
const LINES_MAX: u64 = 10;

const WINDOW: Duration = Duration::from_secs(1);

/// Refusals that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RefusalKind {
    /// The path: one of our addresses, or one word for all others.
    pub(crate) path: String,
    /// The status of the response.
    pub(crate) status: StatusCode,
    /// The reason, without details that differ between refusals of this kind.
    pub(crate) why: String,
}

/// The number of refusals of each kind, in the window that began with the first of them.
static COUNTS: LazyLock<Mutex<HashMap<RefusalKind, u64>>> = LazyLock::new(Mutex::default);

fn counts() -> MutexGuard<'static, HashMap<RefusalKind, u64>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one more refusal, and returns whether it gets a line. Those without one are counted in a line at the end of the window.
pub(crate) fn should_log(kind: &RefusalKind) -> bool {
    let mut counts = counts();
    if let Some(count) = counts.get_mut(kind) {
        *count += 1;
        return *count <= LINES_MAX;
    }
    counts.insert(kind.clone(), 1);
    drop(counts);
    tokio::spawn(end_window(kind.clone()));
    true
}

async fn end_window(kind: RefusalKind) {
    tokio::time::sleep(WINDOW).await;
    let count = counts().remove(&kind).unwrap_or_default();
    if count > LINES_MAX {
        let (more, RefusalKind { path, status, why }) = (with_thousands_separators(count - LINES_MAX), kind);
        let status = status.as_u16();
        if status >= 500 {
            tracing::error!(path, status, why, "and {more} more");
        } else {
            tracing::warn!(path, status, why, "and {more} more");
        }
    }
}

/// Formats `4211` as `4,211`.
fn with_thousands_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut separated = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            separated.push(',');
        }
        separated.push(digit);
    }
    separated
}

/// Logs the path and the reason of each refused webhook, whether the handler or a layer refused it, within the limit of
/// [`should_log`]. Never logs the query, the form or the signature.
pub(crate) async fn log_refusal(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let rejection = response.extensions().get::<Rejection>();
        let canonical = || status.canonical_reason().unwrap_or_default().to_owned();
        let kind = RefusalKind { path, status, why: rejection.map_or_else(canonical, Rejection::reason) };
        if should_log(&kind) {
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
        let kind =
            |why: &str| RefusalKind { path: "/a".to_owned(), status: StatusCode::FORBIDDEN, why: why.to_owned() };
        let logged = |why: &str| (0..5000).filter(|_| should_log(&kind(why))).count();
        assert_eq!((logged("one"), logged("another")), (10, 10));
        assert_eq!(
            [7, 999, 1000, 4211, 1_234_567].map(with_thousands_separators),
            ["7", "999", "1,000", "4,211", "1,234,567"]
        );
    }
}
