//! Texts in to texts out: from the first webhook until the stand-in has accepted the last text.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use jobrun::demo::TestSystem;
use jobrun_stand_in::Reports;

use crate::bench::{Bench, Settings, wait_until};
use crate::cost::{Calibration, PerText, Usage};
use crate::figures::{RUNS, median, median_if_known};
use crate::report::{Cell, Table};
use crate::sender;

/// How many texts a run sends, and how long it may take.
const TEXTS: usize = 6_000;
const TIME_MAX: Duration = Duration::from_secs(90);
const TIME_OF_A_TEXT_MAX: Duration = Duration::from_millis(10);

/// The same for the reference. It is cut short after this time, when its pace is known.
const TEXTS_ONE_BY_ONE: usize = 600;
const CUT_SHORT_AFTER: Duration = Duration::from_secs(8);

/// How many connections send the webhooks.
const CONNECTIONS: usize = 64;

/// How often the rows are polled while reports arrive.
const POLL_EVERY: Duration = Duration::from_millis(50);

const WORKERS: [usize; 3] = [1, 2, 4];

/// After how long the stand-in responds.
const ANSWERED_AFTER: [Duration; 2] = [Duration::ZERO, Duration::from_millis(100)];

const ONE_BY_ONE: &Settings = &[("BATCH_MAX", "1")];

/// How a run sends texts.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    name: &'static str,
    workers: usize,
    settings: &'static Settings,
    answered_after: Duration,
    /// Whether each text gets its two delivery reports. If so, the run ends with the last of them.
    reports: bool,
    pub(crate) texts: usize,
}

impl Plan {
    /// Returns the plan with default settings, without delivery reports.
    pub(crate) const fn ours(workers: usize, answered_after: Duration) -> Self {
        Self { name: "as it is", workers, settings: &[], answered_after, reports: false, texts: TEXTS }
    }

    /// Returns the plan with as many texts, with or without delivery reports.
    pub(crate) const fn with(self, texts: usize, reports: bool) -> Self {
        Self { texts, reports, ..self }
    }

    const fn one_by_one(workers: usize, answered_after: Duration) -> Self {
        let name = "one transaction per text";
        Self { name, workers, settings: ONE_BY_ONE, answered_after, reports: false, texts: TEXTS_ONE_BY_ONE }
    }

    /// Returns every plan, each after its reference.
    fn all() -> Vec<Self> {
        let pairs = ANSWERED_AFTER
            .into_iter()
            .flat_map(|after| WORKERS.map(|workers| [Self::one_by_one(workers, after), Self::ours(workers, after)]));
        let with_reports = Self::ours(1, ANSWERED_AFTER[0]).with(TEXTS, true);
        let with_reports = Self { name: "as it is, with reports", ..with_reports };
        pairs.flatten().chain([with_reports]).collect()
    }

    fn is_reference(&self) -> bool {
        self.settings == ONE_BY_ONE
    }

    /// A plan is compared with references of the same response time. No reference has reports, so a plan with reports has none.
    fn is_reference_of(&self, other: &Self) -> bool {
        self.is_reference() && self.answered_after == other.answered_after && !other.reports
    }

    fn time_max(&self) -> Duration {
        if self.is_reference() { CUT_SHORT_AFTER } else { TIME_MAX.max(TIME_OF_A_TEXT_MAX * self.texts as u32) }
    }

    fn cells(&self) -> [Cell; 3] {
        let after = self.answered_after.as_secs_f64() * 1000.0;
        [Cell::words(self.name), Cell::Figure(after, 0), Cell::count(self.workers)]
    }
}

/// The figures of one run.
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// `None` if the run was cut short, or if the system does not report processor time.
    pub(crate) per_text: Option<PerText>,
}

