//! The hands: takes jobs, and does them.
//!
//! Start-up only: what the jobs do stands in the modules, in reading order. This file and `shared/src/queue.rs` are the only
//! ones that know apalis.

mod hands;

mod process_events;

mod conversations;

mod delivery_reports;

mod payments;

mod payment_alerts;

mod strays;

mod send_messages;

mod consequences;

mod reconcile;

mod sweep;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use apalis::prelude::*;
use apalis_cron::{CronScheduler, Schedule, Tick};
use clap::Parser;
use futures::FutureExt;
use jobrun_shared::db::installation;
use jobrun_shared::queue::{self, Bell, End, Job, Jobs, Queue};
use jobrun_shared::{clock, config, db, exit, shutdown, telemetry, twilio::api::Api};
use tokio_util::sync::CancellationToken;

use crate::hands::{Hands, Left};

/// Some for each job under way, and one that listens for notifications.
///
/// Locks are given up after milliseconds, unless somebody has a transaction open by hand: what waits for one is put off.
const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun-worker",
    kept: 8,
    max: 20,
    acquire_timeout: Duration::from_secs(5),
    lock_timeout: Duration::from_millis(250),
    statement_timeout: Duration::from_secs(30),
};

/// How soon it is tried again to end a job, when the database did not answer.
const END_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a job may take to finish what it has in hand when the process is to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

/// Does what the recorded webhooks ask for: decides, saves, sends texts, and looks after the waiting list.
///
/// Runs until SIGTERM or Ctrl-C, and then finishes what it has in hand. Any number may run at a time.
#[derive(Parser)]
#[command(version)]
#[command(after_help = "Settings come from the environment; the README lists them. These are needed:\n\n\
    DATABASE_URL          postgres://user:password@host/database, migrated by `jobrun migrate`\n\
    TWILIO_ACCOUNT_SID    the account at Twilio\n\
    TWILIO_AUTH_TOKEN     its auth token, with which texts are sent\n\
    PUBLIC_BASE_URL       where Twilio reports what became of a text\n\n\
    Exit status: 0 after it was told to stop, 1 when it cannot go on, 2 when settings or arguments are wrong.")]
struct Arguments {}

