//! The first page: alerts, stuck clients, and the figures of the day.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::alerts::Alert;
use jobrun_shared::db::gauges::{self, Gauges, TextsOf};
use jobrun_shared::db::listing::{self, STUCK_COUNTED, StuckClient, StuckReason, TakenOver};
use jobrun_shared::db::{self};
use jobrun_shared::{liveness, queue, words};

use super::alerts::client_of;
use super::numbers::tone_of;
use crate::app::App;
use crate::error::PageError;
use crate::overview::{FunnelStep, Overview};
use crate::remedies;
use crate::view::{Frame, Tone, client_path, duration, state_words, thousands};

/// The most alerts that the page shows.
const ALERTS_SHOWN: usize = 6;

/// A queue without a heartbeat for longer has no worker.
const SILENT_AFTER: TimeDelta = TimeDelta::seconds(30);

/// The days that the forecast of the pool is drawn for.
const FORECAST_DAYS: u32 = 60;

/// The size of a chart, in its own units.
const CHART: (f64, f64) = (600.0, 120.0);

#[derive(Template)]
#[template(path = "today.html")]
struct TodayPage {
    frame: Frame,
    alerts: Vec<AlertView>,
    alerts_in_all: usize,
    facts: Vec<Fact>,
    stuck: Vec<StuckView>,
    stuck_in_all: String,
    taken_over: Vec<TakenOverView>,
    funnel: Vec<FunnelView>,
    began: String,
    rates: Rates,
    pools: Vec<PoolView>,
    as_of: DateTime<Utc>,
}

struct AlertView {
    kind: String,
    about: String,
    action: String,
    client: Option<String>,
    raised_at: DateTime<Utc>,
}

/// A figure with a word about whether it is well.
struct Fact {
    name: &'static str,
    value: String,
    about: String,
    tone: Tone,
    href: &'static str,
}

struct StuckView {
    href: String,
    name: String,
    phone: String,
    state: &'static str,
    state_words: String,
    since: DateTime<Utc>,
    why: &'static str,
    /// How many are stuck for this reason.
    alike: String,
    action: &'static str,
}

/// A client that an operator has taken over.
struct TakenOverView {
    href: String,
    name: String,
    phone: String,
    by: String,
    last_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
}

struct FunnelView {
    state: String,
    href: String,
    reached: String,
    here: String,
    /// How many in a hundred of the first state's clients reached it.
    share: String,
    /// How many in a hundred of the state before were lost.
    lost: String,
    is_great_loss: bool,
    median: String,
}

struct Rates {
    /// The bars of each series: place, top, height.
    bars_in: Vec<(String, String, String)>,
    bars_out: Vec<(String, String, String)>,
    last_in: i64,
    last_out: i64,
    hour_in: String,
    hour_out: String,
    most: i64,
    rows: Vec<(String, i64, i64)>,
}

struct PoolView {
    region: String,
    unclaimed: String,
    forecast: String,
    tone: Tone,
    cooling: String,
    pace: String,
    line: String,
    area: String,
    most: String,
    zero: String,
    rows: Vec<(u32, String)>,
}

/// Shows the page.
///
/// # Errors
/// When the database fails.
pub async fn show(State(app): State<App>, frame: Frame) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Today", "today");
    let overview: Arc<Overview> = app.overviews.get(&app.pool).await?;
    let alerts = liveness::list_alerts(&app.pool, frame.now).await?;
    let taken_over = listing::list_taken_over(&mut *app.pool.acquire().await?, frame.now).await?;
    let now = now_facts(&app, &frame).await?;
    let began = overview.funnel.first().map_or(0, |step| step.reached);
    let page = TodayPage {
        alerts_in_all: alerts.len(),
        alerts: alerts.iter().take(ALERTS_SHOWN).map(|alert| alert_view(&frame, alert)).collect(),
        facts: now,
        stuck_in_all: stuck_in_all(&overview.stuck),
        stuck: overview.stuck.iter().map(|client| stuck_view(&frame, client)).collect(),
        taken_over: taken_over.iter().map(|client| taken_over_view(&frame, client)).collect(),
        funnel: funnel_views(&overview.funnel),
        began: thousands(began),
        rates: rates(&overview),
        pools: overview.regions.iter().map(pool_view).collect(),
        as_of: overview.at,
        frame,
    };
    Ok(Html(page.render()?))
}

fn alert_view(frame: &Frame, alert: &Alert) -> AlertView {
    let kind = alert.cause.split(':').next().unwrap_or_default().to_owned();
    AlertView {
        kind,
        about: alert.about.replace('`', ""),
        action: remedies::find(&alert.cause).map(|remedy| remedy.action.clone()).unwrap_or_default(),
        client: client_of(&alert.cause).map(client_path),
        raised_at: alert.raised_at.min(frame.now),
    }
}

fn taken_over_view(frame: &Frame, client: &TakenOver) -> TakenOverView {
    TakenOverView {
        href: client_path(&client.client_id),
        name: frame.business(&client.business_name),
        phone: frame.phone(&client.phone),
        by: frame.text(&client.takeover.by),
        last_at: client.takeover.last_at,
        ends_at: client.takeover.ends_at(),
    }
}