pub(crate) async fn section(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let plans = Plan::all();
    let mut runs: Vec<Vec<Figures>> = plans.iter().map(|_| Vec::new()).collect();
    let mut calibrations = Vec::new();
    for number in 1..=RUNS {
        for (plan, runs) in plans.iter().zip(&mut runs) {
            let figures = measure(bench, plan).await?;
            let (name, workers, rate) = (plan.name, plan.workers, figures.per_second);
            let after = plan.answered_after;
            eprintln!("texts: run {number}, {name}, {workers} workers, answered after {after:?}: {rate:.0} a second");
            runs.push(figures);
        }
        calibrations.push(Calibration::measure(bench).await?);
    }
    let measured: Vec<(Plan, Vec<Figures>)> = plans.into_iter().zip(runs).collect();
    let rate_of_one = measured.iter().find(|(plan, _)| plan.settings.is_empty()).map(|(_, runs)| rate(runs));
    bench.one_worker_rate.set(rate_of_one);
    let per_webhook = median_if_known(&calibrations, |it| it.map(|it| it.per_webhook));
    let per_post = median_if_known(&calibrations, |it| it.map(|it| it.per_post));
    let calibration = per_webhook.zip(per_post).map(|(per_webhook, per_post)| Calibration { per_webhook, per_post });
    let mut tables = vec![rates(&measured), costs(&measured)];
    tables.extend(calibration.into_iter().flat_map(|calibration| [shares(&measured, calibration), http(calibration)]));
    Ok(tables)
}

fn rate(runs: &[Figures]) -> f64 {
    median(runs, |figures| figures.per_second)
}

fn rates(measured: &[(Plan, Vec<Figures>)]) -> Table {
    let columns = ["texts in to texts out", "answered after ms", "workers", "per second", "× best one by one"];
    let mut table = Table::new("Texts", columns);
    for (plan, runs) in measured {
        let references = measured.iter().filter(|(other, _)| other.is_reference_of(plan));
        let best = references.map(|(_, runs)| rate(runs)).max_by(f64::total_cmp);
        let [name, after, workers] = plan.cells();
        let (rate, ratio) = (rate(runs), best.map(|best| rate(runs) / best));
        table.row([name, after, workers, Cell::Figure(rate, 0), Cell::or_nothing(ratio, 2)]);
    }
    table
}

/// Returns the median processor time of each part, unless a run was cut short.
fn median_per_text(runs: &[Figures]) -> Option<PerText> {
    let part = |part: fn(&PerText) -> f64| median_if_known(runs, |figures| figures.per_text.as_ref().map(part));
    Some(PerText {
        postgres: part(|it| it.postgres)?,
        ingress: part(|it| it.ingress)?,
        workers: part(|it| it.workers)?,
        other_end: part(|it| it.other_end)?,
    })
}

fn costs(measured: &[(Plan, Vec<Figures>)]) -> Table {
    let columns =
        ["µs per text", "answered after ms", "workers", "PostgreSQL", "ingress", "worker", "other end", "total"];
    let mut table = Table::new("Processor time of a text", columns);
    for (plan, runs) in measured {
        let per_text = median_per_text(runs);
        let figure = |figure: fn(&PerText) -> f64| Cell::or_nothing(per_text.as_ref().map(figure), 0);
        let [name, after, workers] = plan.cells();
        table.row([
            name,
            after,
            workers,
            figure(|it| it.postgres),
            figure(|it| it.ingress),
            figure(|it| it.workers),
            figure(|it| it.other_end),
            figure(PerText::total),
        ]);
    }
    table
}

fn shares(measured: &[(Plan, Vec<Figures>)], calibration: Calibration) -> Table {
    let columns =
        ["% of the time", "answered after ms", "workers", "PostgreSQL", "HTTP", "our code", "stand-in and generator"];
    let mut table = Table::new("Where the time goes", columns);
    for (plan, runs) in measured {
        let Some(per_text) = median_per_text(runs) else { continue };
        // A text has one webhook, and one more for each of its two reports.
        let http = per_text.http(calibration, if plan.reports { 3 } else { 1 });
        let ours = per_text.ingress + per_text.workers - http;
        let share = |part: f64| Cell::Figure(100.0 * part / per_text.total(), 0);
        let [name, after, workers] = plan.cells();
        table.row([
            name,
            after,
            workers,
            share(per_text.postgres),
            share(http),
            share(ours),
            share(per_text.other_end),
        ]);
    }
    table
}

