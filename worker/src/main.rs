//! `jobrun-worker`: takes jobs, and runs them.
//!
//! This file holds start-up and the queues; the jobs are in `jobs/`. Outside `shared/src/queue/`, it is the only one that uses
//! apalis.

mod alert_delivery;

mod batch;

mod claim;

mod context;

mod events;

mod gauges;

mod jobs;

mod lookup;

mod pace;

mod send_failures;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use apalis::prelude::*;
use apalis_cron::{CronScheduler, Schedule, Tick};
use clap::{Parser, Subcommand};
use futures::FutureExt;
use jobrun_ops::{OpsPort, TraceExporter};
use jobrun_shared::db::{erasures, installation};
use jobrun_shared::phone_digest::PhoneKey;
use jobrun_shared::queue::{self, Announcer, End, Job, JobNotifier, Jobs, Queue};
use jobrun_shared::{clock, config, db, exit, metrics, shutdown, telemetry};
use jobrun_twilio::api::Api;
use tokio_util::sync::CancellationToken;

use crate::context::{JobContext, Progress, StripeAccount};
use crate::jobs::{bulk_actions, process_events, reconcile, reconcile_stripe, send_messages, sweep};

/// Enough for every job under way, and for the one connection that listens for notifications.
///
/// Locks are released within milliseconds, unless a session has a transaction open by hand. Work that needs one is deferred.
const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun-worker",
    kept: 8,
    max: 20,
    acquire_timeout: Duration::from_secs(5),
    lock_timeout: Duration::from_millis(250),
    statement_timeout: Duration::from_secs(30),
};

/// The delay before the next attempt to end a job, when the database did not respond.
const END_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The time that jobs have to finish the work in hand at shut-down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

/// Processes the recorded webhooks: decides, saves, sends texts, and looks after the waiting list.
///
/// Runs until SIGTERM or Ctrl-C, and then finishes the work in hand. Any number may run at a time.
#[derive(Parser)]
#[command(version)]
#[command(
    after_help = "Settings come from the environment; deploy/guide/settings.md lists them. These are needed:\n\n\
    DATABASE_URL          postgres://user:password@host/database, migrated by `jobrun migrate`\n\
    TWILIO_ACCOUNT_SID    the account at Twilio\n\
    TWILIO_AUTH_TOKEN     its auth token, with which texts are sent\n\
    PUBLIC_BASE_URL       where Twilio reports what became of a text\n\n\
    Exit status: 0 after it was told to stop, 1 when it cannot go on, 2 when settings or arguments are wrong."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Asks the worker at OPS_ADDR on this machine whether it is ready: exit status 0 if it is, else 1
    Healthcheck,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        None => start().await,
        Some(Command::Healthcheck) => healthcheck().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun-worker: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

async fn healthcheck() -> anyhow::Result<()> {
    jobrun_ops::healthcheck(config::ops_addr()?).await.map_err(anyhow::Error::msg)
}

