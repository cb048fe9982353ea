//! The job `reconcile-stripe`: asks Stripe, if there is a key, for events that were missed, and for the status of subscriptions in
//! doubt.
//!
//! Stripe gives up on a webhook after three days, and does not repeat one that was acknowledged by a database that is lost since.
//! Its list shows both kinds of events for 30 days. A webhook that arrives at the same time is the same event, recorded once.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use jobrun_shared::alerts::Kind;
use jobrun_shared::alerts::operation::{self, StripeRead};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, NewEvent, Payload, Source};
use jobrun_shared::db::stripe_audits::{self, Claimed};
use jobrun_shared::db::{self, subscriptions};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::stripe_account::{self, Account};
use jobrun_shared::{clock, telemetry};
use jobrun_stripe::api::{Error, KEPT_FOR, Standing, is_subscription};
use jobrun_stripe::event::Incoming;
use jobrun_stripe::facts;
use sqlx::PgConnection;

use crate::context::{JobContext, Progress, StripeAccount};
use crate::jobs::untaken::Untaken;

/// The time for which a webhook counts as on its way.
const DELIVERY_GRACE: TimeDelta = TimeDelta::minutes(1);

/// How far each comparison looks back beyond the last one: the delay until Stripe's list shows an event is undocumented.
const OVERLAP: TimeDelta = TimeDelta::hours(1);

/// The time that is compared in one step. Only the missed events of a step are in memory, and each step is saved.
const STEP: TimeDelta = TimeDelta::hours(6);

/// The most pages of a step that are read. A step with more events is made shorter.
const PAGES_MAX: usize = 200;

/// The number of pages after which the claim of a step is renewed. A page may take as long as a request may.
const PAGES_PER_CLAIM: usize = 20;

/// The number of events recorded in one transaction.
const RECORD_BATCH_MAX: usize = 100;

/// The time after which an alert says that the list cannot be read. If the key is at fault, the alert comes at once.
const UNREADABLE_FOR_LONG: TimeDelta = TimeDelta::hours(1);

/// The number of subscriptions claimed at a time, and the delay before an unanswered question is asked again.
const ASK_MAX: i64 = 20;
const ASK_AGAIN_AFTER: TimeDelta = TimeDelta::minutes(10);

pub(crate) async fn run(context: &JobContext) -> Result<Progress, db::Error> {
    let Some(stripe) = &context.stripe else { return Ok(Progress::Drained) };
    let audited = context.run_until_drained(|| audit_step(context, stripe)).await?;
    let asked = context.run_until_drained(|| ask(context, stripe)).await?;
    Ok(if audited == Progress::Drained { asked } else { audited })
}

/// Compares one step of Stripe's list with the inbox, if a comparison is due. Returns 0 if no further step is due.
async fn audit_step(context: &JobContext, stripe: &StripeAccount) -> Result<usize, db::Error> {
    let now = clock::now();
    let Some(claimed) = stripe_audits::claim(&context.pool, context.audit_interval, now).await? else {
        return Ok(0);
    };
    // As for Twilio's list, each comparison schedules the next, and the sweep enqueues a job that is lost.
    let next = now + TimeDelta::from_std(context.audit_interval).unwrap_or(TimeDelta::hours(1));
    queue::enqueue_once_at(&context.pool, Queue::ReconcileStripe, next).await?;
    let step = Step::of(claimed, now);
    if step.until <= step.since {
        return Ok(0);
    }
    let mut claim = Claim { due_at: claimed.due_at, pages: 0 };
    match list_missed(context, stripe, &mut claim, step, now).await? {
        Ok((step, missed)) => save_step(context, claimed, step, &missed, now).await,
        Err(Untaken::NothingMissed) => {
            // What clients will pay into is unknown: the place stays.
            record_nothing_missed(context, now).await?;
            Ok(0)
        }
        // If it was hurried, it is due at once.
        Err(Untaken::TakenOver) => Ok(1),
        Err(Untaken::Stopped) => {
            // Another worker does the step, at once.
            stripe_audits::hurry(&mut *context.pool.acquire().await?, now).await?;
            Ok(1)
        }
        Err(untaken) => {
            record_failure(context, &untaken, now).await?;
            Ok(0)
        }
    }
}

