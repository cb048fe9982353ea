//! Rows as a year of business leaves them: clients who are live, the texts they sent, and the replies they got.

use jobrun_shared::db;
use secrecy::SecretString;
use sqlx::PgPool;

/// How many rows one statement writes.
const STEP: i64 = 250_000;

/// How many events there are per reply: a prime, so that replies spread over all clients.
const EVENTS_OF_AN_ANSWER: i64 = 11;

/// The smallest count of clients, however few events there are: in the runs on these rows, each client texts at most once.
pub(crate) const CLIENTS_MIN: i64 = 10_000;

/// How an inbox is filled.
#[derive(Clone, Copy)]
pub(crate) struct Filling {
    pub(crate) events: i64,
    pub(crate) events_of_a_client: i64,
    /// Whether events have the digest of a webhook, which is in an index.
    pub(crate) digests: bool,
}

impl Filling {
    /// Returns the filling with a hundred events per client, without digests.
    pub(crate) const fn of(events: i64) -> Self {
        Self { events, events_of_a_client: 100, digests: false }
    }

    /// Returns how many clients send the events.
    pub(crate) fn clients(&self) -> i64 {
        (self.events / self.events_of_a_client).max(CLIENTS_MIN)
    }
}

/// Returns the phone number, E.164, of the `n`th client, counted from 0.
pub(crate) fn phone(n: usize) -> String {
    format!("+4478{n:08}")
}

/// Inserts clients $1 to $2 - 1, who need no reminder. Every other one holds a number, which is in the pool.
const CLIENTS: &str = r#"
    WITH added AS (
        INSERT INTO clients (id, "businessName", "phoneNumber", "paymentActive", "paymentStanding", "twilioNumber",
                             "createdAt", "remindAt")
        SELECT md5('client' || n)::UUID::TEXT, 'Business ' || n, '4478' || lpad(n::TEXT, 8, '0'), TRUE, 'active',
               CASE WHEN n % 2 = 0 THEN '+4473' || lpad(n::TEXT, 8, '0') END, now() - INTERVAL '1 year', NULL
        FROM generate_series($1::BIGINT, $2::BIGINT - 1) AS n
        RETURNING id, "twilioNumber" AS number
    ), stands AS (
        INSERT INTO onboarding_states (client_id, current_state, collected_fields)
        SELECT id, 'COMPLETE', '{"businessTypeLocation": "Plumber from London", "ownerName": "Sam"}' FROM added
    )
    INSERT INTO twilio_number_pool (phone_e164, status, client_id, assigned_at)
    SELECT number, 'ASSIGNED', id, now() - INTERVAL '1 year' FROM added WHERE number IS NOT NULL"#;

/// Inserts events $1 to $2 - 1, spread over the year that ended yesterday. $3 is the count of events, $4 that of clients.
/// $5 says whether they have digests.
const EVENTS: &str = "
    INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id, state,
                        signed_digest)
    SELECT 'twilio', 'SM' || md5('event' || n), 'text', 'phone:' || phone,
           jsonb_build_object('kind', 'text', 'from', '+' || phone, 'to', '+447476955179',
                              'body', 'Hello, is anybody there? This is text ' || n),
           at, at + INTERVAL '20 milliseconds', 'answered', md5('client' || n % $4)::UUID::TEXT, 'COMPLETE',
           CASE WHEN $5 THEN decode(md5('digest' || n), 'hex') END
    FROM generate_series($1::BIGINT, $2::BIGINT - 1) AS n,
         LATERAL (SELECT '4478' || lpad((n % $4)::TEXT, 8, '0') AS phone,
                         now() - INTERVAL '1 day' - INTERVAL '1 year' * (1 - n::FLOAT8 / $3) AS at) AS derived";

/// Inserts replies to the events with ids from $1 to $2 - 1. $3 is how many events there are per reply.
const MESSAGES: &str = "
    INSERT INTO messages (status, client_id, event_id, kind, to_phone, from_number, body, attempts, claims,
                          attempted_at, twilio_sid, segments, encoding, expires_at, created_at, updated_at)
    SELECT 'delivered', client_id, id, 'already_live', payload ->> 'from', payload ->> 'to',
           'You are all set up: JobRun answers the calls that you miss. Text us whenever something changes.', 1, 1,
           processed_at, 'SM' || md5('message' || id), 1, 'gsm7', processed_at + INTERVAL '4 hours', processed_at,
           processed_at + INTERVAL '3 seconds'
    FROM events WHERE id >= $1 AND id < $2 AND id % $3 = 0";

/// Fills the migrated, empty database at `url` with events, and with their clients and replies.
pub(crate) async fn fill(url: &SecretString, filling: Filling) -> anyhow::Result<()> {
    let pool = db::connect(url, jobrun::CONNECTIONS).await?;
    let (events, clients) = (filling.events, filling.clients());
    for (from, to) in steps(clients) {
        sqlx::query(CLIENTS).bind(from).bind(to).execute(&pool).await?;
    }
    for (from, to) in steps(events) {
        let written = sqlx::query(EVENTS).bind(from).bind(to).bind(events).bind(clients).bind(filling.digests);
        written.execute(&pool).await?;
        eprintln!("rows: {to} of {events} events written");
    }
    fill_messages(&pool).await?;
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        sqlx::raw_sql(statement).execute(&pool).await?;
    }
    pool.close().await;
    Ok(())
}

async fn fill_messages(pool: &PgPool) -> anyhow::Result<()> {
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events").fetch_one(pool).await?;
    for (from, to) in steps(last + 1) {
        sqlx::query(MESSAGES).bind(from).bind(to).bind(EVENTS_OF_AN_ANSWER).execute(pool).await?;
    }
    eprintln!("rows: {} messages written", last / EVENTS_OF_AN_ANSWER);
    Ok(())
}

/// Splits 0 to `count` into steps. Returns the start of each, and its end, which is not part of it.
fn steps(count: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..count).step_by(STEP as usize).map(move |from| (from, (from + STEP).min(count)))
}
