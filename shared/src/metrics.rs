//! The metrics: their names, kinds and help texts in one table, and a function for each that records it.
//!
//! Labels come from closed sets: they are `&'static str`, but for regions and the names of our own stored words. A metric never
//! has a phone, a number, an id or a path in it. Recording does nothing in a process that has no ops port.

use std::time::Duration;

use ::metrics::{counter, gauge, histogram};

use crate::db::Error;

/// The kind of a metric.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind {
    /// A count since the process started.
    Counter,
    /// A value at the moment.
    Gauge,
    /// A distribution, by the upper ends of its buckets.
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with prefix and unit.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its meaning.
    pub help: &'static str,
}

/// The time after which a gauge that is not set any more is no longer exported.
pub const GAUGE_TTL: Duration = Duration::from_secs(60);

/// From a millisecond to ten seconds. Twilio gives a webhook ten to fifteen; the objective is half a second.
const REQUEST_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From ten milliseconds to an hour: waits, which an outage makes long.
const WAIT_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

const COMMIT_EVENTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

const fn counter_of(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, help }
}

const fn gauge_of(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, help }
}

const fn histogram_of(name: &'static str, buckets: &'static [f64], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Histogram(buckets), help }
}

/// Every metric, by name.
pub const METRICS: [Metric; 37] = [
    histogram_of(
        "jobrun_ack_to_text_seconds",
        WAIT_SECONDS,
        "From the recording of an event to the acceptance by Twilio of a text that follows from it.",
    ),
    gauge_of("jobrun_alerts_open", "Open alerts, by kind."),
    gauge_of(
        "jobrun_audit_last_success_timestamp_seconds",
        "Until when the list of a source was compared with the inbox: twilio, stripe (only with STRIPE_API_KEY).",
    ),
    gauge_of("jobrun_build_info", "1, with the version of the program."),
    gauge_of("jobrun_clients", "Clients, by state of the conversation. Counted every five minutes."),
    histogram_of("jobrun_commit_duration_seconds", REQUEST_SECONDS, "The time that a commit of received events took."),
    histogram_of("jobrun_commit_events", COMMIT_EVENTS, "The number of received events in a commit."),
    gauge_of("jobrun_connections", "Open connections to the ingress."),
    gauge_of("jobrun_db_connections", "Connections to the database, by state: idle, in_use."),
    counter_of("jobrun_db_errors_total", "Errors of the database, by class of SQLSTATE, or io, pool, rows, other."),
    counter_of("jobrun_db_reconnects_total", "How often the open connections to the database were given up."),
    gauge_of("jobrun_db_writable", "1 if the database can be written, as far as this program has seen, else 0."),
    histogram_of(
        "jobrun_delivery_seconds",
        WAIT_SECONDS,
        "From the attempt that sent a text to the report that it was delivered.",
    ),
    gauge_of("jobrun_events_deferred", "Events that failed, and are tried again later."),
    gauge_of("jobrun_events_oldest_waiting_seconds", "The age of the oldest event that waits and is due; 0 for none."),
    gauge_of("jobrun_events_waiting", "Events that wait, those that were deferred included."),
    histogram_of("jobrun_job_duration_seconds", WAIT_SECONDS, "The duration of a job, by queue and end."),
    counter_of("jobrun_jobs_orphaned_total", "Jobs of dead workers that were given to others, by queue."),
    gauge_of("jobrun_listener_last_heard_seconds", "The time since the listener for notifications heard itself."),
    gauge_of("jobrun_listener_up", "1 if the listener for notifications hears itself, else 0."),
    gauge_of("jobrun_messages", "Texts that are not settled, by status."),
    gauge_of("jobrun_messages_oldest_seconds", "The age of the oldest text of each status that is due; 0 for none."),
    gauge_of("jobrun_payments_unassigned", "Subscriptions that are paid and belong to no client."),
    gauge_of(
        "jobrun_pool_numbers",
        "Numbers of the pool, by region and state. Free ones include those that waiting clients have a claim on.",
    ),
    histogram_of("jobrun_queue_wait_seconds", WAIT_SECONDS, "The time that a job waited after it was due, by queue."),
    gauge_of("jobrun_recorder_waiting_bytes", "Bytes of received events that wait for their commit."),
    gauge_of("jobrun_sending_parked", "1 while Twilio refuses the account and nothing but probes is sent, else 0."),
    counter_of("jobrun_signature_failures_total", "Webhooks whose signature does not match, by source and reason."),
    gauge_of("jobrun_stopped", "1 if an operator has stopped it, else 0: sending, conversations."),
    gauge_of("jobrun_sweep_last_success_timestamp_seconds", "When a sweep last did all its work."),
    histogram_of(
        "jobrun_twilio_request_duration_seconds",
        REQUEST_SECONDS,
        "The duration of a request that sends a text.",
    ),
    counter_of("jobrun_twilio_requests_total", "Requests that send a text, by the class of Twilio's answer."),
    counter_of("jobrun_unmatched_total", "Events that belong to no client, by outcome."),
    gauge_of("jobrun_waiting_clients", "Clients on the waiting list, by region."),
    gauge_of(
        "jobrun_waiting_oldest_seconds",
        "How long the client has waited that waits longest without an offer; 0 for none.",
    ),
    histogram_of(
        "jobrun_webhook_duration_seconds",
        REQUEST_SECONDS,
        "The time to the response to a webhook whose signature matches, by source.",
    ),
    counter_of("jobrun_webhooks_total", "Webhooks, by source, kind of event and outcome."),
];