/// Reads what waits at this moment.
async fn now_facts(app: &App, frame: &Frame) -> Result<Vec<Fact>, PageError> {
    let mut tx = db::snapshot(&app.pool).await?;
    let gauges = gauges::read(&mut tx, frame.now).await?;
    let texts = gauges::count_texts(&mut tx, frame.now).await?;
    let seen = queue::last_seen(&mut tx).await?;
    drop(tx);
    let silent = seen.iter().filter(|(_, at)| at.is_none_or(|at| at < frame.now - SILENT_AFTER)).count();
    let last_seen = seen.iter().filter_map(|(_, at)| *at).max();
    Ok(vec![
        events_fact(frame, &gauges),
        texts_fact(frame, &texts),
        workers_fact(frame, silent, seen.len(), last_seen),
        sweep_fact(frame, &gauges),
        sending_fact(&gauges),
        place_fact(frame, &gauges),
        payments_fact(&gauges),
    ])
}

/// Returns words and tone of the age of the oldest of `count` things.
fn age(frame: &Frame, count: i64, oldest: Option<DateTime<Utc>>) -> (String, Tone) {
    match (count, oldest.map(|at| (frame.now - at).max(TimeDelta::zero()))) {
        (0, _) => ("nothing waits".to_owned(), Tone::Good),
        (_, None) => ("none is due yet".to_owned(), Tone::Info),
        (_, Some(age)) => {
            let tone = if age > TimeDelta::minutes(1) { Tone::Bad } else { Tone::Info };
            (format!("the oldest for {}", duration(age)), tone)
        }
    }
}

fn events_fact(frame: &Frame, gauges: &Gauges) -> Fact {
    let (about, tone) = age(frame, gauges.events_waiting, gauges.oldest_event);
    let value = thousands(gauges.events_waiting);
    Fact { name: "Events waiting", value, about, tone, href: "/events?show=waiting" }
}

fn texts_fact(frame: &Frame, texts: &[TextsOf]) -> Fact {
    let count = texts.iter().map(|it| it.count).sum();
    let (about, tone) = age(frame, count, texts.iter().filter_map(|it| it.oldest).min());
    let unknown = texts.iter().find(|it| it.status == "unknown").map_or(0, |it| it.count);
    let about = if unknown > 0 { format!("{about}; {unknown} with unknown result") } else { about };
    Fact { name: "Texts waiting", value: thousands(count), about, tone, href: "/texts?status=queued" }
}

fn workers_fact(frame: &Frame, silent: usize, queues: usize, last_seen: Option<DateTime<Utc>>) -> Fact {
    let about = match last_seen {
        None => "none has ever run".to_owned(),
        Some(at) => format!("seen {} ago", duration((frame.now - at).max(TimeDelta::zero()))),
    };
    let tone = if silent == 0 { Tone::Good } else { Tone::Bad };
    let value = format!("{} of {queues}", queues - silent);
    Fact { name: "Queues with a worker", value, about, tone, href: "/alerts" }
}

fn sweep_fact(frame: &Frame, gauges: &Gauges) -> Fact {
    let (value, about, tone) = match gauges.last_sweep {
        None => ("none".to_owned(), "no sweep has succeeded yet".to_owned(), Tone::Warn),
        Some(at) => {
            let ago = (frame.now - at).max(TimeDelta::zero());
            let tone = if ago > TimeDelta::minutes(10) { Tone::Bad } else { Tone::Good };
            (duration(ago), "since the last that succeeded".to_owned(), tone)
        }
    };
    Fact { name: "Sweep", value, about, tone, href: "/alerts" }
}

fn sending_fact(gauges: &Gauges) -> Fact {
    let (value, about, tone) = if gauges.sending_parked {
        ("parked", "Twilio refuses the account", Tone::Bad)
    } else {
        ("on", "texts leave as they are written", Tone::Good)
    };
    Fact { name: "Sending", value: value.to_owned(), about: about.to_owned(), tone, href: "/texts?status=queued" }
}

fn place_fact(frame: &Frame, gauges: &Gauges) -> Fact {
    let (value, about, tone) = match gauges.oldest_place {
        None => ("none".to_owned(), "no client waits for a number".to_owned(), Tone::Good),
        Some(at) => {
            let waits = (frame.now - at).max(TimeDelta::zero());
            let tone = match waits.num_hours() {
                0..20 => Tone::Info,
                20..24 => Tone::Warn,
                _ => Tone::Bad,
            };
            (duration(waits), "for a number, without an offer".to_owned(), tone)
        }
    };
    Fact { name: "Longest wait", value, about, tone, href: "/waiting" }
}

fn payments_fact(gauges: &Gauges) -> Fact {
    let tone = if gauges.payments_unassigned == 0 { Tone::Good } else { Tone::Bad };
    let about = if gauges.payments_unassigned == 0 { "every payment has a client" } else { "assign each to a client" };
    let value = thousands(gauges.payments_unassigned);
    Fact { name: "Unassigned payments", value, about: about.to_owned(), tone, href: "/payments" }
}