/// This worker's claim of a step, and the number of pages that were read of it.
#[derive(Debug)]
struct Claim {
    due_at: DateTime<Utc>,
    pages: usize,
}

impl Claim {
    /// Renews the claim if it is time to. Returns whether the step is still this worker's.
    async fn keep(&mut self, context: &JobContext) -> Result<bool, db::Error> {
        self.pages += 1;
        if !self.pages.is_multiple_of(PAGES_PER_CLAIM) {
            return Ok(true);
        }
        let renewed = stripe_audits::renew(&context.pool, self.due_at, context.audit_interval, clock::now()).await?;
        self.due_at = renewed.unwrap_or(self.due_at);
        Ok(renewed.is_some())
    }
}

/// The time that a step compares, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// Whether it reaches the present.
    is_last: bool,
}

impl Step {
    /// Returns the step that follows from how far the comparison got. The first one begins with the installation: the key may be
    /// set because events were missed.
    fn of(claimed: Claimed, now: DateTime<Utc>) -> Self {
        let installed_at = claimed.installed_at;
        // An operator who wants to compare again sets `audited_until` back.
        let resume_at = claimed.audited_until.map(|until| claimed.resume_at.unwrap_or(until - OVERLAP).min(until));
        let since = resume_at.unwrap_or(installed_at).max(installed_at).max(now - KEPT_FOR);
        let (since, present) = (since.trunc_subsecs(0), (now - DELIVERY_GRACE).trunc_subsecs(0));
        let until = (since + STEP).min(present);
        Self { since, until, is_last: until == present }
    }

    /// Returns a shorter step, half as long as the time since `reached`: so much was read, newest first, until it was too much.
    /// Returns nothing if the step is as short as can be.
    fn shortened(self, reached: DateTime<Utc>) -> Option<Self> {
        let length = self.until - self.since;
        let shorter = (self.until - reached).min(length).num_seconds() / 2;
        let until = self.since + TimeDelta::seconds(shorter.max(1));
        (until < self.until).then_some(Self { until, is_last: false, ..self })
    }

    /// Returns where the next step begins. Only one that follows later overlaps: what Stripe's list showed late lies in it.
    fn resume_at(self) -> DateTime<Utc> {
        if self.is_last { self.until - OVERLAP } else { self.until }
    }
}

/// Returns the events of Stripe's list that are not recorded, oldest first, with the step that they are of: a shorter one, if `step`
/// has too many events.
async fn list_missed(
    context: &JobContext,
    stripe: &StripeAccount,
    claim: &mut Claim,
    mut step: Step,
    now: DateTime<Utc>,
) -> Result<Result<(Step, Vec<NewEvent>), Untaken>, db::Error> {
    if let Err(untaken) = check_account(context, stripe, claim, step, now).await? {
        return Ok(Err(untaken));
    }
    loop {
        match read_step(context, stripe, claim, step).await? {
            Ok(Read::All(missed)) => return Ok(Ok((step, missed))),
            Ok(Read::TooMuch { reached }) => match step.shortened(reached) {
                Some(shorter) => step = shorter,
                None => return Ok(Err(Untaken::Unread(Error::Unreadable("the list of a second does not end")))),
            },
            Err(untaken) => return Ok(Err(untaken)),
        }
    }
}

