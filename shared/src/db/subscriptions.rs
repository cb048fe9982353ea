//! Subscriptions, and every fact that Stripe has reported of them.
//!
//! All changes are serialised by one lock: payments are few, and a refund may concern a subscription that another
//! transaction is just recording. The core computes the status of a payment; this module stores it, as `standing`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jobrun_onboarding::Payment;
use jobrun_onboarding::dispute::Dispute;
use jobrun_onboarding::payment::{Fact, FactKind};
use jobrun_stripe::facts::StripeFact;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{Error, ensure_rows};
use crate::alerts::Kind;

/// The key of this module's lock among the database's advisory locks.
const PAYMENTS: i32 = 3;

/// Waits for other changes of subscriptions, and excludes them until the transaction ends. This lock is row 3 of the
/// lock order in `shared/README.md`: it is taken before the locks of rows 4 to 13.
pub async fn lock(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1, 0)", PAYMENTS).execute(conn).await?;
    Ok(())
}

/// Stores facts from Stripe, each with its event (`events.id`), and inserts a row for every subscription that was not
/// known before. Facts that are stored already are skipped.
pub async fn record(conn: &mut PgConnection, told: &[(i64, StripeFact)], now: DateTime<Utc>) -> Result<(), Error> {
    let each = || told.iter().map(|(_, it)| it);
    let of: Vec<Option<&str>> = each().map(|it| it.subscription_id.as_deref()).collect();
    let known: Vec<&str> = of.iter().flatten().copied().collect();
    sqlx::query!(
        "INSERT INTO subscriptions (id, heard_of_at) SELECT DISTINCT unnest($1::TEXT[]), $2::TIMESTAMPTZ
         ON CONFLICT ON CONSTRAINT subscriptions_are_known_by_id DO NOTHING",
        &known as &[&str],
        now
    )
    .execute(&mut *conn)
    .await?;

    let event_ids: Vec<i64> = told.iter().map(|(event_id, _)| *event_id).collect();
    let ids: Vec<&str> = each().map(|it| it.id.as_str()).collect();
    let kinds: Vec<&str> = each().map(|it| it.kind.as_str()).collect();
    let happened: Vec<DateTime<Utc>> = each().map(|it| it.happened_at).collect();
    let customers: Vec<Option<&str>> = each().map(|it| it.customer_id.as_deref()).collect();
    let payments: Vec<Option<&str>> = each().map(|it| it.payment_intent_id.as_deref()).collect();
    let invoices: Vec<Option<&str>> = each().map(|it| it.invoice_id.as_deref()).collect();
    let charges: Vec<Option<&str>> = each().map(|it| it.charge_id.as_deref()).collect();
    let disputes: Vec<Option<&str>> = each().map(|it| it.dispute_id.as_deref()).collect();
    let references: Vec<Option<&str>> = each().map(|it| it.reference.as_deref()).collect();
    let amounts: Vec<Option<i64>> = each().map(|it| it.amount).collect();
    let currencies: Vec<Option<&str>> = each().map(|it| it.currency.as_deref()).collect();
    let facts: Vec<Option<Json<&FactKind>>> = each().map(|it| it.what.as_ref().map(Json)).collect();
    sqlx::query!(
        "INSERT INTO payment_events (event_id, stripe_id, kind, happened_at, subscription_id, customer_id,
                                     payment_intent_id, invoice_id, charge_id, dispute_id, reference, amount, currency,
                                     fact)
         SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TIMESTAMPTZ[], $5::TEXT[], $6::TEXT[],
                              $7::TEXT[], $8::TEXT[], $9::TEXT[], $10::TEXT[], $11::TEXT[], $12::BIGINT[], $13::TEXT[],
                              $14::JSONB[])
         ON CONFLICT ON CONSTRAINT a_payment_event_happens_once DO NOTHING",
        &event_ids,
        &ids as &[&str],
        &kinds as &[&str],
        &happened,
        &of as &[Option<&str>],
        &customers as &[Option<&str>],
        &payments as &[Option<&str>],
        &invoices as &[Option<&str>],
        &charges as &[Option<&str>],
        &disputes as &[Option<&str>],
        &references as &[Option<&str>],
        &amounts as &[Option<i64>],
        &currencies as &[Option<&str>],
        &facts as &[Option<Json<&FactKind>>]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A subscription with its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `subscriptions.id`.
    pub id: String,
    /// The client that the subscription belongs to, by its row.
    pub client_id: Option<String>,
    /// The client that its checkout names.
    pub named_client_id: Option<String>,
    /// Whether its client is erased, or is being erased.
    pub is_erased: bool,
    /// The status of the payment when it was last computed.
    pub standing: Payment,
    /// The facts from Stripe about its status.
    pub facts: Vec<Fact>,
}

