//! Prints log lines and the journal.
//!
//! The ingress and the worker print to standard output, the operator's command to standard error. Secrets are never printed.
//! Phone numbers are printed only in the journal, whose lines the specification fixes.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, SubscriberBuilder};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{self, Log, LogFormat};
use crate::db::alerts::NewAlert;

/// The target of journal lines. No filter silences it.
const JOURNAL: &str = "journal";

/// The target of lines about alerts. No filter silences it.
const ALERT: &str = "alert";

/// Where a program's lines go.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Standard output, for the ingress and the worker.
    Stdout,
    /// Standard error, for commands, whose standard output is their result.
    Stderr,
}

/// Starts printing, and warns of variables that may be misspelt settings. Must be called once, before any line is logged.
pub fn start(log: &Log, output: Output) {
    match output {
        Output::Stdout => start_on(log, std::io::stdout),
        Output::Stderr => start_on(log, std::io::stderr),
    }
    warn_of_near_misses();
}

fn warn_of_near_misses() {
    for near_miss in config::near_misses() {
        tracing::warn!("{near_miss}");
    }
}

fn start_on<W>(log: &Log, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Silences notices of the database (a table exists already), the pool's lines about replaced connections, and the queue's
    // about its own tasks: they help no operator. `RUST_LOG` comes later, and can name these targets.
    let filter = EnvFilter::new(format!(
        "sqlx::postgres::notice=warn,sqlx_core::pool=off,apalis=off,apalis_core=off,apalis_postgres=off,{},{JOURNAL}=info,{ALERT}=info",
        log.filter
    ));
    let builder: SubscriberBuilder<_, _, _, W> =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    match log.format {
        LogFormat::Plain => builder.event_format(Plain).init(),
        LogFormat::Full => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Prints one block of the journal in one piece, so that no other line comes between its lines.
///
/// Must be called only after the transaction that the block tells of has been committed.
pub fn journal(block: &[String]) {
    if !block.is_empty() {
        tracing::info!(target: JOURNAL, "{}", block.join("\n"));
    }
}

/// Prints alerts that were raised. Must be called only after the commit.
pub fn raised(alerts: &[NewAlert]) {
    for NewAlert { cause, about } in alerts {
        tracing::error!(target: ALERT, cause, "ALERT {about}");
    }
}

/// Prints the causes of alerts that were cleared. Must be called only after the commit.
pub fn cleared(causes: &[String]) {
    for cause in causes {
        tracing::warn!(target: ALERT, cause, "ALL CLEAR");
    }
}

/// Formats a line as its message and nothing else. Other fields follow as `name=value`.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