/// Fails unless the key is one of the account that clients pay into. This comes before the step is read, because an empty list of
/// another account must not count as compared.
async fn check_account(
    context: &JobContext,
    stripe: &StripeAccount,
    claim: &mut Claim,
    step: Step,
    now: DateTime<Utc>,
) -> Result<Result<(), Untaken>, db::Error> {
    let checked = context.unless_stopped(stripe_account::check(&context.pool, &stripe.api, now)).await.transpose()?;
    match checked {
        Some(Ok(Account::Ours)) => return Ok(Ok(())),
        Some(Ok(Account::Other)) => return Ok(Err(Untaken::OtherAccount)),
        Some(Ok(Account::Unknown)) => {}
        Some(Err(error)) => return Ok(Err(error.into())),
        None => return Ok(Err(Untaken::Stopped)),
    }
    let names_a_client = stripe_account::names_a_client(&context.pool, &stripe.api, now);
    match context.unless_stopped(names_a_client).await.transpose()? {
        Some(Ok(true)) => return Ok(Ok(())),
        Some(Ok(false)) => {}
        Some(Err(error)) => return Ok(Err(error.into())),
        None => return Ok(Err(Untaken::Stopped)),
    }
    // The first step alone may be empty while later ones are not.
    let to_the_present = Step { until: (now - DELIVERY_GRACE).trunc_subsecs(0), ..step };
    Ok(Err(match read_step(context, stripe, claim, to_the_present).await? {
        Ok(Read::All(missed)) if missed.is_empty() => Untaken::NothingMissed,
        Ok(Read::All(_) | Read::TooMuch { .. }) => Untaken::UnknownAccount,
        Err(untaken) => untaken,
    }))
}

/// How much of a step was read.
enum Read {
    /// All of it. These events are not recorded, oldest first.
    All(Vec<NewEvent>),
    /// Its newest events, back to the time `reached`.
    TooMuch { reached: DateTime<Utc> },
}

async fn read_step(
    context: &JobContext,
    stripe: &StripeAccount,
    claim: &mut Claim,
    step: Step,
) -> Result<Result<Read, Untaken>, db::Error> {
    let (mut missed, mut after): (Vec<NewEvent>, Option<String>) = (Vec::new(), None);
    let mut reached = step.until;
    for _ in 0..PAGES_MAX {
        let page = stripe.api.list_events(step.since, step.until, after.as_deref());
        let page = match context.unless_stopped(page).await {
            Some(Ok(page)) => page,
            Some(Err(error)) => return Ok(Err(error.into())),
            None => return Ok(Err(Untaken::Stopped)),
        };
        if page.events.iter().any(|event| event.livemode != stripe.livemode) {
            return Ok(Err(Untaken::Unread(Error::Unreadable("it has events of the other mode"))));
        }
        reached = page.events.last().and_then(Incoming::created_at).unwrap_or(reached);
        let listed: Vec<NewEvent> = page.events.into_iter().map(NewEvent::from).collect();
        missed.extend(inbox::list_new(&mut *context.pool.acquire().await?, listed).await?);
        if page.next.is_none() {
            // Stripe lists the newest first. Numbers may be few: the client who paid first asks first.
            missed.reverse();
            return Ok(Ok(Read::All(missed)));
        }
        after = page.next;
        if !claim.keep(context).await? {
            return Ok(Err(Untaken::TakenOver));
        }
    }
    Ok(Ok(Read::TooMuch { reached }))
}