/// Returns, by id, every subscription that the facts `told` concern: those that a fact names, those whose payments a
/// fact names, and all others of the same payers. The facts must be recorded.
pub async fn load_concerned(conn: &mut PgConnection, told: &[(i64, StripeFact)]) -> Result<Vec<Subscription>, Error> {
    let each = || told.iter().map(|(_, it)| it);
    let named: Vec<&str> = each().filter_map(|it| it.subscription_id.as_deref()).collect();
    let customers: Vec<&str> = each().filter_map(|it| it.customer_id.as_deref()).collect();
    let events: Vec<&str> = each().map(|it| it.id.as_str()).collect();
    let rows = sqlx::query_file!(
        "src/db/load_concerned_subscriptions.sql",
        &named as &[&str],
        &customers as &[&str],
        &events as &[&str]
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut facts = load_facts(conn, &ids).await?;
    let subscriptions = rows.into_iter().map(|row| {
        let standing = Payment::from_name(&row.standing).unwrap_or_default();
        let (client_id, named_client_id) = (row.client_id, row.named_client_id);
        let facts = facts.remove(&row.id).unwrap_or_default();
        Subscription { id: row.id, client_id, named_client_id, is_erased: row.is_erased, standing, facts }
    });
    Ok(subscriptions.collect())
}

/// Returns the facts of each of the subscriptions `ids`: those that name the subscription, and those that name none but
/// are about one of its payments, such as a refund. Facts about the same payment share the name of its invoice, payment
/// intent or charge.
async fn load_facts(conn: &mut PgConnection, ids: &[&str]) -> Result<HashMap<String, Vec<Fact>>, Error> {
    let rows = sqlx::query!(
        r#"WITH RECURSIVE known AS (
               SELECT subscription_id AS of_id, stripe_id, happened_at, payment_intent_id, invoice_id, charge_id, fact
               FROM payment_events WHERE subscription_id = ANY($1)
               UNION
               SELECT known.of_id, same.* FROM known CROSS JOIN LATERAL (
                   SELECT stripe_id, happened_at, payment_intent_id, invoice_id, charge_id, fact FROM payment_events
                   WHERE payment_intent_id = known.payment_intent_id AND subscription_id IS NULL
                   UNION ALL
                   SELECT stripe_id, happened_at, payment_intent_id, invoice_id, charge_id, fact FROM payment_events
                   WHERE invoice_id = known.invoice_id AND subscription_id IS NULL
                   UNION ALL
                   SELECT stripe_id, happened_at, payment_intent_id, invoice_id, charge_id, fact FROM payment_events
                   WHERE charge_id = known.charge_id AND subscription_id IS NULL
               ) AS same
           )
           SELECT of_id AS "of_id!", stripe_id AS "id!", happened_at AS "at!", payment_intent_id, invoice_id, charge_id,
                  fact AS "fact!: Json<FactKind>"
           FROM known WHERE fact IS NOT NULL"#,
        ids as &[&str]
    )
    .fetch_all(conn)
    .await?;
    let mut facts: HashMap<String, Vec<Fact>> = HashMap::new();
    for row in rows {
        let names = [row.invoice_id, row.payment_intent_id, row.charge_id].into_iter().flatten().collect();
        facts.entry(row.of_id).or_default().push(Fact { at: row.at, id: row.id, names, what: row.fact.0 });
    }
    Ok(facts)
}

