//! Printing: log lines, and the journal.
//!
//! Everything goes to standard output (for the operator's command, to standard error). Secrets never do; phone numbers do
//! only in the journal, whose lines the specification fixes.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, SubscriberBuilder};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{self, Log, LogFormat};
use crate::db::alerts::NewAlert;

/// The target of journal lines, which no filter silences.
const JOURNAL: &str = "journal";

/// The target of lines about alerts, which no filter silences either.
const ALERT: &str = "alert";

/// Where a program's lines go.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Daemons.
    Stdout,
    /// Commands, whose standard output is their answer.
    Stderr,
}

/// Starts printing, and warns of settings whose names are nearly right. To be called once, before anything is logged.
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
    // What the database remarks on, such as a table that is there already, what the pool says of connections that it replaces,
    // and what the queue says of its own threads, is news to nobody. A filter that names them has the last word.
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
/// To be called only after what the block says has been committed.
pub fn journal(block: &[String]) {
    if !block.is_empty() {
        tracing::info!(target: JOURNAL, "{}", block.join("\n"));
    }
}

/// Prints alerts that were raised. To be called only after the commit.
pub fn raised(alerts: &[NewAlert]) {
    for NewAlert { cause, about } in alerts {
        tracing::error!(target: ALERT, cause, "ALERT {about}");
    }
}

/// Prints the causes of alerts that were cleared. To be called only after the commit.
pub fn cleared(causes: &[String]) {
    for cause in causes {
        tracing::warn!(target: ALERT, cause, "ALL CLEAR");
    }
}

/// The line and nothing else; other fields follow it as `name=value`.
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