/// Records missed events, and then how far the comparison got. Returns how many further steps are due at once.
async fn save_step(
    context: &JobContext,
    claimed: Claimed,
    step: Step,
    missed: &[NewEvent],
    now: DateTime<Utc>,
) -> Result<usize, db::Error> {
    for events in missed.chunks(RECORD_BATCH_MAX) {
        record_missed(context, events, now).await?;
    }
    let mut tx = context.pool.begin().await?;
    stripe_audits::save(&mut tx, step.until, step.resume_at()).await?;
    let too_old = claimed.audited_until.filter(|until| *until < now - KEPT_FOR);
    let too_old: Vec<NewAlert> =
        too_old.map(|until| operation::stripe_events_too_old(until, now - KEPT_FOR)).into_iter().collect();
    let mut cleared = Vec::new();
    if step.is_last {
        cleared = record_success(context, &mut tx, now).await?;
    } else {
        stripe_audits::hurry(&mut tx, now).await?;
    }
    let raised = alerts::raise(&mut tx, &too_old, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    tracing::debug!(since = %step.since, until = %step.until, missed = missed.len(), "compared Stripe's list with the inbox");
    Ok(usize::from(!step.is_last))
}

/// Records that the list could be read to the present. Returns the alerts that this clears.
async fn record_success(
    context: &JobContext,
    conn: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    stripe_audits::record_success(conn).await?;
    let mut cleared = alerts::clear(conn, &[StripeRead::Events.cause()], now).await?;
    let quiet_since = now - context.audit_interval;
    cleared.extend(alerts::clear_quiet(conn, &[Kind::StripeEventsMissed.name()], quiet_since, now).await?);
    Ok(cleared)
}

/// Records that the list could be read, and has nothing that was missed.
async fn record_nothing_missed(context: &JobContext, now: DateTime<Utc>) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    let cleared = record_success(context, &mut tx, now).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

/// Records events that were missed, and has Stripe asked about their subscriptions: still older events may be lost for good.
async fn record_missed(context: &JobContext, events: &[NewEvent], now: DateTime<Utc>) -> Result<(), db::Error> {
    let concerned: Vec<String> = events.iter().filter_map(subscription_of).collect();
    let concerned: Vec<&str> = concerned.iter().map(String::as_str).collect();
    let mut tx = context.pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    subscriptions::ask(&mut tx, &concerned, now).await?;
    let recorded = inbox::insert(&mut tx, events, now).await?;
    let alert: Vec<NewAlert> = (recorded > 0).then(operation::stripe_events_missed).into_iter().collect();
    let raised = alerts::raise(&mut tx, &alert, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    if recorded > 0 {
        context.announcer.announce(Queue::ProcessEvents);
        tracing::warn!(missed = recorded, "fetched events of Stripe's that had not reached us");
    }
    Ok(())
}

fn subscription_of(event: &NewEvent) -> Option<String> {
    let Payload::Stripe { event, .. } = &event.payload else { return None };
    facts::read(event)?.subscription_id.filter(|id| is_subscription(id))
}

/// Records that the list could not be read, and raises an alert if that lasts, or if the key is at fault.
async fn record_failure(context: &JobContext, untaken: &Untaken, now: DateTime<Utc>) -> Result<(), db::Error> {
    tracing::warn!(error = %untaken, "cannot compare Stripe's list with the inbox, and will try again");
    let mut tx = context.pool.begin().await?;
    let since = stripe_audits::record_failure(&mut tx, now).await?;
    if let Untaken::Unread(error) = untaken {
        keep_quiet(&mut tx, error).await?;
    }
    let alert = operation::stripe_unreadable(StripeRead::Events, &untaken.to_string());
    let is_due = untaken.is_of_the_key() || now - since >= UNREADABLE_FOR_LONG;
    let is_new = is_due && alerts::raise_lasting(&mut tx, &alert, now).await?;
    tx.commit().await?;
    telemetry::raised(if is_new { std::slice::from_ref(&alert) } else { &[] });
    Ok(())
}

/// Keeps quiet for as long as Stripe asks for (Retry-After): the list and the subscriptions share one limit.
async fn keep_quiet(conn: &mut PgConnection, error: &Error) -> Result<(), db::Error> {
    let Error::RateLimited { retry_after: Some(after) } = error else { return Ok(()) };
    // It counts from the answer, which may have come long after the beginning of the job.
    stripe_audits::keep_quiet(conn, clock::now() + TimeDelta::from_std(*after).unwrap_or_default()).await
}

/// Asks Stripe about subscriptions that are in doubt, or whose events were missed, and records the answers as events. Returns how
/// many were asked about; 0 also if it is no use to go on.
async fn ask(context: &JobContext, stripe: &StripeAccount) -> Result<usize, db::Error> {
    let now = clock::now();
    let retry_at = now + ASK_AGAIN_AFTER;
    if !subscriptions::any_to_ask(&mut *context.pool.acquire().await?, now).await? {
        clear_if_nothing_is_asked(context, now).await?;
        return Ok(0);
    }
    let mut tx = context.pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    let ids = subscriptions::claim_to_ask(&mut tx, ASK_MAX, retry_at, now).await?;
    tx.commit().await?;
    if ids.is_empty() {
        // Another worker asks about them: nothing is known here, good or bad.
        return Ok(0);
    }

    let mut answers = Answers::default();
    for id in &ids {
        match context.unless_stopped(stripe.api.find_subscription(id)).await {
            Some(Ok(standing)) => answers.add(id, standing),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot ask Stripe about a subscription, and will try again");
                let is_about_this_one = matches!(error, Error::Refused { .. } | Error::Unreadable(_));
                answers.failure = Some(error);
                if !is_about_this_one {
                    break;
                }
            }
            None => answers.not_asked.push(id),
        }
    }
    if !answers.lacking.is_empty() && answers.failure.is_none() {
        let has_newest = stripe_account::has_newest(&context.pool, &stripe.api, now);
        match context.unless_stopped(has_newest).await.transpose()? {
            Some(Ok(true)) => answers.give_up_lacking(),
            Some(Ok(false)) | None => {}
            Some(Err(error)) => answers.failure = Some(error),
        }
    }
    answers.save(context, retry_at, now).await?;
    Ok(if answers.failure.is_none() { ids.len() } else { 0 })
}

/// Clears the alert about subscriptions if none is in doubt any more: an operator may have ended the last question.
async fn clear_if_nothing_is_asked(context: &JobContext, now: DateTime<Utc>) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    if subscriptions::any_unanswered(&mut tx).await? {
        return Ok(());
    }
    let cleared = alerts::clear(&mut tx, &[StripeRead::Subscriptions.cause()], now).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

#[derive(Default)]
struct Answers<'a> {
    /// The subscriptions that need not be asked about again.
    asked: Vec<&'a str>,
    /// The subscriptions that the worker, which stops, leaves to another.
    not_asked: Vec<&'a str>,
    events: Vec<NewEvent>,
    /// The subscriptions that the account lacks. Stripe deletes none, so they are of another account, or the key is.
    lacking: Vec<&'a str>,
    failure: Option<Error>,
}

