//! The context of every job: connections, the accounts at Twilio and Stripe, settings.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_credentials::Token;
use jobrun_onboarding::forwarding_checks;
use jobrun_onboarding::reminders::Schedule;
use jobrun_onboarding::{E164, Switches, Wordings, can_hold_a_conversation};
use jobrun_shared::config::StripeAudit;
use jobrun_shared::db::inbox::{Payload, PendingEvent};
use jobrun_shared::db::{self, Health, blockers, voicemails};
use jobrun_shared::phone_digest::PhoneKey;
use jobrun_shared::queue::Announcer;
use jobrun_shared::{clock, telemetry};
use jobrun_twilio::api::Api;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The time that a job runs before it leaves the rest to the next one, so that the queue sees that its workers are alive.
const JOB_TIME_BUDGET: TimeDelta = TimeDelta::seconds(5);

/// The shortest time between two searches for sessions that hold locks.
const BLOCKER_CHECK_INTERVAL: TimeDelta = TimeDelta::seconds(1);

/// The progress of a job when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No work is left that the job could do.
    Drained,
    /// There may be more to do.
    MoreToDo,
}

/// The account at Stripe, as far as it can be read.
#[derive(Clone, Debug)]
pub(crate) struct StripeAccount {
    /// Its API.
    pub(crate) api: jobrun_stripe::api::Api,
    /// The mode of the events that are taken.
    pub(crate) livemode: bool,
}

impl StripeAccount {
    /// Prepares requests to the account. Nothing is sent yet.
    ///
    /// # Errors
    /// When this machine's certificates cannot be loaded.
    pub(crate) fn new(settings: &StripeAudit) -> Result<Self, reqwest::Error> {
        Ok(Self { api: jobrun_stripe::api::Api::new(&settings.access)?, livemode: settings.livemode })
    }
}

/// The connections and settings that every job uses.
#[derive(Clone, Debug)]
pub(crate) struct JobContext {
    /// Connections to the database.
    pub(crate) pool: PgPool,
    /// Whether the connections to the database can be trusted.
    pub(crate) health: Health,
    /// Announces jobs to other processes.
    pub(crate) announcer: Announcer,
    /// The account at Twilio.
    pub(crate) twilio: Api,
    /// The account at Stripe, if there is a key for it.
    pub(crate) stripe: Option<StripeAccount>,
    /// Where people reach the links to messages: `PUBLIC_BASE_URL`.
    pub(crate) public_base_url: String,
    /// Whether callers of live numbers are asked to leave a message: `VOICEMAIL`.
    pub(crate) voicemail: bool,
    /// The number that clients text, and that texts come from.
    pub(crate) onboarding_number: E164,
    /// The address at which clients pay, without the client's reference; nothing if no link is set up yet.
    pub(crate) payment_link: Option<String>,
    /// The address at which clients cancel their subscriptions, if there is one.
    pub(crate) payment_portal: Option<String>,
    /// What the conversation does beside the sign-up.
    pub(crate) switches: Switches,
    /// The time that a number is held for a waiting client.
    pub(crate) hold: Duration,
    /// The time that a number is kept from other clients after its client has left.
    pub(crate) cooling: Duration,
    /// When clients who fall silent are reminded.
    pub(crate) reminders: Schedule,
    /// The wordings of texts.
    pub(crate) wordings: Wordings,
    /// When live clients are told that no call has come for long.
    pub(crate) forwarding_checks: forwarding_checks::Schedule,
    /// Whether callers of clients who want that are texted back.
    pub(crate) text_back: bool,
    /// The interval of the scheduled sweeps.
    pub(crate) sweep_interval: Duration,
    /// The interval at which Twilio's list of received texts, and Stripe's list of events, are compared with the inbox.
    pub(crate) audit_interval: Duration,
    /// The largest number of segments that each of our numbers sends a second.
    pub(crate) segments_per_second: u32,
    /// The number of unclaimed numbers below which a region has too few; 0 for never.
    pub(crate) pool_level_min: u32,
    /// The largest number of clients, texts or reports in a transaction.
    pub(crate) batch_max: u32,
    /// The time that processed events and settled texts are kept; zero if for ever.
    pub(crate) retention: Duration,
    /// The key by which phones of erased persons are recognised, if there is one.
    pub(crate) erasure_key: Option<PhoneKey>,
    /// The time of the last search for sessions that hold locks.
    pub(crate) last_blocker_check: Arc<Mutex<Option<DateTime<Utc>>>>,
    /// Set when the process is to end: jobs finish the batch in hand, and begin no other.
    pub(crate) stop: CancellationToken,
}

