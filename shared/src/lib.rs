//! The crate that the ingress, the worker and the operator's command (`jobrun`) share.
//!
//! In reading order:
//!
//! * [`config`]: the settings. It is the only reader of the environment.
//! * [`clock`]: the current time. It is the only reader of the clock.
//! * [`telemetry`]: log lines, the journal and lines about alerts. It is the only module that prints them.
//! * [`metrics`]: the metrics, and the only module that records them.
//! * [`traces`]: the spans, and the only module that records them.
//! * [`backoff`]: the delay between attempts that fail.
//! * [`shutdown`] and [`exit`]: the request to stop, and the exit statuses.
//! * [`db`]: connections, migrations, and the queries, ordered by table.
//! * [`queue`]: jobs. It is the only access to the job queue's library.
//! * [`alerts`]: the catalogue of alerts, with their causes and messages.
//! * [`numbers`]: numbers of the pool, allocated, offered to waiting clients, bought, counted and checked.
//! * [`payments`]: payments that name no client, or come twice.
//! * [`client_actions`]: actions of operators on a client.
//! * [`bulk_actions`]: failed texts that are sent again, and waiting texts that are dropped, many at once.
//! * [`refusal`]: the reasons why a request of the operator is refused.
//! * [`stops`]: the stop switch for sending and for conversations.
//! * [`liveness`]: alerts about workers that do not run, and about work that waits for them.
//! * [`retention`]: the removal of old events and texts.
//! * [`missed_texts`]: texts in Twilio's list that the inbox lacks.
//! * [`stripe_account`]: whether the key for Stripe is one of the account that clients pay into.
//! * [`restore`]: the work after a restore of the database from a backup.
//! * [`words`]: words for stored names, for operators.
//!
//! The crate connects three others that know no database: the core in [`jobrun_onboarding`], and the protocols in
//! [`jobrun_twilio`] and [`jobrun_stripe`].

pub mod alerts;

pub mod config;

mod spelling;

pub mod clock;

pub mod backoff;

pub mod shutdown;

pub mod telemetry;

pub mod metrics;

pub mod traces;

pub mod db;

pub mod queue;

pub mod numbers;

pub mod payments;

pub mod cases;

pub mod client_actions;

pub mod bulk_actions;

pub mod refusal;

pub mod stops;

pub mod forwarding_checks;

pub mod liveness;

pub mod retention;

pub mod missed_texts;

pub mod stripe_account;

pub mod reminders;

pub mod restore;

pub mod phone_digest;

pub mod phone_codes;

pub mod phone_changes;

pub mod export;

pub mod erasure;

pub mod words;

pub mod exit;