/// A subscription as it is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved<'a> {
    /// `subscriptions.id`.
    pub id: &'a str,
    /// The client that it belongs to.
    pub client_id: Option<&'a str>,
    /// The status of its payment.
    pub standing: Payment,
    /// When Stripe is to be asked for the status, if it is in doubt. An earlier time that is stored stays.
    pub ask_at: Option<DateTime<Utc>>,
}

/// Saves the clients and the statuses of subscriptions.
///
/// # Errors
/// [`Error::RowCount`], when a subscription does not exist.
pub async fn save(conn: &mut PgConnection, changed: &[Saved<'_>]) -> Result<(), Error> {
    let ids: Vec<&str> = changed.iter().map(|it| it.id).collect();
    let clients: Vec<Option<&str>> = changed.iter().map(|it| it.client_id).collect();
    let standings: Vec<&str> = changed.iter().map(|it| it.standing.name()).collect();
    let ask_at: Vec<Option<DateTime<Utc>>> = changed.iter().map(|it| it.ask_at).collect();
    let result = sqlx::query!(
        "UPDATE subscriptions SET client_id = changed.client_id, standing = changed.standing,
                                  ask_at = LEAST(subscriptions.ask_at, changed.ask_at)
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TIMESTAMPTZ[]) AS changed (id, client_id, standing, ask_at)
         WHERE subscriptions.id = changed.id",
        &ids as &[&str],
        &clients as &[Option<&str>],
        &standings as &[&str],
        &ask_at as &[Option<DateTime<Utc>>]
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, changed.len(), "saving how subscriptions stand")
}

/// Has Stripe asked for the status of these subscriptions at `at`, or earlier if that is due already. Inserts a row for
/// each that is not known yet. Needs [`lock`].
pub async fn ask(conn: &mut PgConnection, ids: &[&str], at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO subscriptions (id, heard_of_at, ask_at) SELECT DISTINCT unnest($1::TEXT[]), $2::TIMESTAMPTZ, $2::TIMESTAMPTZ
         ON CONFLICT ON CONSTRAINT subscriptions_are_known_by_id
         DO UPDATE SET ask_at = LEAST(subscriptions.ask_at, EXCLUDED.ask_at)",
        ids as &[&str],
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns whether Stripe is to be asked about any subscription now, and takes requests.
pub async fn any_to_ask(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM subscriptions WHERE ask_at IS NOT NULL AND ask_at <= $1)
                  AND NOT EXISTS (SELECT FROM stripe_audits WHERE quiet_until > $1) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

/// Returns whether Stripe is to be asked about any subscription, now or later.
pub async fn any_unanswered(conn: &mut PgConnection) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM subscriptions WHERE ask_at IS NOT NULL) AS "any!""#);
    Ok(any.fetch_one(conn).await?)
}