fn http(calibration: Calibration) -> Table {
    let mut table = Table::new("HTTP alone", ["", "µs"]);
    table.row([Cell::words("to answer a webhook without reading it"), Cell::Figure(calibration.per_webhook, 1)]);
    table.row([Cell::words("to post a text to the stand-in"), Cell::Figure(calibration.per_post, 1)]);
    table
}

/// Runs a plan on a database of its own.
pub(crate) async fn measure(bench: &Bench, plan: &Plan) -> anyhow::Result<Figures> {
    let system = bench.test_system(plan.workers, plan.settings).await?;
    let figures = measure_on(bench, &system, plan, &bench.strangers(plan.texts)).await?;
    bench.drop_system(system).await?;
    Ok(figures)
}

/// Runs a plan in which each of `phones` sends one text, and must get one answer.
pub(crate) async fn measure_on(
    bench: &Bench,
    system: &TestSystem,
    plan: &Plan,
    phones: &[String],
) -> anyhow::Result<Figures> {
    let stand_in = &system.stand_in;
    stand_in.answer_after(plan.answered_after);
    stand_in.reports(if plan.reports { Reports::InOrder } else { Reports::Missing });
    let requests = sender::texts_from(system, phones);
    let already = stand_in.message_count();
    let before = Usage::now(bench, system);
    let sent = sender::send(sender::ingress_addr(system)?, requests, CONNECTIONS).await?;
    let deadline = sent.started + plan.time_max();
    let complete = wait_until(deadline, || stand_in.message_count() >= already + phones.len()).await;
    ensure!(complete || plan.is_reference(), "texts are still missing after {:?}", plan.time_max());
    if complete && plan.reports {
        wait_for_reports(system, deadline).await?;
    }
    let (elapsed, taken) = (sent.started.elapsed(), stand_in.message_count() - already);
    let after = Usage::now(bench, system);
    ensure_answered_once(system, phones, complete)?;
    let used = before.zip(after).filter(|_| complete);
    Ok(Figures {
        per_second: taken as f64 / elapsed.as_secs_f64(),
        per_text: used.map(|(before, after)| after.per_text_since(&before, taken)),
    })
}

async fn wait_for_reports(system: &TestSystem, deadline: Instant) -> anyhow::Result<()> {
    loop {
        // Each condition is that of an index which holds only what waits, so that polling costs little on many rows.
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM messages WHERE status IN ('queued', 'sending', 'unknown'))
                 OR EXISTS (SELECT FROM messages WHERE check_at IS NOT NULL)
                 OR EXISTS (SELECT FROM events WHERE processed_at IS NULL)",
        )
        .fetch_one(&system.pool)
        .await?;
        if !waits {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "reports are still missing");
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Checks that no phone got two texts in reply, and that each got one, unless the run was cut short.
fn ensure_answered_once(system: &TestSystem, phones: &[String], complete: bool) -> anyhow::Result<()> {
    let messages = system.stand_in.messages();
    let mut answers: HashMap<&str, usize> = HashMap::new();
    for message in &messages {
        *answers.entry(&message.to).or_default() += 1;
    }
    let got = |phone: &String| answers.get(phone.as_str()).copied().unwrap_or_default();
    let (none, several) = (phones.iter().filter(|it| got(it) == 0), phones.iter().filter(|it| got(it) > 1));
    let (none, several) = (none.count(), several.count());
    ensure!(several == 0 && (none == 0 || !complete), "{none} phones were not answered, {several} more than once");
    Ok(())
}
