//! Pages of tables, for the console: newest first, and bounded however much the tables hold.
//!
//! A page begins behind a row ([`NEWEST`]: at the newest one). A condition that no index serves is applied to the
//! [`LOOKED_THROUGH`] rows that follow; a page says where it stopped, so that the reader can go on from there.

mod clients;

mod events;

mod funnel;

mod numbers;

mod search;

mod stuck;

mod takeovers;

mod texts;

mod waiting;

pub use clients::*;
pub use events::*;
pub use funnel::*;
pub use numbers::*;
pub use search::*;
pub use stuck::*;
pub use takeovers::*;
pub use texts::*;
pub use waiting::*;

/// How many rows a page has at most.
pub const PAGE_ROWS: usize = 50;

/// How many rows are looked through for a page, where no index serves the condition.
pub const LOOKED_THROUGH: usize = 5_000;

/// The place before every row.
pub const NEWEST: i64 = i64::MAX;

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, K = i64> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page begins, if there may be one.
    pub next: Option<K>,
    /// Whether the page ended because enough rows were looked through.
    pub is_cut: bool,
}

impl<T, K> Page<T, K> {
    /// A page without rows.
    #[must_use]
    pub const fn empty() -> Self {
        Self { rows: Vec::new(), next: None, is_cut: false }
    }
}

/// How many rows to look through, and one more, which shows whether there are others.
const fn window(is_filtered: bool) -> i64 {
    (if is_filtered { LOOKED_THROUGH } else { PAGE_ROWS }) as i64 + 1
}

/// Builds a page from the rows that fit among the looked-through keys. `looked_through` holds one key more than are looked
/// through if there are others; `key` gives a row's key.
fn page<T, K: Copy>(looked_through: &[K], is_filtered: bool, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Page<T, K> {
    if rows.len() > PAGE_ROWS {
        rows.truncate(PAGE_ROWS);
        let next = rows.last().map(key);
        return Page { rows, next, is_cut: false };
    }
    let looked_at = (window(is_filtered) - 1) as usize;
    let next = (looked_through.len() > looked_at).then(|| looked_through.get(looked_at - 1).copied()).flatten();
    Page { rows, is_cut: is_filtered && next.is_some(), next }
}
