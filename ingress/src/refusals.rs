//! The lines about webhooks that are turned away, limited in number: a flood of attempts must not become a flood of lines.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;

/// How many lines a second there may be about one kind of refusal.
const LINES_MAX: u64 = 10;

const WINDOW: Duration = Duration::from_secs(1);

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// Where it was sent: one of our addresses, or a word for all others.
    pub(crate) path: String,
    /// What it was answered.
    pub(crate) status: StatusCode,
    /// Why, without what differs from one to the next.
    pub(crate) why: String,
}

/// How many refusals of each kind there were in the second that began with the first of them.
static LATEST: LazyLock<Mutex<HashMap<Kind, u64>>> = LazyLock::new(Mutex::default);

fn latest() -> MutexGuard<'static, HashMap<Kind, u64>> {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is to be a line about one more refusal of this kind. Those without one are counted in a line at the end of
/// the second.
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

/// `4211` as `4,211`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_of_one_kind_are_limited_and_those_of_another_are_not() {
        let kind = |why: &str| Kind { path: "/a".to_owned(), status: StatusCode::FORBIDDEN, why: why.to_owned() };
        let told = |why: &str| (0..5000).filter(|_| is_to_be_told(&kind(why))).count();
        assert_eq!((told("one"), told("another")), (10, 10));
        assert_eq!([7, 999, 1000, 4211, 1_234_567].map(grouped), ["7", "999", "1,000", "4,211", "1,234,567"]);
    }
}
