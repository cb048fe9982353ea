//! `jobrun texts`: lists texts out, sends failed ones again, and drops waiting ones.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use jobrun_onboarding::TextKind;
use jobrun_shared::bulk_actions::{self, DryRun, Started, reason_words};
use jobrun_shared::db::bulk_actions::{self as rows, Kind, Progress, Selection};
use jobrun_shared::db::listing::{self, NEWEST, TextFilter, TextRow};
use jobrun_shared::{clock, config, exit, refusal, shutdown};
use sqlx::PgPool;

use crate::MINUTE;
use crate::commands::{connect_migrated, operator};
use crate::table::{self, Column};

/// How long a text has waited that counts as stuck.
const STUCK_AFTER: TimeDelta = TimeDelta::minutes(5);

/// How many texts are listed, unless `--limit` says otherwise.
const LISTED: i64 = 50;

/// The interval at which the progress of an action is read, and after which a standstill is explained.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const STANDSTILL: Duration = Duration::from_secs(15);

const COLUMNS: [Column; 6] = [
    Column::count("ID", 6),
    Column::text("WRITTEN", 20),
    Column::text("RECIPIENT", 16),
    Column::text("KIND", 22),
    Column::text("STATUS", 11),
    Column::text("WHY", 0),
];

const ALIKE: [Column; 4] =
    [Column::count("TEXTS", 6), Column::text("KIND", 22), Column::text("STATUS", 11), Column::text("ERROR", 0)];

/// Which texts, and the action on them.
#[derive(Args, Debug)]
pub struct Options {
    /// Only texts that failed, were not delivered, were dropped or held back
    #[arg(long, conflicts_with_all = ["stuck", "status"])]
    failed: bool,
    /// Only texts that have waited for more than five minutes, or whose outcome is unknown for as long
    #[arg(long, conflicts_with = "status")]
    stuck: bool,
    /// Only texts with this status
    #[arg(long, value_name = "S", value_parser = ["queued", "sending", "unknown", "sent", "delivered", "undelivered", "failed", "held"])]
    status: Option<String>,
    /// Only texts with this error code of Twilio's
    #[arg(long = "error", value_name = "CODE")]
    code: Option<i32>,
    /// Only texts of this kind, such as payment_required
    #[arg(long, value_parser = kind)]
    kind: Option<TextKind>,
    /// Only texts that were written so recently: 90m, 2h, 1day
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only texts to this client
    #[arg(long, value_name = "ID|PHONE")]
    client: Option<String>,
    /// The most texts, the newest first [default: 50 to list, 10000 to replay or drop]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=rows::CHOSEN_MAX))]
    limit: Option<i64>,
    /// Send the failed ones among them again; without --yes, only show what it would do
    #[arg(long, conflicts_with_all = ["drop", "progress"])]
    replay: bool,
    /// Drop the queued ones among them; without --yes, only show what it would do
    #[arg(long, conflicts_with = "progress")]
    drop: bool,
    /// Do it, and wait until it is done; Ctrl-C leaves it going on
    #[arg(long, requires = "why")]
    yes: bool,
    /// The reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    why: Option<String>,
    /// Show how far an earlier replay or drop is
    #[arg(long, value_name = "ID", conflicts_with_all = ["failed", "stuck", "status", "code", "kind", "since", "client", "limit"])]
    progress: Option<i64>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

fn kind(given: &str) -> Result<TextKind, &'static str> {
    TextKind::from_name(given).ok_or("not a kind of text; `jobrun texts --json` shows the kinds of texts")
}

impl Options {
    const fn action(&self) -> Option<Kind> {
        match (self.replay, self.drop) {
            (true, _) => Some(Kind::Replay),
            (false, true) => Some(Kind::Drop),
            (false, false) => None,
        }
    }

