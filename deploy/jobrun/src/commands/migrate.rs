//! `jobrun migrate`.

use std::io::Write;

use jobrun_shared::{config, db};

use crate::commands::connect;

/// Applies the migrations.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn migrate(settings: &config::Operator) -> anyhow::Result<()> {
    db::migrate(&connect(settings).await?).await?;
    Ok(writeln!(std::io::stdout(), "the database is migrated")?)
}