/// Claims subscriptions that Stripe is to be asked about now, at most `limit`, until `retry_at`: then they are due again
/// unless [`record_asked`] comes first. Needs [`lock`].
pub async fn claim_to_ask(
    conn: &mut PgConnection,
    limit: i64,
    retry_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        "UPDATE subscriptions SET ask_at = $3
         WHERE id IN (SELECT id FROM subscriptions WHERE ask_at IS NOT NULL AND ask_at <= $1 ORDER BY ask_at LIMIT $2)
         RETURNING id",
        now,
        limit,
        retry_at
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Gives back subscriptions that were claimed until `retry_at`: they were not asked about, and are due at `now`. Needs
/// [`lock`].
pub async fn give_back(
    conn: &mut PgConnection,
    ids: &[&str],
    retry_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE subscriptions SET ask_at = $3 WHERE id = ANY($1) AND ask_at = $2",
        ids as &[&str],
        retry_at,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns the newest of Stripe's events since `since` about subscriptions of our clients, `limit` of them at most. Only
/// the last thousand events are looked at. A client is known by the reference in its payment link, which cannot be
/// guessed, so only the account that our clients pay into has these events.
pub async fn list_of_clients(conn: &mut PgConnection, since: DateTime<Utc>, limit: i64) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT recent.stripe_id FROM (
               SELECT stripe_id, subscription_id, happened_at, event_id FROM payment_events
               WHERE event_id IS NOT NULL ORDER BY event_id DESC LIMIT 1000
           ) AS recent
           JOIN subscriptions ON subscriptions.id = recent.subscription_id
           WHERE subscriptions.client_id IS NOT NULL AND recent.happened_at >= $1 AND starts_with(recent.stripe_id, 'evt_')
           ORDER BY recent.event_id DESC LIMIT $2"#,
        since,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Returns the newest subscriptions of clients, `limit` of them at most.
pub async fn list_newest_of_clients(conn: &mut PgConnection, limit: i64) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM subscriptions WHERE client_id IS NOT NULL AND starts_with(id, 'sub_')
         ORDER BY heard_of_at DESC LIMIT $1",
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Returns whether any of these client references is that of a client.
pub async fn any_of_a_client(conn: &mut PgConnection, references: &[&str]) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM clients WHERE "paymentReference" = ANY($1))
                  OR EXISTS (SELECT FROM former_payment_references WHERE reference = ANY($1)) AS "any!""#,
        references as &[&str]
    );
    Ok(any.fetch_one(conn).await?)
}

/// Records that Stripe was asked about subscriptions that were claimed until `retry_at`. One that came into doubt
/// meanwhile is due earlier, and stays. Needs [`lock`].
pub async fn record_asked(conn: &mut PgConnection, ids: &[&str], retry_at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("UPDATE subscriptions SET ask_at = NULL WHERE id = ANY($1) AND ask_at = $2", ids as &[&str], retry_at)
        .execute(conn)
        .await?;
    Ok(())
}

/// Returns the status of each client's payment: that of its best subscription. Clients without a subscription are left
/// out.
pub async fn standings_of(conn: &mut PgConnection, client_ids: &[&str]) -> Result<HashMap<String, Payment>, Error> {
    let rows = sqlx::query!(
        r#"SELECT client_id AS "client_id!", standing FROM subscriptions WHERE client_id = ANY($1)"#,
        client_ids as &[&str]
    );
    let mut best: HashMap<String, Payment> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        let standing = Payment::from_name(&row.standing).unwrap_or_default();
        let so_far = best.entry(row.client_id).or_default();
        *so_far = standing.max(*so_far);
    }
    Ok(best)
}

/// Returns, for each of the clients, the subscriptions that pay for its service. More than one means that the client
/// pays twice.
pub async fn list_served(conn: &mut PgConnection, client_ids: &[&str]) -> Result<HashMap<String, Vec<String>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT client_id AS "client_id!", id FROM subscriptions
           WHERE client_id = ANY($1) AND standing IN ('active', 'past_due') ORDER BY id"#,
        client_ids as &[&str]
    );
    let mut served: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        served.entry(row.client_id).or_default().push(row.id);
    }
    Ok(served)
}

/// A payment that belongs to no known client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unassigned {
    /// `subscriptions.id`.
    pub subscription_id: String,
    /// The status of the payment.
    pub standing: String,
    /// The payer, `cus_…`.
    pub customer_id: Option<String>,
    /// The client reference of its checkout, if the checkout has arrived.
    pub reference: Option<String>,
    /// In the smallest unit of the currency, as last reported.
    pub amount: Option<i64>,
    /// An ISO 4217 code, in small letters.
    pub currency: Option<String>,
    /// Whether its checkout has arrived. Until then the client may still become known.
    pub is_checked_out: bool,
    /// When the first event of it arrived.
    pub heard_of_at: DateTime<Utc>,
}