    async fn filter(&self, pool: &PgPool, now: DateTime<Utc>) -> anyhow::Result<TextFilter> {
        let client_id = match &self.client {
            Some(words) => Some(refusal::find_client(pool, words).await?),
            None => None,
        };
        let group = if self.failed { Some("failed") } else { self.stuck.then_some("unsettled") };
        let since = self.since.and_then(|it| TimeDelta::from_std(it).ok());
        Ok(TextFilter {
            status: group.map(str::to_owned).or_else(|| self.status.clone()),
            code: self.code,
            kind: self.kind.map(|kind| kind.name().to_owned()),
            client_id,
            written_since: since.and_then(|since| now.checked_sub_signed(since)),
            written_before: self.stuck.then(|| now - STUCK_AFTER),
        })
    }
}

/// Lists texts, or shows or does the action on them. Returns exit status 1 if no text matches the action.
///
/// # Errors
/// When the settings, the database or the output fail, and [`exit::Interrupted`] after Ctrl-C.
pub async fn run(settings: &config::Operator, options: &Options) -> anyhow::Result<ExitCode> {
    let (pool, now) = (connect_migrated(settings).await?, clock::now());
    if let Some(id) = options.progress {
        return show_progress(&pool, id, options.json).await;
    }
    let filter = options.filter(&pool, now).await?;
    let Some(kind) = options.action() else { return list(&pool, &filter, options).await };
    let selection = Selection { filter, ids: None, until: now, limit: options.limit.unwrap_or(rows::CHOSEN_MAX) };
    if options.yes {
        return carry_out(&pool, kind, &selection, options).await;
    }
    let found = bulk_actions::dry_run(&pool, kind, &selection, usize::MAX, None, now).await?;
    let mut out = table::stdout();
    if options.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
    } else {
        print_dry_run(&mut out, kind, &found)?;
    }
    Ok(ExitCode::from(u8::from(found.chosen == 0)))
}

async fn list(pool: &PgPool, filter: &TextFilter, options: &Options) -> anyhow::Result<ExitCode> {
    let limit = usize::try_from(options.limit.unwrap_or(LISTED))?;
    let (mut texts, mut next) = (Vec::new(), Some(NEWEST));
    while let Some(before) = next.filter(|_| texts.len() < limit) {
        let page = listing::list_texts(&mut *pool.acquire().await?, filter, before).await?;
        texts.extend(page.rows);
        next = page.next;
    }
    let are_more = texts.len() > limit || next.is_some();
    texts.truncate(limit);
    let mut out = table::stdout();
    if options.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&texts)?)?;
    } else if texts.is_empty() {
        writeln!(out, "there is no such text")?;
    } else {
        table::print(&mut out, &COLUMNS, texts.iter().map(row).collect())?;
        if are_more {
            eprintln!("jobrun: there may be more; --limit shows more than {limit}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(text: &TextRow) -> Vec<String> {
    let status = if text.held_back { "held back" } else { &text.status };
    let code = text.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
    vec![
        text.id.to_string(),
        text.created_at.format(MINUTE).to_string(),
        text.to_phone.clone(),
        text.kind.clone(),
        status.to_owned(),
        format!("{}{code}", text.why().unwrap_or_default()),
    ]
}

fn texts(count: i64) -> String {
    if count == 1 { "1 text".to_owned() } else { format!("{count} texts") }
}

const fn done_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Replay => "sent again",
        Kind::Drop => "dropped",
    }
}

const fn which_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Replay => "no failed text matches",
        Kind::Drop => "no queued text matches",
    }
}

fn print_dry_run(out: &mut impl Write, kind: Kind, found: &DryRun) -> std::io::Result<()> {
    if found.chosen == 0 {
        return writeln!(out, "{}", which_words(kind));
    }
    writeln!(out, "{} would be {}", texts(found.would_do), done_words(kind))?;
    if found.would_wait > 0 {
        writeln!(out, "{} would wait until the events of their clients are processed", texts(found.would_wait))?;
    }
    let skipped = found.would_skip.iter().map(|(reason, count)| (*reason, *count));
    print_skipped(out, "would be skipped", skipped)?;
    writeln!(out)?;
    let alike = |it: &rows::Alike| {
        let error = it.error_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        vec![it.count.to_string(), it.kind.clone(), it.status.clone(), error]
    };
    table::print(out, &ALIKE, found.alike.iter().map(alike).collect())?;
    writeln!(out, "\nFor example:")?;
    for it in &found.examples {
        let skipped = it.would_skip.map(|reason| format!(" (skipped: {})", reason_words(reason))).unwrap_or_default();
        let body: String = it.body.chars().map(|it| if it.is_control() { ' ' } else { it }).take(60).collect();
        writeln!(out, "  {} to {}, {}{skipped}: {body}", it.id, it.to, it.kind)?;
    }
    writeln!(out, "\nNothing is changed. Add --yes and --why TEXT to do it.")
}

