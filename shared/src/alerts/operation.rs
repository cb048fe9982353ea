//! Alerts about the programs, the database and the webhooks.

use chrono::{DateTime, Utc};

use super::Kind;
use crate::db::alerts::NewAlert;
use crate::db::stops::{Activity, Stop};

/// A session holds locks that workers wait for. Its transaction has been open since `since`, `None` if our role may not see that.
#[must_use]
pub fn blocked_by(pid: i32, application: &str, since: Option<DateTime<Utc>>, tables: &str) -> NewAlert {
    let since = since.map_or_else(|| "some time".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    NewAlert {
        cause: Kind::BlockedBy.of(pid),
        about: format!(
            "Session {pid} ({application}) has had a transaction open since {since}, and holds locks on {tables} while workers wait \
             for locks. Commit it or roll it back there, or end it: SELECT pg_terminate_backend({pid})."
        ),
    }
}

/// An operator has stopped sending or conversations. The reason may name a phone, so it is not in the message.
#[must_use]
pub fn stopped(stop: &Stop) -> NewAlert {
    let Stop { what, stopped_at, stopped_by, .. } = stop;
    let effect = match what {
        Activity::Sending => "Sending is stopped: no text leaves, and texts wait",
        Activity::Conversations => "Conversations are stopped: what clients text is kept, and nobody is answered",
    };
    let (since, name) = (stopped_at.format("%Y-%m-%d %H:%M UTC"), what.name());
    NewAlert {
        cause: Kind::Stopped.of(name),
        about: format!(
            "{effect}. {stopped_by} has stopped it, on {since}; `jobrun stop` says why. `jobrun start {name}` starts it."
        ),
    }
}

/// Webhooks with a wrong signature are let in.
#[must_use]
pub fn signatures_not_enforced() -> NewAlert {
    NewAlert {
        cause: Kind::SignaturesNotEnforced.name().to_owned(),
        about: "Webhooks are taken whoever signed them: set TWILIO_SIGNATURE_MODE to enforce as soon as no more mismatches come \
                in."
        .to_owned(),
    }
}

/// `jobrun restored` was cut short on the database, which was restored at `at`, and was not run again.
#[must_use]
pub fn restore_unfinished(at: DateTime<Utc>) -> NewAlert {
    let at = at.format("%Y-%m-%d %H:%M UTC");
    NewAlert {
        cause: Kind::RestoreUnfinished.name().to_owned(),
        about: format!(
            "`jobrun restored` of {at} was cut short: texts may be missing, and a reply with the words of an earlier text is not \
             sent. Stop every ingress and worker, run `jobrun restored` again, and start them."
        ),
    }
}

/// Recordings of callers' messages should have been deleted at Twilio more than a day ago: `count`, the first at `since`.
#[must_use]
pub fn recordings_kept(count: i64, since: DateTime<Utc>) -> NewAlert {
    let recordings = if count == 1 { "1 recording".to_owned() } else { format!("{count} recordings") };
    NewAlert {
        cause: Kind::RecordingsKept.name().to_owned(),
        about: format!(
            "{recordings} of callers' messages should have been deleted at Twilio, the first on {}, and Twilio does not do it: see the worker's log. Over once all are deleted.",
            since.format("%Y-%m-%d %H:%M UTC")
        ),
    }
}

/// The inbox lacked texts that Twilio lists.
#[must_use]
pub fn texts_missed() -> NewAlert {
    NewAlert {
        cause: Kind::TextsMissed.name().to_owned(),
        about: "Texts reached Twilio and not us. They have been fetched, and the worker's log says how many; if the ingress was \
                not down, look at `jobrun numbers check`."
            .to_owned(),
    }
}

/// Texts that came in from `from` to `to` are too old to be compared with the inbox.
#[must_use]
pub fn texts_too_old(from: DateTime<Utc>, to: DateTime<Utc>) -> NewAlert {
    let (from, to) = (from.format("%Y-%m-%d %H:%M"), to.format("%Y-%m-%d %H:%M UTC"));
    NewAlert {
        cause: Kind::TextsTooOld.name().to_owned(),
        about: format!(
            "Texts that came in between {from} and {to} were not compared with the inbox: an answer would come too late. Look at \
             Twilio's log for texts that nobody has answered, and then clear this."
        ),
    }
}

/// The inbox lacked events that Stripe lists.
#[must_use]
pub fn stripe_events_missed() -> NewAlert {
    NewAlert {
        cause: Kind::StripeEventsMissed.name().to_owned(),
        about: "Events happened at Stripe and did not reach us. They have been fetched, and the worker's log says how many; if the \
                ingress was not down, look at the endpoint's deliveries in Stripe."
            .to_owned(),
    }
}

/// Stripe does not keep the events that happened from `from` to `to` any more, and they were not compared with the inbox.
#[must_use]
pub fn stripe_events_too_old(from: DateTime<Utc>, to: DateTime<Utc>) -> NewAlert {
    let (from, to) = (from.format("%Y-%m-%d %H:%M"), to.format("%Y-%m-%d %H:%M UTC"));
    NewAlert {
        cause: Kind::StripeEventsTooOld.name().to_owned(),
        about: format!(
            "Events that happened at Stripe between {from} and {to} were not compared with the inbox: Stripe keeps them for 30 days. \
             Look in Stripe for payments and cancellations of that time that we do not know, and then clear this."
        ),
    }
}

/// The part of Stripe's API that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripeRead {
    /// The list of events.
    Events,
    /// The status of subscriptions.
    Subscriptions,
}

impl StripeRead {
    const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Subscriptions => "subscriptions",
        }
    }

    /// Returns the cause of the alert that it cannot be read.
    #[must_use]
    pub fn cause(self) -> String {
        Kind::StripeUnreadable.of(self.name())
    }
}

/// Events or subscriptions cannot be read from Stripe, for the reason `why`.
#[must_use]
pub fn stripe_unreadable(read: StripeRead, why: &str) -> NewAlert {
    NewAlert {
        cause: read.cause(),
        about: format!(
            "Stripe's {} cannot be read: {why}. Webhooks are taken all the same, and missed ones are not fetched. Look at \
             `jobrun doctor`.",
            read.name()
        ),
    }
}
