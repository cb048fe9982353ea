//! `jobrun migrate`.

use std::io::Write;

use jobrun_shared::{config, db};

use crate::commands::connect;

/// Applies the migrations. With `roles`, also makes the roles of the programs; roles in use are granted the rights that a new
/// version needs.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn migrate(settings: &config::Operator, roles: bool) -> anyhow::Result<()> {
    let pool = connect(settings).await?;
    db::migrate(&pool).await?;
    writeln!(std::io::stdout(), "the database is migrated")?;
    if roles || db::uses_roles(&pool).await? {
        db::make_roles(&pool).await?;
        let roles = "the roles jobrun_ingress, jobrun_worker, jobrun_console and jobrun_reader have what they need";
        writeln!(std::io::stdout(), "{roles}: grant each to the role that logs in")?;
    }
    Ok(())
}