fn print_skipped<'a>(
    out: &mut impl Write,
    words: &str,
    skipped: impl Iterator<Item = (&'a str, i64)>,
) -> std::io::Result<()> {
    for (reason, count) in skipped {
        writeln!(out, "{} {words}: {}", texts(count), reason_words(reason))?;
    }
    Ok(())
}

async fn carry_out(pool: &PgPool, kind: Kind, selection: &Selection, options: &Options) -> anyhow::Result<ExitCode> {
    let told_to_stop = shutdown::requested(false)?;
    let by = operator(options.why.clone());
    let begun = match bulk_actions::start(pool, kind, selection, &by, None, clock::now()).await? {
        Started::Begun(begun) => begun,
        Started::Before(_) | Started::NoTexts => {
            eprintln!("jobrun: {}", which_words(kind));
            return Ok(ExitCode::FAILURE);
        }
    };
    eprintln!("jobrun: bulk action {} has begun with {}", begun.id, texts(begun.chosen.into()));
    let progress = tokio::select! {
        progress = wait(pool, begun.id) => progress?,
        () = told_to_stop => {
            eprintln!("jobrun: it goes on without this command; `jobrun texts --progress {}` shows how far it is", begun.id);
            return Err(exit::Interrupted.into());
        }
    };
    print_progress(&progress, options.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until an action is finished, and prints how far it is each time that changes.
async fn wait(pool: &PgPool, id: i64) -> anyhow::Result<Progress> {
    let (mut settled, mut changed_at) = (-1, tokio::time::Instant::now());
    loop {
        let found = rows::find(&mut *pool.acquire().await?, id).await?;
        let progress = found.ok_or_else(|| anyhow::anyhow!("bulk action {id} is gone"))?;
        if progress.done + progress.skipped != settled {
            (settled, changed_at) = (progress.done + progress.skipped, tokio::time::Instant::now());
            eprintln!("jobrun: {settled} of {}, {} of them skipped", progress.chosen, progress.skipped);
        }
        if progress.finished_at.is_some() {
            return Ok(progress);
        }
        if changed_at.elapsed() > STANDSTILL {
            changed_at = tokio::time::Instant::now();
            eprintln!("jobrun: still waiting: workers do this, and no faster than texts leave; see `jobrun alerts`");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn print_progress(it: &Progress, json: bool) -> anyhow::Result<()> {
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(it)?)?);
    }
    let kind = Kind::from_name(&it.action);
    let end = it.finished_at.map_or_else(
        || format!("{} still wait", texts(it.chosen - it.done - it.skipped)),
        |at| format!("finished at {}", at.format(MINUTE)),
    );
    writeln!(out, "bulk action {} of {}, begun at {}: {end}", it.id, it.who, it.begun_at.format(MINUTE))?;
    writeln!(out, "{} {}{}", texts(it.done), kind.map_or("done", done_words), statuses(&it.statuses))?;
    let skipped = it.reasons.iter().map(|(reason, count)| (reason.as_str(), *count));
    Ok(print_skipped(&mut out, "skipped", skipped)?)
}

fn statuses(counts: &BTreeMap<String, i64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    if counts.is_empty() { String::new() } else { format!(", now {}", counts.join(", ")) }
}

async fn show_progress(pool: &PgPool, id: i64, json: bool) -> anyhow::Result<ExitCode> {
    let Some(progress) = rows::find(&mut *pool.acquire().await?, id).await? else {
        eprintln!("jobrun: there is no bulk action {id}");
        return Ok(ExitCode::FAILURE);
    };
    print_progress(&progress, json)?;
    Ok(ExitCode::SUCCESS)
}