impl<'a> Answers<'a> {
    fn add(&mut self, id: &'a str, standing: Option<Standing>) {
        let Some(standing) = standing else {
            tracing::warn!(subscription = id, "the account of STRIPE_API_KEY has no such subscription");
            self.lacking.push(id);
            return;
        };
        self.asked.push(id);
        self.events.push(as_event(id, standing));
    }

    /// Ends the questions about the subscriptions that the account lacks: they are of a former account, and no key will be one of it.
    fn give_up_lacking(&mut self) {
        tracing::warn!(subscriptions = ?self.lacking, "subscriptions of a former account are not asked about any more");
        self.asked.append(&mut self.lacking);
    }

    async fn save(&self, context: &JobContext, retry_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), db::Error> {
        let mut tx = context.pool.begin().await?;
        subscriptions::lock(&mut tx).await?;
        subscriptions::record_asked(&mut tx, &self.asked, retry_at).await?;
        subscriptions::give_back(&mut tx, &self.not_asked, retry_at, now).await?;
        inbox::insert(&mut tx, &self.events, now).await?;
        if let Some(error) = &self.failure {
            keep_quiet(&mut tx, error).await?;
        }
        // A subscription that is asked about again keeps the alert open.
        let is_over = !self.asked.is_empty() && !subscriptions::any_unanswered(&mut tx).await?;
        let resolved = if is_over { vec![StripeRead::Subscriptions.cause()] } else { Vec::new() };
        let cleared = alerts::clear(&mut tx, &resolved, now).await?;
        let mut raised = Vec::new();
        if let Some(alert) = self.alert()
            && alerts::raise_lasting(&mut tx, &alert, now).await?
        {
            raised.push(alert);
        }
        tx.commit().await?;
        telemetry::raised(&raised);
        telemetry::cleared(&cleared);
        Ok(())
    }