async fn start() -> anyhow::Result<()> {
    let settings = config::Worker::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stdout);
    let ops_port = OpsPort::open(settings.ops_addr).await?;
    let traces = TraceExporter::start(settings.traces.as_ref(), "jobrun-worker", env!("CARGO_PKG_VERSION"))
        .map_err(anyhow::Error::msg)?;
    let (pool, health) = db::connect_watched(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    let account_kind = settings.twilio.account_kind();
    installation::mark(&pool, account_kind, clock::now()).await?.ensure_is_of(account_kind)?;

    if settings.erasure_key.is_none() && erasures::any_opt_out(&mut *pool.acquire().await?).await? {
        tracing::warn!("ERASURE_KEY is not set: erased persons who had opted out are not recognised");
    }
    let stop = CancellationToken::new();
    let context = Arc::new(JobContext {
        announcer: Announcer::start(pool.clone()),
        pool,
        health,
        twilio: Api::new(&settings.twilio.account).context("preparing requests to Twilio")?,
        stripe: settings
            .stripe_audit
            .as_ref()
            .map(StripeAccount::new)
            .transpose()
            .context("preparing requests to Stripe")?,
        public_base_url: settings.twilio.account.public_base_url.clone(),
        voicemail: settings.voicemail,
        onboarding_number: settings.twilio.onboarding_number,
        payment_link: settings.payment_link,
        payment_portal: settings.payment_portal,
        switches: settings.switches,
        hold: settings.hold,
        cooling: settings.cooling,
        sweep_interval: settings.sweep_interval,
        audit_interval: settings.audit_interval,
        segments_per_second: settings.segments_per_second,
        pool_level_min: settings.pool_level_min,
        batch_max: settings.batch_max,
        reminders: settings.reminders.clone(),
        wordings: settings.wordings,
        forwarding_checks: settings.forwarding_checks.clone(),
        text_back: settings.text_back,
        retention: settings.retention,
        erasure_key: settings.erasure_key.map(PhoneKey::new),
        last_blocker_check: Arc::default(),
        stop: stop.clone(),
    });
    let notifier = JobNotifier::listen(&context.pool, &context.health);
    if let Some(ops_port) = ops_port {
        tokio::spawn(gauges::report(Arc::clone(&context), process_name()));
        tokio::spawn(serve_ops(ops_port, Arc::clone(&context), notifier.clone()));
    }
    if let Some(webhook) = settings.alert_webhook {
        tokio::spawn(alert_delivery::run(Arc::clone(&context), webhook));
    }
    let monitor = monitor(&context, &notifier, settings.sweep_interval);
    tracing::info!("worker {} takes jobs", process_name());
    let stop_requested = shutdown::requested(settings.stop_with_stdin)?;
    let stop_jobs = async move {
        stop_requested.await;
        stop.cancel();
        Ok(())
    };
    monitor.run_with_signal(stop_jobs).await?;
    tracing::info!("worker {} has finished what it had in hand", process_name());
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(())
}

async fn serve_ops(ops_port: OpsPort, context: Arc<JobContext>, notifier: JobNotifier) {
    metrics::begin_worker(&Queue::ALL.map(Queue::name));
    let (ready, gauges) = (Arc::clone(&context), context);
    ops_port
        .serve(
            move || {
                let context = Arc::clone(&ready);
                async move { context.ensure_ready().await }
            },
            move || {
                let is_heard = notifier.set_gauges();
                metrics::process(
                    &gauges.pool,
                    is_heard && gauges.health.refusal().is_none(),
                    env!("CARGO_PKG_VERSION"),
                );
            },
        )
        .await;
}

fn monitor(context: &Arc<JobContext>, notifier: &JobNotifier, sweep_interval: Duration) -> Monitor {
    let monitor = Monitor::new().should_restart(|_, error| restart_queue(error)).shutdown_timeout(SHUTDOWN_TIMEOUT);
    let monitor = with_queue(monitor, context, notifier, Queue::ProcessEvents);
    let monitor = with_queue(monitor, context, notifier, Queue::SendMessages);
    let monitor = with_queue(monitor, context, notifier, Queue::Sweep);
    let monitor = with_queue(monitor, context, notifier, Queue::Reconcile);
    let monitor = with_queue(monitor, context, notifier, Queue::ReconcileStripe);
    let monitor = with_queue(monitor, context, notifier, Queue::BulkActions);
    let context = Arc::clone(context);
    monitor.register(move |_| {
        WorkerBuilder::new(format!("sweep-schedule-{}", process_name()))
            .backend(CronScheduler::new(FixedInterval(sweep_interval)))
            .data(Arc::clone(&context))
            .build(sweep_on_schedule)
    })
}

/// Restarts a queue that lost its database, for as long as the process lives. The backend tells of errors of its own.
fn restart_queue(error: &WorkerError) -> bool {
    if !matches!(error, WorkerError::BackendError(_)) {
        tracing::warn!(%error, "a job queue failed, and begins anew");
    }
    true
}

/// Returns how many jobs of a queue a process runs at the same time.
const fn concurrency_of(queue: Queue) -> usize {
    match queue {
        Queue::ProcessEvents | Queue::Sweep | Queue::Reconcile | Queue::ReconcileStripe | Queue::BulkActions => 1,
        // One job claims and records while another waits for Twilio.
        Queue::SendMessages => 4,
    }
}