/// The reasons for which the signature of a webhook does not match, by source.
const SIGNATURE_ERRORS: [(&str, &[&str]); 2] = [
    (
        "twilio",
        &[
            "missing",
            "no_signature",
            "not_accepted",
            "other_algorithm",
            "other_scheme",
            "other_host",
            "other_slash",
            "no_body_hash",
            "other_body",
            "other_token_or_content",
        ],
    ),
    ("stripe", &["missing", "unreadable", "other_secret", "stale", "from_the_future"]),
];

/// The classes of Twilio's answers to a request that sends a text.
const CODE_CLASSES: [&str; 15] = [
    "accepted",
    "not_taken",
    "unknown",
    "passing",
    "uncertain",
    "recipient",
    "blocked",
    "opted_out",
    "content",
    "configuration",
    "account",
    "expired",
    "loop",
    "defect",
    "unlisted",
];

/// The outcomes of events that belong to no client.
const UNMATCHED: [&str; 5] =
    ["unreadable", "sender_cannot_be_answered", "misdirected", "nobody_holds_the_number", "no_such_client"];

/// Begins the counters of the ingress at zero, but for webhooks ([`begin_webhooks`]). A counter that begins at one has no increase
/// that Prometheus could see. The counters of this module take no label that is not begun.
pub fn begin_ingress() {
    begin_everywhere();
    for (source, reasons) in SIGNATURE_ERRORS {
        for reason in reasons {
            counter!("jobrun_signature_failures_total", "source" => source, "reason" => *reason).increment(0);
        }
    }
}

/// Begins the counters of the console at zero, as [`begin_ingress`] does those of the ingress.
pub fn begin_console() {
    begin_everywhere();
}

/// Begins the counters of the worker at zero, as [`begin_ingress`] does those of the ingress.
pub fn begin_worker(queues: &[&'static str]) {
    begin_everywhere();
    for queue in queues {
        jobs_orphaned(queue, 0);
    }
    for code_class in CODE_CLASSES {
        counter!("jobrun_twilio_requests_total", "code_class" => code_class).increment(0);
    }
    for outcome in UNMATCHED {
        counter!("jobrun_unmatched_total", "outcome" => outcome).increment(0);
    }
}

fn begin_everywhere() {
    counter!("jobrun_db_reconnects_total").increment(0);
    for class in Error::CLASSES {
        counter!("jobrun_db_errors_total", "sqlstate_class" => class).increment(0);
    }
}

/// Gives the recorder the help text of each metric.
pub fn describe() {
    for Metric { name, kind, help } in METRICS {
        match kind {
            MetricKind::Counter => ::metrics::describe_counter!(name, help),
            MetricKind::Gauge => ::metrics::describe_gauge!(name, help),
            MetricKind::Histogram(_) => ::metrics::describe_histogram!(name, help),
        }
    }
}

/// The outcome of a webhook, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// Recorded.
    Accepted,
    /// Recorded before.
    Duplicate,
    /// Not signed by our account.
    Forbidden,
    /// Not as Twilio or Stripe writes it, or it did not arrive in time.
    Invalid,
    /// In order, and not recorded.
    Unavailable,
}