/// Returns the subscriptions that belong to no client, oldest first, `limit` of them at most.
pub async fn list_unassigned(conn: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Unassigned>, Error> {
    let unassigned = sqlx::query_as!(
        Unassigned,
        r#"SELECT s.id AS subscription_id, s.standing, s.heard_of_at, (array_agg(e.customer_id))[1] AS customer_id,
                  max(e.reference) AS reference, max(e.currency) AS currency,
                  (array_agg(e.amount ORDER BY e.happened_at DESC) FILTER (WHERE e.amount IS NOT NULL))[1] AS amount,
                  bool_or(e.fact->>'what' IN ('checkout', 'unclear_checkout')) IS TRUE AS "is_checked_out!"
           FROM subscriptions s LEFT JOIN payment_events e ON e.subscription_id = s.id
           WHERE s.client_id IS NULL AND s.erased_at IS NULL GROUP BY s.id ORDER BY s.heard_of_at, s.id LIMIT $1"#,
        limit
    );
    Ok(unassigned.fetch_all(conn).await?)
}

/// Returns the paid subscriptions that have belonged to no client since before `since`, and that never had an alert:
/// their checkout has not arrived, and will not.
pub async fn list_unassigned_without_alert(
    conn: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM subscriptions
         WHERE client_id IS NULL AND standing IN ('active', 'past_due') AND heard_of_at < $1
           AND NOT EXISTS (SELECT FROM alerts WHERE cause = $2 || subscriptions.id)
         ORDER BY id",
        since,
        Kind::PaymentUnassigned.prefix()
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Returns the full refunds (Stripe's names of the events) of these payers, if the payer has a subscription and the
/// refund never had an alert.
pub async fn list_refunds_without_alert(conn: &mut PgConnection, customers: &[&str]) -> Result<Vec<String>, Error> {
    let refunds = sqlx::query_scalar!(
        "SELECT refund.stripe_id FROM payment_events refund
         WHERE refund.customer_id = ANY($1) AND refund.subscription_id IS NULL AND refund.fact->>'what' = 'refunded'
           AND EXISTS (SELECT FROM payment_events own
                       WHERE own.customer_id = refund.customer_id AND own.subscription_id IS NOT NULL)
           AND NOT EXISTS (SELECT FROM alerts WHERE cause = $2 || refund.stripe_id)
         ORDER BY refund.stripe_id",
        customers as &[&str],
        Kind::RefundUnclear.prefix()
    );
    Ok(refunds.fetch_all(conn).await?)
}

/// Returns every status that Stripe reported for each of these disputes, with its time.
pub async fn list_disputes(
    conn: &mut PgConnection,
    ids: &[&str],
) -> Result<HashMap<String, Vec<(DateTime<Utc>, Dispute)>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT dispute_id AS "id!", happened_at, fact AS "fact!: Json<FactKind>" FROM payment_events
           WHERE dispute_id = ANY($1) AND fact IS NOT NULL"#,
        ids as &[&str]
    );
    let mut disputes: HashMap<String, Vec<(DateTime<Utc>, Dispute)>> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        if let FactKind::Disputed { status, .. } = row.fact.0 {
            disputes.entry(row.id).or_default().push((row.happened_at, status));
        }
    }
    Ok(disputes)
}

/// Assigns a subscription that belongs to no client to a client. Returns whether there is such a subscription.
pub async fn assign(conn: &mut PgConnection, id: &str, client_id: &str) -> Result<bool, Error> {
    let result =
        sqlx::query!("UPDATE subscriptions SET client_id = $2 WHERE id = $1 AND client_id IS NULL", id, client_id);
    Ok(result.execute(conn).await?.rows_affected() == 1)
}
