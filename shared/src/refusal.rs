//! Reasons why a request of the operator is refused. Then nothing is changed.

use chrono::{DateTime, Utc};
use jobrun_onboarding::pool_number::Unfit;
use sqlx::PgPool;

use crate::db::find_client::{self, FoundClients};
use crate::db::stops::{Activity, Stop};
use crate::{db, queue};

/// Why a request of the operator was not carried out. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Some of the given numbers cannot be in the pool. Each has its reason.
    #[error("nothing was added, because of:{}", .0.iter().map(|(given, wrong)| format!("\n  {given}: {wrong}")).collect::<String>())]
    Unfit(Vec<(String, Unfit)>),
    /// The given text is not a phone number.
    #[error("{0}: {unfit}", unfit = Unfit::Unreadable)]
    NotANumber(String),
    /// No numbers were given.
    #[error("no numbers: give them as arguments, or in TWILIO_POOL_NUMBERS, comma separated")]
    NoNumbers,
    /// The number is not in the pool.
    #[error("the number is not in the pool; `jobrun pool status` lists those that are")]
    NotInPool,
    /// The number cools down after a client.
    #[error(
        "no client holds the number, and it cools down until {}. With --now it becomes available at once: but a phone may still \
         forward its calls to it, and the next client would answer them", until.format("%Y-%m-%d %H:%M UTC")
    )]
    CoolsDown {
        /// Until when it cools down.
        until: DateTime<Utc>,
    },
    /// A client holds the number, which is taken from it only on request (`--yes`).
    #[error(
        "client {client_id} holds the number, and is at {state}. With --yes it is taken all the same: the client is given another \
         number, or a place on the waiting list, and is texted that its number had to change; the number cools down. `jobrun pool \
         drain` lets the client keep it, and gives it to no other afterwards"
    )]
    Held {
        /// `clients.id`.
        client_id: String,
        /// The state of its conversation.
        state: &'static str,
    },
    /// No client has this id or phone.
    #[error("no client has this id or phone; a phone is written +447911123456 or 07911 123456")]
    NoSuchClient,
    /// The beginning of an id that several clients have.
    #[error("that is the beginning of several ids: {}; give more of the one that is meant", .0.join(", "))]
    SeveralClients(Vec<String>),
    /// The payment has a client, or is unknown.
    #[error("no payment of this name waits to be assigned; `jobrun payments` lists those that do")]
    NotUnassigned,
    /// A stop needs a reason.
    #[error("say why: those who see the stop read the reason")]
    NoReason,
    /// The activity is stopped already, unless the stop has just ended.
    #[error(
        "{} stopped already{}", .0.is(),
        .1.as_ref().map_or_else(String::new, |it| format!(
            ", since {} by {}: {}", it.stopped_at.format("%Y-%m-%d %H:%M UTC"), it.stopped_by, it.why
        ))
    )]
    StoppedAlready(Activity, Option<Stop>),
    /// The activity is running.
    #[error("{} not stopped", .0.is())]
    NotStopped(Activity),
    /// The database or the job queue failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl Refusal {
    /// Returns whether the request itself is at fault, so that it is refused again when repeated.
    #[must_use]
    pub const fn is_of_the_request(&self) -> bool {
        match self {
            Self::Unfit(_) | Self::NotANumber(_) | Self::NoNumbers | Self::SeveralClients(_) | Self::NoReason => true,
            Self::NotInPool
            | Self::CoolsDown { .. }
            | Self::Held { .. }
            | Self::NoSuchClient
            | Self::NotUnassigned
            | Self::StoppedAlready(..)
            | Self::NotStopped(_)
            | Self::Database(_) => false,
        }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Returns the id of the client that `words` name by an id, a phone, or the beginning of an id that no other client has.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or [`Refusal::SeveralClients`] with the ids of the possible clients.
pub async fn find_client(pool: &PgPool, words: &str) -> Result<String, Refusal> {
    match find_client::find_client(&mut *pool.acquire().await?, words).await? {
        FoundClients::One(id) => Ok(id),
        FoundClients::Several(ids) => Err(Refusal::SeveralClients(ids)),
        FoundClients::Nobody => Err(Refusal::NoSuchClient),
    }
}

impl From<queue::Error> for Refusal {
    fn from(error: queue::Error) -> Self {
        Self::Database(error.into())
    }
}
