//! Alerts about workers that do not run, and about work that waits for them. They are computed when the operator lists the
//! alerts, because a dead worker raises none.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::alerts::Kind;
use crate::db::alerts::{self, Alert};
use crate::db::inbox::{self, Overdue};
use crate::db::sweeps::{self, Sweeps};
use crate::db::{self, outbox};
use crate::queue::{self, Queue};

/// An event or a text that has been due for longer than this is overdue.
const OVERDUE_AFTER: TimeDelta = TimeDelta::seconds(60);

/// A queue without a heartbeat for longer than this has no worker.
const SILENT_AFTER: TimeDelta = TimeDelta::seconds(30);

/// The facts that the alerts depend on, all of the same moment.
struct Snapshot {
    seen: Vec<(Queue, Option<DateTime<Utc>>)>,
    events: Overdue,
    texts: Overdue,
    sweeps: Sweeps,
}

/// Returns every open alert, oldest first, and then the alerts about the workers at this moment.
pub async fn list_alerts(pool: &PgPool, now: DateTime<Utc>) -> Result<Vec<Alert>, db::Error> {
    let mut tx = db::snapshot(pool).await?;
    let mut alerts = alerts::list_open(&mut *tx).await?;
    let snapshot = Snapshot {
        seen: queue::last_seen(&mut tx).await?,
        events: inbox::count_overdue(&mut tx, now - OVERDUE_AFTER).await?,
        texts: outbox::count_overdue(&mut tx, now - OVERDUE_AFTER, now).await?,
        sweeps: sweeps::find(&mut tx).await?,
    };
    alerts.extend(find_alerts(&snapshot, now));
    Ok(alerts)
}

fn find_alerts(snapshot: &Snapshot, now: DateTime<Utc>) -> Vec<Alert> {
    let found = [
        no_worker(&snapshot.seen, now),
        overdue(Kind::EventsWaiting, "event", &snapshot.events, "processed"),
        overdue(Kind::TextsWaiting, "text", &snapshot.texts, "sent"),
        late_sweeps(snapshot.sweeps, now),
    ];
    let alert = |(kind, since, about): Found| Alert {
        id: None,
        cause: kind.name().to_owned(),
        about,
        raised_at: since,
        last_seen_at: now,
        times: 1,
    };
    found.into_iter().flatten().map(alert).collect()
}

/// A kind of alert, since when it holds, and its message.
type Found = (Kind, DateTime<Utc>, String);

fn no_worker(seen: &[(Queue, Option<DateTime<Utc>>)], now: DateTime<Utc>) -> Option<Found> {
    // During an upgrade no worker knows a new queue yet, and the workers of the previous version do all that was done before.
    let is_any_alive = seen.iter().any(|(_, at)| at.is_some_and(|at| at >= now - SILENT_AFTER));
    let is_silent = |at: Option<DateTime<Utc>>| at.map_or(!is_any_alive, |at| at < now - SILENT_AFTER);
    let silent: Vec<&(Queue, Option<DateTime<Utc>>)> = seen.iter().filter(|(_, at)| is_silent(*at)).collect();
    let last = silent.iter().filter_map(|(_, at)| *at).max();
    let jobs: Vec<&str> = silent.iter().map(|(queue, _)| queue.name()).collect();
    let which = if silent.len() == seen.len() { "at all".to_owned() } else { format!("for {}", jobs.join(", ")) };
    let since =
        last.map_or_else(|| "none is known".to_owned(), |at| format!("the last was seen {}", minutes(now - at)));
    (!silent.is_empty()).then(|| {
        let about = format!(
            "No worker runs {which}: {since}. Nobody is answered until one does. Start `jobrun-worker`; if it runs, its log \
             says what keeps it from the database."
        );
        (Kind::NoWorker, last.unwrap_or(now), about)
    })
}

fn overdue(kind: Kind, what: &str, overdue: &Overdue, done: &str) -> Option<Found> {
    let since = overdue.since?;
    let count = overdue.count;
    let (those, have) = if count == 1 { (what.to_owned(), "has") } else { (format!("{what}s"), "have") };
    let about = format!(
        "{count} {those} {have} been due for more than a minute and {have} not been {done}. See that `jobrun-worker` runs, and \
         read its log: it says what fails."
    );
    Some((kind, since, about))
}

fn late_sweeps(sweeps: Sweeps, now: DateTime<Utc>) -> Option<Found> {
    let last = match sweeps.last_success_at {
        None => "No sweep has succeeded yet".to_owned(),
        Some(at) => format!("The last sweep that succeeded was {}", minutes(now - at)),
    };
    (sweeps.late_after < now).then(|| {
        let about = format!(
            "{last}: numbers are not offered to those who wait, and nothing that was left behind is taken up. See that \
             `jobrun-worker` runs, and read its log: it says which part of a sweep fails."
        );
        (Kind::NoSweep, sweeps.late_after, about)
    })
}

fn minutes(ago: TimeDelta) -> String {
    match ago.num_minutes() {
        0 => format!("{} s ago", ago.num_seconds()),
        minutes => format!("{minutes} min ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn healthy() -> Snapshot {
        let none = Overdue { count: 0, since: None };
        let seen = [Queue::ProcessEvents, Queue::SendMessages].map(|queue| (queue, Some(NOW - TimeDelta::seconds(9))));
        let sweeps = Sweeps { last_success_at: None, late_after: NOW };
        Snapshot { seen: seen.to_vec(), events: none, texts: none, sweeps }
    }

    fn causes_and_messages(snapshot: &Snapshot) -> Vec<String> {
        find_alerts(snapshot, NOW).into_iter().map(|alert| format!("{}: {}", alert.cause, alert.about)).collect()
    }

    #[test]
    fn running_workers_raise_no_alerts() {
        assert!(causes_and_messages(&healthy()).is_empty());
    }

    #[test]
    fn silent_workers_overdue_work_and_late_sweeps_each_raise_an_alert() {
        let long_ago = NOW - TimeDelta::minutes(7);
        let mut snapshot = healthy();
        snapshot.seen[1].1 = Some(long_ago);
        assert!(
            causes_and_messages(&snapshot)[0]
                .starts_with("no-worker: No worker runs for send-messages: the last was seen 7 min ago.")
        );
        snapshot.seen.iter_mut().for_each(|(_, at)| *at = None);
        assert!(causes_and_messages(&snapshot)[0].starts_with("no-worker: No worker runs at all: none is known."));
        let snapshot = Snapshot {
            events: Overdue { count: 1, since: Some(long_ago) },
            texts: Overdue { count: 30, since: Some(long_ago) },
            sweeps: Sweeps { last_success_at: Some(long_ago), late_after: NOW - TimeDelta::seconds(1) },
            ..healthy()
        };
        let alerts_found = causes_and_messages(&snapshot);
        assert!(
            alerts_found[0]
                .starts_with("events-waiting: 1 event has been due for more than a minute and has not been processed")
        );
        assert!(
            alerts_found[1]
                .starts_with("texts-waiting: 30 texts have been due for more than a minute and have not been sent")
        );
        assert!(alerts_found[2].starts_with("no-sweep: The last sweep that succeeded was 7 min ago"));
    }
}
