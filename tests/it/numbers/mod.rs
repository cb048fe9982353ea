//! The pool: allocation, the life of a number, the waiting list, purchases, the check of the account.

mod allocation;

mod waiting_list;

mod number_lifecycle;

mod ownerless;

mod account_check;

mod buying;

mod waiting_promise;

mod stock;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::E164;
use jobrun_shared::db::alerts::{self, Alert};
use jobrun_shared::numbers::allocate;
use jobrun_shared::numbers::promise::AlertChanges;
use jobrun_tests::paid_clients;
use sqlx::PgPool;

pub(crate) fn onboarding() -> E164 {
    E164::parse("+447476955179").unwrap()
}

/// Puts clients on the waiting list at `at`, in order. Returns their ids.
pub(crate) async fn waiting_clients(pool: &PgPool, how_many: usize, at: DateTime<Utc>) -> Vec<String> {
    let ids = paid_clients(pool, "client", how_many).await;
    for (place, id) in ids.iter().enumerate() {
        let at = at + TimeDelta::milliseconds(i64::try_from(place).unwrap());
        assert!(!allocate::allocate(pool, id, at, None).await.unwrap().success);
    }
    ids
}

/// Returns the open alerts except those about an empty pool, which have a test of their own.
pub(crate) async fn open(pool: &PgPool) -> Vec<(String, i64)> {
    let alerts = alerts::list_open(pool).await.unwrap().into_iter();
    let others = alerts.filter(|alert| !alert.cause.starts_with("pool-empty:"));
    others.map(|alert: Alert| (alert.cause, alert.times)).collect()
}

pub(crate) fn causes(watched: &AlertChanges) -> Vec<&str> {
    watched.raised.iter().map(|alert| alert.cause.as_str()).collect()
}

pub(crate) async fn execute(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}