#[tokio::main]
async fn main() -> ExitCode {
    Arguments::parse();
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun-worker: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

async fn start() -> anyhow::Result<()> {
    let settings = config::Worker::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stdout);
    let (pool, health) = db::connect_watched(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    let account_kind = settings.twilio.account_kind();
    installation::mark(&pool, account_kind, clock::now()).await?.ensure_is_of(account_kind)?;

    let stop = CancellationToken::new();
    let hands = Arc::new(Hands {
        pool,
        health,
        twilio: Api::new(&settings.twilio).context("preparing requests to Twilio")?,
        onboarding_number: settings.twilio.onboarding_number,
        payment_link: settings.payment_link,
        hold: settings.hold,
        cooling: settings.cooling,
        sweep_interval: settings.sweep_interval,
        audit_interval: settings.audit_interval,
        segments_per_second: settings.segments_per_second,
        pool_level_min: settings.pool_level_min,
        slice_max: settings.slice_max,
        retention: settings.retention,
        blockers_looked_for_at: Arc::default(),
        stop: stop.clone(),
    });
    let monitor = monitor(&hands, settings.sweep_interval);
    tracing::info!("worker {} takes jobs", process_name());
    let asked_to_stop = shutdown::requested(settings.stop_with_stdin)?;
    let tell_the_jobs = async move {
        asked_to_stop.await;
        stop.cancel();
        Ok(())
    };
    monitor.run_with_signal(tell_the_jobs).await?;
    tracing::info!("worker {} has finished what it had in hand", process_name());
    Ok(())
}

fn monitor(hands: &Arc<Hands>, sweep_interval: Duration) -> Monitor {
    let monitor = Monitor::new().should_restart(begins_anew).shutdown_timeout(SHUTDOWN_TIMEOUT);
    let bell = Bell::listen(&hands.pool, &hands.health);
    let monitor = with_queue(monitor, hands, &bell, Queue::ProcessEvents);
    let monitor = with_queue(monitor, hands, &bell, Queue::SendMessages);
    let monitor = with_queue(monitor, hands, &bell, Queue::Sweep);
    let monitor = with_queue(monitor, hands, &bell, Queue::Reconcile);
    let hands = Arc::clone(hands);
    monitor.register(move |_| {
        WorkerBuilder::new(format!("sweep-schedule-{}", process_name()))
            .backend(CronScheduler::new(Every(sweep_interval)))
            .data(Arc::clone(&hands))
            .build(sweep_on_schedule)
    })
}

/// A queue that lost its database begins anew, for as long as the process lives.
fn begins_anew(worker: &WorkerContext, error: &WorkerError) -> bool {
    tracing::warn!(queue = worker.name(), %error, "the job queue lost its database, and begins anew");
    true
}

/// How many jobs of a queue a process does side by side.
const fn jobs_at_once(queue: Queue) -> usize {
    match queue {
        Queue::ProcessEvents | Queue::Sweep | Queue::Reconcile => 1,
        // One claims and records while another waits for Twilio.
        Queue::SendMessages => 4,
    }
}

/// Takes the jobs of `queue`. A name of its own for each process, and for each time that it begins anew: jobs stay with a
/// name until it has been silent for some seconds.
fn with_queue(monitor: Monitor, hands: &Arc<Hands>, bell: &Bell, queue: Queue) -> Monitor {
    let (hands, bell) = (Arc::clone(hands), bell.clone());
    monitor.register(move |restarts| {
        WorkerBuilder::new(format!("{}-{}-{restarts}", queue.name(), process_name()))
            .backend(Jobs::new(&hands.pool, queue, &bell, restarts))
            .concurrency(jobs_at_once(queue))
            // Jobs go on by themselves when the queue loses its database for a moment, and begins anew.
            .parallelize(tokio::spawn)
            .data(Arc::clone(&hands))
            .build(move |job: Job, hands: Data<Arc<Hands>>| run(queue, job, hands))
    })
}

async fn run(queue: Queue, job: Job, hands: Data<Arc<Hands>>) -> Result<(), BoxDynError> {
    // In any case the job is ended: it stands for all that were due.
    let end = match AssertUnwindSafe(hands.unless_lost(work(queue, &hands))).catch_unwind().await {
        Ok(Ok(Left::Nothing)) => End::Done,
        Ok(Ok(Left::Something)) => End::Again,
        Ok(Err(error)) => {
            tracing::warn!(job = queue.name(), attempt = job.attempt, %error, "a job failed, and is tried again");
            learn_from(&error, &hands).await;
            End::Failed
        }
        Err(_) => {
            tracing::error!(job = queue.name(), attempt = job.attempt, "a job panicked, and is tried again");
            End::Failed
        }
    };
    while let Err(error) = hands.unless_lost(queue::end(&hands.pool, &job, end)).await {
        tracing::warn!(job = queue.name(), %error, "a job cannot be ended yet");
        tokio::select! {
            () = tokio::time::sleep(END_AGAIN_AFTER) => {}
            () = hands.stop.cancelled() => return Err(error.into()),
        }
    }
    Ok(())
}

/// A server that was lost, or takes no writes, is left for one that does; sessions that hold locks are named to the operator.
async fn learn_from(error: &db::Error, hands: &Hands) {
    if error.is_of_the_connection() {
        hands.health.distrust();
    }
    if error.is_lock_timeout() {
        hands.alert_of_blockers().await;
    }
}

async fn work(queue: Queue, hands: &Hands) -> Result<Left, db::Error> {
    match queue {
        Queue::ProcessEvents => process_events::run(hands).await,
        Queue::SendMessages => send_messages::run(hands).await,
        Queue::Sweep => sweep::run(hands).await.map(|()| Left::Nothing),
        Queue::Reconcile => reconcile::run(hands).await,
    }
}

async fn sweep_on_schedule(_: Tick, hands: Data<Arc<Hands>>) {
    if let Err(error) = hands.unless_lost(sweep::run(&hands)).await {
        tracing::warn!(%error, "a sweep failed; the next one follows on schedule");
        learn_from(&error, &hands).await;
    }
}

/// A tick every so often, from when the process started.
#[derive(Clone, Debug)]
struct Every(Duration);

impl<Zone> Schedule<Zone> for Every {
    fn next_tick(&mut self, _: &Zone) -> Option<Tick<Zone>> {
        let next = clock::now() + self.0;
        Some(Tick::new(u64::try_from(next.timestamp()).ok()?))
    }
}

/// What tells this process from all others: its host, its number, and when it began.
fn process_name() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        format!("{}-{}-{}", host.trim(), std::process::id(), clock::now().timestamp_millis())
    })
}
