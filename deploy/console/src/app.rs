//! The state that the handlers share.

use std::sync::Arc;

use axum::extract::FromRef;
use jobrun_shared::config;
use jobrun_shared::db::{self, Health};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use crate::live::Live;
use crate::overview::Overviews;

/// How many passwords are checked at the same time at most: each check takes 19 MiB and tens of milliseconds of a processor.
const CHECKS_MAX: usize = 2;

/// The state that the handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// Connections to the database.
    pub pool: PgPool,
    /// Whether the connections can be trusted.
    pub health: Health,
    /// The settings.
    pub settings: Arc<config::Console>,
    /// Tells open pages that rows have changed.
    pub live: Live,
    /// The figures of the first page.
    pub overviews: Overviews,
    /// Limits the checks of passwords.
    pub checks: Arc<Semaphore>,
}

impl FromRef<App> for Live {
    fn from_ref(app: &App) -> Self {
        app.live.clone()
    }
}

impl App {
    /// Returns the state of a console that has just started.
    #[must_use]
    pub fn new(pool: PgPool, health: Health, settings: config::Console) -> Self {
        Self {
            pool,
            health,
            settings: Arc::new(settings),
            live: Live::default(),
            overviews: Overviews::default(),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
        }
    }

    /// Checks that the console can show pages.
    ///
    /// # Errors
    /// The reason why it cannot, for the operator.
    pub async fn ensure_ready(&self) -> Result<(), String> {
        let checked = self.health.unless_lost(db::ensure_migrated(&self.pool)).await;
        checked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Returns whether browsers reach the console by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.settings.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}