fn stuck_view(frame: &Frame, client: &StuckClient) -> StuckView {
    let (why, action) = words::stuck_words(client.reason);
    StuckView {
        href: client_path(&client.id),
        name: frame.business(&client.business_name),
        phone: frame.phone(&client.phone),
        state: Tone::of(&client.state).class(),
        state_words: state_words(&client.state).to_owned(),
        since: client.since,
        why,
        alike: words::stuck_count(client.alike),
        action,
    }
}

/// Returns how many clients are stuck for any reason.
fn stuck_in_all(stuck: &[StuckClient]) -> String {
    let reasons = StuckReason::ALL.map(|reason| stuck.iter().find(|it| it.reason == reason).map_or(0, |it| it.alike));
    let or_more = if reasons.iter().any(|alike| *alike >= STUCK_COUNTED) { " or more" } else { "" };
    format!("{}{or_more}", thousands(reasons.iter().sum()))
}

/// Returns `part` of `whole` in a hundred.
fn percent(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn funnel_views(funnel: &[FunnelStep]) -> Vec<FunnelView> {
    let all = funnel.first().map_or(0, |step| step.reached);
    let before = std::iter::once(None).chain(funnel.iter().map(Some));
    let view = |(step, before): (&FunnelStep, Option<&FunnelStep>)| {
        let lost = before.map(|before| percent(before.reached - step.reached, before.reached));
        FunnelView {
            state: state_words(step.state).to_owned(),
            href: format!("/clients?state={}", step.state),
            reached: thousands(step.reached),
            here: thousands(step.here),
            share: format!("{:.1}", percent(step.reached, all)),
            lost: lost.filter(|it| *it >= 0.05).map_or_else(String::new, |it| format!("−{it:.0} %")),
            is_great_loss: lost.is_some_and(|it| it >= 25.0),
            median: step.median_seconds.map_or_else(String::new, |it| duration(TimeDelta::seconds(it as i64))),
        }
    };
    funnel.iter().zip(before).map(view).collect()
}

fn rates(overview: &Overview) -> Rates {
    let (width, height) = CHART;
    let both = || overview.texts_in.iter().chain(&overview.texts_out);
    let most = both().copied().max().unwrap_or_default();
    let step = width / overview.texts_in.len().max(1) as f64;
    let bars = |counts: &[i64], shift: f64| {
        let bar = |(minute, count): (usize, &i64)| {
            let tall = if most == 0 { 0.0 } else { height * *count as f64 / most as f64 };
            (format!("{:.1}", minute as f64 * step + shift), format!("{:.1}", height - tall), format!("{tall:.1}"))
        };
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(bar).collect()
    };
    let sum = |counts: &[i64], from: usize| counts.iter().skip(from).sum::<i64>();
    let tens = (0..6).map(|ten| {
        let part = |counts: &[i64]| counts.iter().skip(ten * 10).take(10).sum();
        let ago = 60 - ten * 10;
        (format!("{ago} to {} min ago", ago - 10), part(&overview.texts_in), part(&overview.texts_out))
    });
    Rates {
        bars_in: bars(&overview.texts_in, 0.0),
        bars_out: bars(&overview.texts_out, step / 2.0),
        last_in: overview.texts_in.last().copied().unwrap_or_default(),
        last_out: overview.texts_out.last().copied().unwrap_or_default(),
        hour_in: thousands(sum(&overview.texts_in, 0)),
        hour_out: thousands(sum(&overview.texts_out, 0)),
        most,
        rows: tens.collect(),
    }
}

fn pool_view(region: &jobrun_shared::numbers::status::PoolRegion) -> PoolView {
    let (width, height) = CHART;
    let curve = region.level.curve(FORECAST_DAYS);
    let most = curve.iter().copied().fold(1.0, f64::max);
    // Below zero, clients wait; the chart shows as many of them as it can.
    let least = curve.iter().copied().fold(0.0, f64::min).max(-most);
    let y = |left: f64| height * (most - left.max(least)) / (most - least);
    let step = width / f64::from(FORECAST_DAYS);
    let points: Vec<String> =
        curve.iter().enumerate().map(|(day, left)| format!("{:.1},{:.1}", day as f64 * step, y(*left))).collect();
    let line = points.join(" ");
    let zero = format!("{:.1}", y(0.0));
    let at = |day: u32| curve.get(day as usize).map(|left| (day, format!("{left:.0}").replace('-', "−")));
    PoolView {
        region: region.region.clone(),
        unclaimed: thousands(i64::try_from(region.unclaimed).unwrap_or(i64::MAX)),
        forecast: region.forecast.to_string(),
        tone: tone_of(region.forecast),
        cooling: thousands(region.cooling),
        pace: format!("{:.1}", region.assigned_in_7_days as f64 / 7.0),
        area: format!("0,{zero} {line} {width},{zero}"),
        line,
        most: format!("{most:.0}"),
        zero,
        rows: [0, 7, 14, 30, 60].into_iter().filter_map(at).collect(),
    }
}