/// Registers a worker for the jobs of `queue`. Its name is unique to the process and to the restart, because jobs stay with a name
/// until it has been silent for some seconds.
fn with_queue(monitor: Monitor, context: &Arc<JobContext>, notifier: &JobNotifier, queue: Queue) -> Monitor {
    let (context, notifier) = (Arc::clone(context), notifier.clone());
    monitor.register(move |restarts| {
        WorkerBuilder::new(format!("{}-{}-{restarts}", queue.name(), process_name()))
            .backend(Jobs::new(&context.pool, queue, &notifier, restarts))
            .concurrency(concurrency_of(queue))
            // As tasks of their own, jobs go on while their queue restarts after losing its database for a moment.
            .parallelize(tokio::spawn)
            .data(Arc::clone(&context))
            .build(move |job: Job, context: Data<Arc<JobContext>>| run(queue, job, context))
    })
}

async fn run(queue: Queue, job: Job, context: Data<Arc<JobContext>>) -> Result<(), BoxDynError> {
    let started_at = Instant::now();
    let waited = job.due_since.and_then(|since| (clock::now() - since).to_std().ok());
    metrics::queue_wait(queue.name(), waited.unwrap_or_default());
    // The job is ended in any case, because it stands for all that were due.
    let end = match AssertUnwindSafe(context.unless_lost(work(queue, &context))).catch_unwind().await {
        Ok(Ok(Progress::Drained)) => End::Done,
        Ok(Ok(Progress::MoreToDo)) => End::Again,
        Ok(Err(error)) => {
            tracing::warn!(job = queue.name(), attempt = job.attempt, %error, "a job failed, and is tried again");
            handle_database_error(&error, &context).await;
            End::Failed
        }
        Err(_) => {
            tracing::error!(job = queue.name(), attempt = job.attempt, "a job panicked, and is tried again");
            End::Failed
        }
    };
    metrics::job(queue.name(), end.name(), started_at.elapsed());
    while let Err(error) = context.unless_lost(queue::end(&context.pool, &job, end)).await {
        tracing::warn!(job = queue.name(), %error, "a job cannot be ended yet");
        tokio::select! {
            () = tokio::time::sleep(END_RETRY_DELAY) => {}
            () = context.stop.cancelled() => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives up a server that was lost or takes no writes, and raises alerts about sessions that hold locks.
async fn handle_database_error(error: &db::Error, context: &JobContext) {
    metrics::db_error(error);
    if error.is_of_the_connection() {
        context.health.distrust();
    }
    if error.is_lock_timeout() {
        context.raise_blocker_alerts().await;
    }
}

async fn work(queue: Queue, context: &JobContext) -> Result<Progress, db::Error> {
    match queue {
        Queue::ProcessEvents => process_events::run(context).await,
        Queue::SendMessages => send_messages::run(context).await,
        Queue::Sweep => sweep::run(context).await.map(|()| Progress::Drained),
        Queue::Reconcile => reconcile::run(context).await,
        Queue::ReconcileStripe => reconcile_stripe::run(context).await,
        Queue::BulkActions => bulk_actions::run(context).await,
    }
}

async fn sweep_on_schedule(_: Tick, context: Data<Arc<JobContext>>) {
    if let Err(error) = context.unless_lost(sweep::run(&context)).await {
        tracing::warn!(%error, "a sweep failed; the next one follows on schedule");
        handle_database_error(&error, &context).await;
    }
}

/// A schedule of ticks at a fixed interval, from the start of the process.
#[derive(Clone, Debug)]
struct FixedInterval(Duration);

impl<Zone> Schedule<Zone> for FixedInterval {
    fn next_tick(&mut self, _: &Zone) -> Option<Tick<Zone>> {
        let next = clock::now() + self.0;
        Some(Tick::new(u64::try_from(next.timestamp()).ok()?))
    }
}

/// Returns a name that no other process has: host, process id, and the time of its start.
fn process_name() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        let host = gethostname::gethostname();
        format!("{}-{}-{}", host.to_string_lossy(), std::process::id(), clock::now().timestamp_millis())
    })
}
