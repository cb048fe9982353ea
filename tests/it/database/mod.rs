//! The database: migrations, schema, encryption, the cost of queries, the removal of old rows.

mod schema;

mod migrations;

mod tls;

mod query_plans;

mod retention;

use sqlx::{AssertSqlSafe, PgConnection};

pub(super) async fn execute(conn: &mut PgConnection, statements: String) {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(conn).await.unwrap();
}