    fn alert(&self) -> Option<NewAlert> {
        let of_the_key = self.failure.as_ref().filter(|error| error.is_of_the_key()).map(Error::to_string);
        let other_account = "the account of STRIPE_API_KEY lacks a subscription that webhooks have told of, so it is probably \
                             another account";
        let why = of_the_key.or_else(|| (!self.lacking.is_empty()).then(|| other_account.to_owned()))?;
        Some(operation::stripe_unreadable(StripeRead::Subscriptions, &why))
    }
}

fn as_event(id: &str, standing: Standing) -> NewEvent {
    let Standing { subscription, not_before } = standing;
    let name = format!("asked:{id}:{}", not_before.timestamp());
    NewEvent::new(Source::System, name.clone(), Payload::SubscriptionAsked { name, subscription, not_before })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::hours(hours) + TimeDelta::milliseconds(250)
    }

    fn step(audited_until: Option<i64>, installed_at: i64, now: i64) -> (TimeDelta, TimeDelta, bool) {
        let audited_until = audited_until.map(at);
        let step = Step::of(
            Claimed { audited_until, resume_at: None, installed_at: at(installed_at), due_at: at(now) },
            at(now),
        );
        let from_start = |time: DateTime<Utc>| time - at(0).trunc_subsecs(0);
        (from_start(step.since), from_start(step.until), step.is_last)
    }

    #[test]
    fn steps_overlap_and_lead_from_the_installation_to_the_present() {
        let hours = TimeDelta::hours;
        let to_the_present = |now| hours(now) - DELIVERY_GRACE;
        let (since, until, _) = step(None, 3, 3);
        assert!(until < since, "an installation of this minute has nothing to compare");
        assert_eq!(step(None, 0, 3), (hours(0), to_the_present(3), true), "a new installation");
        assert_eq!(step(Some(3), 3, 4), (hours(3), to_the_present(4), true), "nothing before the installation");
        assert_eq!(step(None, 0, 100), (hours(0), hours(6), false), "a key that is set later");
        assert_eq!(step(Some(6), 0, 100), (hours(5), hours(11), false));
        assert_eq!(step(Some(97), 0, 100), (hours(96), to_the_present(100), true));
        let month = 30 * 24;
        assert_eq!(step(Some(6), 0, month + 50), (hours(50), hours(56), false), "Stripe keeps nothing older");
        assert_eq!(step(None, 0, month + 50), (hours(50), hours(56), false));
    }

    #[test]
    fn a_step_with_too_many_events_is_made_shorter_and_the_next_one_follows_where_it_ends() {
        let claimed =
            Claimed { audited_until: Some(at(99)), resume_at: Some(at(1)), installed_at: at(0), due_at: at(100) };
        let whole = Step::of(claimed, at(100));
        assert_eq!((whole.since, whole.resume_at()), (at(1).trunc_subsecs(0), at(7).trunc_subsecs(0)));
        let shorter = whole.shortened(whole.until - TimeDelta::hours(2)).unwrap();
        assert_eq!((shorter.since, shorter.until - shorter.since), (whole.since, TimeDelta::hours(1)));
        let next = Step::of(Claimed { resume_at: Some(shorter.resume_at()), ..claimed }, at(100));
        assert_eq!(next.since, shorter.until, "no overlap, which might be longer than the step");

        let last = Step::of(Claimed { resume_at: Some(at(99)), ..claimed }, at(100));
        assert_eq!((last.is_last, last.until - last.resume_at()), (true, OVERLAP));
        let shorter = last.shortened(last.until).unwrap();
        assert_eq!((shorter.is_last, shorter.until - shorter.since), (false, TimeDelta::seconds(1)));
        assert_eq!(shorter.shortened(shorter.until), None, "a second cannot be made shorter");
    }
}