impl WebhookOutcome {
    /// Returns its name, as a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counts a webhook.
pub fn webhook(source: &'static str, kind: &'static str, outcome: WebhookOutcome) {
    counter!("jobrun_webhooks_total", "source" => source, "kind" => kind, "outcome" => outcome.name()).increment(1);
}

/// Begins the counts of webhooks at zero. A count that begins at one has no increase that Prometheus could see.
pub fn begin_webhooks(kinds: &[(&'static str, &'static str)]) {
    use WebhookOutcome::{Accepted, Duplicate, Forbidden, Invalid, Unavailable};
    for (source, kind) in kinds {
        for outcome in [Accepted, Duplicate, Forbidden, Invalid, Unavailable] {
            let labels = [("source", *source), ("kind", *kind), ("outcome", outcome.name())];
            counter!("jobrun_webhooks_total", &labels).increment(0);
        }
    }
}

/// Records how long the response to a webhook took.
pub fn webhook_answered(source: &'static str, took: Duration) {
    histogram!("jobrun_webhook_duration_seconds", "source" => source).record(took);
}

/// Counts a webhook whose signature does not match.
pub fn signature_failure(source: &'static str, reason: &'static str) {
    debug_assert!(
        SIGNATURE_ERRORS.iter().any(|(of, reasons)| *of == source && reasons.contains(&reason)),
        "{source} {reason} does not begin at zero"
    );
    counter!("jobrun_signature_failures_total", "source" => source, "reason" => reason).increment(1);
}

/// Records a commit of received events.
pub fn commit(events: usize, took: Duration) {
    histogram!("jobrun_commit_events").record(events as f64);
    histogram!("jobrun_commit_duration_seconds").record(took);
}

/// Sets the gauges of the ingress.
pub fn ingress(waiting_bytes: usize, connections: usize) {
    gauge!("jobrun_recorder_waiting_bytes").set(waiting_bytes as f64);
    gauge!("jobrun_connections").set(connections as f64);
}

/// Sets the gauges that every program has.
pub fn process(pool: &sqlx::PgPool, writable: bool, version: &'static str) {
    let (open, idle) = (pool.size() as usize, pool.num_idle());
    gauge!("jobrun_db_connections", "state" => "idle").set(idle as f64);
    gauge!("jobrun_db_connections", "state" => "in_use").set(open.saturating_sub(idle) as f64);
    gauge!("jobrun_db_writable").set(f64::from(u8::from(writable)));
    gauge!("jobrun_build_info", "version" => version).set(1.0);
}

/// Sets the gauges of the listener for notifications, which last heard itself `since` ago.
pub fn listener(since: Duration, up: bool) {
    gauge!("jobrun_listener_last_heard_seconds").set(since);
    gauge!("jobrun_listener_up").set(f64::from(u8::from(up)));
}

/// Counts an error of the database.
pub fn db_error(error: &Error) {
    counter!("jobrun_db_errors_total", "sqlstate_class" => error.class()).increment(1);
}

/// Counts that the open connections to the database were given up.
pub fn db_reconnect() {
    counter!("jobrun_db_reconnects_total").increment(1);
}

/// Records how long a job waited after it was due.
pub fn queue_wait(queue: &'static str, waited: Duration) {
    histogram!("jobrun_queue_wait_seconds", "queue" => queue).record(waited);
}

/// Records a job that has ended.
pub fn job(queue: &'static str, end: &'static str, took: Duration) {
    histogram!("jobrun_job_duration_seconds", "queue" => queue, "end" => end).record(took);
}

/// Counts jobs of dead workers that were given to others.
pub fn jobs_orphaned(queue: &'static str, jobs: u64) {
    counter!("jobrun_jobs_orphaned_total", "queue" => queue).increment(jobs);
}

/// Counts an event that belongs to no client. `outcome` is the stored word.
pub fn unmatched(outcome: &'static str) {
    debug_assert!(UNMATCHED.contains(&outcome), "{outcome} does not begin at zero");
    counter!("jobrun_unmatched_total", "outcome" => outcome).increment(1);
}

/// Records a request that sends a text.
pub fn twilio_request(code_class: &'static str, took: Duration) {
    debug_assert!(CODE_CLASSES.contains(&code_class), "{code_class} does not begin at zero");
    counter!("jobrun_twilio_requests_total", "code_class" => code_class).increment(1);
    histogram!("jobrun_twilio_request_duration_seconds").record(took);
}

/// Records how long after its event a text was accepted by Twilio.
pub fn ack_to_text(took: Duration) {
    histogram!("jobrun_ack_to_text_seconds").record(took);
}

/// Records how long a text took to be delivered.
pub fn delivery(took: Duration) {
    histogram!("jobrun_delivery_seconds").record(took);
}

/// Sets a gauge over a table.
pub fn table(name: &'static str, value: f64) {
    gauge!(name).set(value);
}

/// Sets how many numbers of a region are in a state. A region is a country, by ISO 3166.
pub fn pool_numbers(region: &str, state: &'static str, count: f64) {
    gauge!("jobrun_pool_numbers", "region" => region.to_owned(), "state" => state).set(count);
}

/// Sets a gauge over a table, of one value of a label.
pub fn table_by(name: &'static str, label: &'static str, of: &str, value: f64) {
    gauge!(name, label => of.to_owned()).set(value);
}