impl JobContext {
    /// Returns the sender of a text to the onboarding number, if it can hold a conversation. Such a text makes its sender a client,
    /// now or on a retry, and is never an unmatched event.
    pub(crate) fn signup_phone(&self, event: &PendingEvent) -> Option<E164> {
        match &event.payload {
            Some(Payload::Text { from, to, .. }) if to == self.onboarding_number.as_str() => {
                E164::parse(from).ok().filter(can_hold_a_conversation)
            }
            _ => None,
        }
    }

    /// Returns a new link to a message, with a secret that cannot be guessed; nothing if the system gives no random bytes.
    pub(crate) fn new_link(&self) -> Option<String> {
        let token =
            Token::new().inspect_err(|error| tracing::error!(%error, "a link to a message cannot be made")).ok()?;
        Some(format!("{}{}{}", self.public_base_url, voicemails::PATH, token.secret))
    }

    /// Fails if the worker cannot take jobs now. The error is the reason.
    pub(crate) async fn ensure_ready(&self) -> Result<(), String> {
        if self.stop.is_cancelled() {
            return Err("the worker is stopping".to_owned());
        }
        if let Some(unfit) = self.health.refusal() {
            return Err(unfit.to_string());
        }
        db::ensure_migrated(&self.pool).await.map_err(|error| error.to_string())
    }

    /// Awaits `work`, and fails at once if the database is lost meanwhile.
    pub(crate) async fn unless_lost<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, db::Error>
    where
        db::Error: From<E>,
    {
        Ok(self.health.unless_lost(work).await??)
    }

    /// Raises alerts about sessions that hold locks for long. Best effort, and once a second at most: the work that waits for the
    /// locks is retried anyway.
    pub(crate) async fn raise_blocker_alerts(&self) {
        let now = clock::now();
        let mut last_check = self.last_blocker_check.lock().await;
        if last_check.is_some_and(|at| now - at < BLOCKER_CHECK_INTERVAL) {
            return;
        }
        *last_check = Some(now);
        drop(last_check);
        let alerting = async {
            let mut tx = self.pool.begin().await?;
            let raised = blockers::alert(&mut tx, now).await?;
            tx.commit().await?;
            Ok::<_, db::Error>(raised)
        };
        match alerting.await {
            Ok(raised) => telemetry::raised(&raised),
            Err(error) => tracing::warn!(%error, "cannot find out which sessions hold locks"),
        }
    }

    /// Awaits `request`, or returns `None` as soon as the process is to end. Only for requests that may be dropped.
    pub(crate) async fn unless_stopped<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(request).await
    }

    /// Repeats `batch` until it returns 0, the job has used up its time, or the process is to end.
    pub(crate) async fn run_until_drained<S, E>(&self, mut batch: impl FnMut() -> S + Send) -> Result<Progress, E>
    where
        S: Future<Output = Result<usize, E>> + Send,
    {
        let end = clock::now() + JOB_TIME_BUDGET;
        while !self.stop.is_cancelled() && clock::now() < end {
            if batch().await? == 0 {
                return Ok(Progress::Drained);
            }
        }
        Ok(Progress::MoreToDo)
    }
}
