//! Clients: who they are, where they stand in the conversation, and the lock that lets one worker at a time handle
//! each.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jobrun_onboarding::{Client, Collected, E164, Exchange, OptChange, Payment, State, Takeover, home_region};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Error, ensure_rows};
use crate::phone_digest::PhoneKey;

/// Creates a client for every phone that has none yet, in the region of the phone's country. A phone that opted out
/// before it was a client's begins opted out, and with `key` also one whose person was erased. Waits for other
/// transactions that insert the same phones.
pub async fn ensure_for_phones(conn: &mut PgConnection, phones: &[E164], key: Option<&PhoneKey>) -> Result<(), Error> {
    // Sorted, so that two transactions cannot deadlock.
    let mut newcomers: Vec<(&E164, String)> = phones.iter().map(|it| (it, home_region(it))).collect();
    newcomers.sort_unstable_by(|(one, _), (other, _)| one.digits().cmp(other.digits()));
    newcomers.dedup();
    let digests: Vec<Option<Vec<u8>>> = newcomers.iter().map(|(phone, _)| Some(key?.digest(phone))).collect();
    let (digits, regions): (Vec<&str>, Vec<String>) =
        newcomers.into_iter().map(|(phone, region)| (phone.digits(), region)).unzip();
    sqlx::query!(
        r#"INSERT INTO clients ("phoneNumber", region, "optedOutAt")
           SELECT newcomer.phone, region,
                  CASE WHEN last.change = 'out' THEN last.changed_at WHEN last.change IS NULL THEN erased.opted_out_at END
           FROM unnest($1::TEXT[], $2::TEXT[], $3::BYTEA[]) WITH ORDINALITY AS newcomer (phone, region, digest, place)
           LEFT JOIN LATERAL (SELECT change, changed_at FROM opt_changes WHERE opt_changes.phone = newcomer.phone
                              ORDER BY id DESC LIMIT 1) AS last ON TRUE
           LEFT JOIN erased_opt_outs AS erased ON erased.phone_hmac = newcomer.digest
           ORDER BY place
           ON CONFLICT ON CONSTRAINT a_phone_belongs_to_one_client DO NOTHING"#,
        &digits as &[&str],
        &regions,
        &digests as &[Option<Vec<u8>>]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A client to be created, if there is none with its phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClient {
    /// Its phone.
    pub phone: E164,
    /// The reference in its payment link, if it is known.
    pub payment_reference: Option<String>,
}

/// As [`ensure_for_phones`], with payment references that the clients already have in their links. A reference that
/// belongs to another client is left out, with its client.
pub async fn insert_with_references(conn: &mut PgConnection, clients: &[NewClient]) -> Result<(), Error> {
    let (named, others): (Vec<&NewClient>, Vec<&NewClient>) =
        clients.iter().partition(|client| client.payment_reference.is_some());
    let digits: Vec<&str> = named.iter().map(|client| client.phone.digits()).collect();
    let regions: Vec<String> = named.iter().map(|client| home_region(&client.phone)).collect();
    let references: Vec<Option<&str>> = named.iter().map(|client| client.payment_reference.as_deref()).collect();
    sqlx::query!(
        r#"INSERT INTO clients ("phoneNumber", region, "paymentReference", "optedOutAt")
           SELECT phone, region, reference, (SELECT CASE change WHEN 'out' THEN changed_at END FROM opt_changes
                                             WHERE opt_changes.phone = newcomer.phone ORDER BY id DESC LIMIT 1)
           FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS newcomer (phone, region, reference)
           ON CONFLICT DO NOTHING"#,
        &digits as &[&str],
        &regions,
        &references as &[Option<&str>]
    )
    .execute(&mut *conn)
    .await?;
    let others: Vec<E164> = others.iter().map(|client| client.phone.clone()).collect();
    ensure_for_phones(conn, &others, None).await
}

/// The phones, numbers and client ids among a list of lanes.
struct Split {
    phones: Vec<String>,
    numbers: Vec<String>,
    ids: Vec<String>,
}

fn split(lanes: &[String]) -> Split {
    let of = |prefix: &str| lanes.iter().filter_map(|lane| lane.strip_prefix(prefix)).map(str::to_owned).collect();
    Split { phones: of("phone:"), numbers: of("number:"), ids: of("client:") }
}

/// Returns the lanes that belong to the same clients as `lanes` do. A lane that is not among them has no client.
pub async fn list_known_lanes(conn: &mut PgConnection, lanes: &[String]) -> Result<HashSet<String>, Error> {
    let Split { phones, numbers, ids } = split(lanes);
    let known = sqlx::query_scalar!(
        r#"SELECT unnest(ARRAY['phone:' || "phoneNumber", 'number:' || "twilioNumber", 'client:' || id])
           FROM clients WHERE "phoneNumber" = ANY($1) OR "twilioNumber" = ANY($2) OR id = ANY($3)"#,
        &phones,
        &numbers,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(known.into_iter().flatten().collect())
}

/// Locks the clients whose events arrive in `lanes`, and skips those that another transaction has locked: its worker
/// looks for events again before it finishes. Returns the ids of the locked clients.
pub async fn lock_by_lanes(conn: &mut PgConnection, lanes: &[String]) -> Result<Vec<String>, Error> {
    let Split { phones, numbers, ids } = split(lanes);
    // Not FOR UPDATE: other transactions may insert rows that refer to a client meanwhile, such as a text from the
    // sweep.
    let ids = sqlx::query_scalar!(
        r#"SELECT id FROM clients
           WHERE "phoneNumber" = ANY($1) OR "twilioNumber" = ANY($2) OR id = ANY($3)
           ORDER BY id
           FOR NO KEY UPDATE SKIP LOCKED"#,
        &phones,
        &numbers,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// Locks one client, and waits for other transactions that have it locked. Returns whether the client exists.
pub async fn lock(conn: &mut PgConnection, id: &str) -> Result<bool, Error> {
    let row = sqlx::query!("SELECT id FROM clients WHERE id = $1 FOR NO KEY UPDATE", id).fetch_optional(conn).await?;
    Ok(row.is_some())
}

/// Returns whether the client exists. Locks nothing.
pub async fn exists(conn: &mut PgConnection, id: &str) -> Result<bool, Error> {
    let row = sqlx::query!("SELECT id FROM clients WHERE id = $1", id).fetch_optional(conn).await?;
    Ok(row.is_some())
}

/// Locks clients by id, and skips those that another transaction has locked. Returns the ids of the locked ones.
pub async fn lock_unlocked(conn: &mut PgConnection, ids: &[&str]) -> Result<HashSet<String>, Error> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM clients WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
        ids as &[&str]
    );
    Ok(locked.fetch_all(conn).await?.into_iter().collect())
}

/// A loaded client, with the region in which it needs a number.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The client as decisions see it.
    pub client: Client,
    /// `clients.region`.
    pub region: String,
    /// The name of the business; empty if it has none yet.
    pub business_name: String,
    /// When the sweep looks at the client next, to see whether it has fallen silent.
    pub remind_at: Option<DateTime<Utc>>,
    /// When the sweep looks at the client's forwarding next.
    pub forwarding_check_at: Option<DateTime<Utc>>,
}

/// Loads the clients `ids`, by id. This is a separate statement after the one that locks: only then does it see what
/// the previous holder of the lock has written.
///
/// A client that cannot be read is an [`Error::Unreadable`] in its place. The caller either leaves it out or fails, and
/// then tries the others again without it.
pub async fn load(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<Result<Loaded, Error>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT c.id, c.region, c."businessName" AS business_name, c."phoneNumber" AS phone, c."paymentActive" AS payment_active, c."twilioNumber" AS number,
                  c."paymentStanding" AS payment, c."paymentReference" AS payment_reference,
                  c."optedOutAt" IS NOT NULL AS "opted_out!", c."unreachableAt" IS NOT NULL AS "unreachable!",
                  s.current_state AS "state?",
                  s.collected_fields AS "collected?", s.asked_at AS "asked_at?", s.led_by AS "led_by?",
                  s.led_by_at AS "led_by_at?", c.misfits, c."takenOverBy" AS taken_over_by, c."takenOverAt" AS taken_over_at,
                  c."takenOverMinutes" AS taken_over_minutes, c."remindAt" AS remind_at,
                  c."testAskedAt" AS test_asked_at, c."forwardingCheckAt" AS forwarding_check_at,
                  c."textBack" AS text_back, c."textBackAskedAt" IS NOT NULL AS "text_back_asked!"
           FROM clients c LEFT JOIN onboarding_states s ON s.client_id = c.id
           WHERE c.id = ANY($1) ORDER BY c.id"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    let loaded = rows.into_iter().map(|row| {
        let unreadable = |table, column| Error::Unreadable { table, client_id: row.id.clone(), column };
        let state = match &row.state {
            None => State::S1BusinessTypeLocation,
            Some(name) => State::from_name(name).ok_or_else(|| unreadable("onboarding_states", "current_state"))?,
        };
        let number = row.number.as_deref().map(E164::parse).transpose();
        let client = Client {
            owner_phone: E164::from_digits(&row.phone).map_err(|_| unreadable("clients", "phoneNumber"))?,
            state,
            collected: row.collected.as_ref().map(Collected::from_json).unwrap_or_default(),
            exchange: Exchange {
                asked_at: row.asked_at,
                led_by: row.led_by.zip(row.led_by_at),
                misfits: u32::try_from(row.misfits).unwrap_or_default(),
                crossed: 0,
            },
            payment_active: row.payment_active,
            payment: Payment::from_name(&row.payment).ok_or_else(|| unreadable("clients", "paymentStanding"))?,
            payment_reference: row.payment_reference,
            number: number.map_err(|_| unreadable("clients", "twilioNumber"))?,
            opted_out: row.opted_out,
            unreachable: row.unreachable,
            takeover: read_takeover(row.taken_over_by, row.taken_over_at, row.taken_over_minutes),
            forwarding_test: row.test_asked_at,
            text_back: row.text_back,
            text_back_asked: row.text_back_asked,
            id: row.id,
        };
        let forwarding_check_at = row.forwarding_check_at;
        let (business_name, remind_at) = (row.business_name, row.remind_at);
        Ok(Loaded { client, region: row.region, business_name, remind_at, forwarding_check_at })
    });
    Ok(loaded.collect())
}

/// Returns the takeover that a row of `clients` contains, if there is one. It may be over by now.
pub(in crate::db) fn read_takeover(
    by: Option<String>,
    last_at: Option<DateTime<Utc>>,
    minutes: Option<i32>,
) -> Option<Takeover> {
    let silence_minutes = minutes.and_then(|minutes| u32::try_from(minutes).ok());
    by.zip(last_at).map(|(by, last_at)| Takeover { by, last_at, silence_minutes })
}

/// Where a client stands after a decision.
#[derive(Clone, Debug)]
pub struct ConversationProgress<'a> {
    /// `clients.id`.
    pub client_id: &'a str,
    /// Its place in the conversation.
    pub state: State,
    /// The data that its texts have given.
    pub collected: &'a Collected,
    /// The state of the exchange of question and answer.
    pub exchange: &'a Exchange,
}

/// Saves where clients stand. Entries that were added to `collected_fields` by hand are kept.
pub async fn save_progress(
    conn: &mut PgConnection,
    progress: &[ConversationProgress<'_>],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if progress.is_empty() {
        return Ok(());
    }
    save_business_names(conn, progress).await?;
    let ids: Vec<&str> = progress.iter().map(|it| it.client_id).collect();
    let states: Vec<&str> = progress.iter().map(|it| it.state.name()).collect();
    let collected: Vec<Json<&Collected>> = progress.iter().map(|it| Json(it.collected)).collect();
    let asked: Vec<Option<DateTime<Utc>>> = progress.iter().map(|it| it.exchange.asked_at).collect();
    let led_by = || progress.iter().map(|it| it.exchange.led_by.as_ref());
    let led_by_bodies: Vec<Option<&str>> = led_by().map(|led_by| Some(led_by?.0.as_str())).collect();
    let led_by_at: Vec<Option<DateTime<Utc>>> = led_by().map(|led_by| Some(led_by?.1)).collect();
    let result = sqlx::query!(
        "INSERT INTO onboarding_states
             (client_id, current_state, collected_fields, asked_at, led_by, led_by_at, updated_at)
         SELECT client_id, current_state, collected_fields, asked_at, led_by, led_by_at, $7
         FROM unnest($1::TEXT[], $2::TEXT[], $3::JSONB[], $4::TIMESTAMPTZ[], $5::TEXT[], $6::TIMESTAMPTZ[])
             AS s (client_id, current_state, collected_fields, asked_at, led_by, led_by_at)
         ON CONFLICT ON CONSTRAINT a_client_has_one_state DO UPDATE
         SET current_state = EXCLUDED.current_state,
             collected_fields = onboarding_states.collected_fields || EXCLUDED.collected_fields,
             asked_at = EXCLUDED.asked_at,
             led_by = EXCLUDED.led_by,
             led_by_at = EXCLUDED.led_by_at,
             updated_at = EXCLUDED.updated_at",
        &ids as &[&str],
        &states as &[&str],
        &collected as &[Json<&Collected>],
        &asked as &[Option<DateTime<Utc>>],
        &led_by_bodies as &[Option<&str>],
        &led_by_at as &[Option<DateTime<Utc>>],
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, progress.len(), "saving where clients stand")
}

/// Saves how many texts in a row fitted no question. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_misfits(conn: &mut PgConnection, misfits: &[(&str, u32)]) -> Result<(), Error> {
    if misfits.is_empty() {
        return Ok(());
    }
    let (ids, counts): (Vec<&str>, Vec<i32>) =
        misfits.iter().map(|(id, count)| (*id, i32::try_from(*count).unwrap_or(i32::MAX))).unzip();
    let result = sqlx::query!(
        "UPDATE clients SET misfits = changed.misfits FROM unnest($1::TEXT[], $2::INTEGER[]) AS changed (id, misfits)
         WHERE clients.id = changed.id",
        &ids as &[&str],
        &counts
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, misfits.len(), "saving how many texts have fitted no question")
}

/// Names a business that has no name yet as its owner did, and corrects a name that the owner gave. A name that was
/// given by hand stays. Called before the collected data is saved: the old name is compared.
async fn save_business_names(conn: &mut PgConnection, progress: &[ConversationProgress<'_>]) -> Result<(), Error> {
    let named = progress.iter().filter_map(|it| Some((it.client_id, it.collected.business_name.as_deref()?)));
    let (ids, names): (Vec<&str>, Vec<&str>) = named.unzip();
    if names.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"UPDATE clients SET "businessName" = named.name
           FROM unnest($1::TEXT[], $2::TEXT[]) AS named (id, name)
           LEFT JOIN onboarding_states s ON s.client_id = named.id
           WHERE clients.id = named.id AND clients."businessName" <> named.name
             AND (clients."businessName" = '' OR clients."businessName" = s.collected_fields ->> 'businessName')"#,
        &ids as &[&str],
        &names as &[&str]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The status of a client's payment, as its conversation has last heard, and whether the payment gate is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentUpdate<'a> {
    /// `clients.id`.
    pub client_id: &'a str,
    /// The status of its payment.
    pub payment: Payment,
    /// Whether the payment gate is open.
    pub payment_active: bool,
}

/// Saves what conversations have heard of payments. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_payments(conn: &mut PgConnection, updates: &[PaymentUpdate<'_>]) -> Result<(), Error> {
    if updates.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = updates.iter().map(|it| it.client_id).collect();
    let standings: Vec<&str> = updates.iter().map(|it| it.payment.name()).collect();
    let active: Vec<bool> = updates.iter().map(|it| it.payment_active).collect();
    let result = sqlx::query!(
        r#"UPDATE clients SET "paymentStanding" = updates.standing, "paymentActive" = updates.active
           FROM unnest($1::TEXT[], $2::TEXT[], $3::BOOLEAN[]) AS updates (id, standing, active)
           WHERE clients.id = updates.id"#,
        &ids as &[&str],
        &standings as &[&str],
        &active
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, updates.len(), "saving the payments of clients")
}

/// Records that clients opted out of texts (`true`) or opted in again (`false`). The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_opted_out(
    conn: &mut PgConnection,
    changes: &[(&str, bool)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (ids, out): (Vec<&str>, Vec<bool>) = changes.iter().copied().unzip();
    let result = sqlx::query!(
        r#"UPDATE clients SET "optedOutAt" = CASE WHEN changed.out THEN $3::TIMESTAMPTZ END
           FROM unnest($1::TEXT[], $2::BOOLEAN[]) AS changed (id, out) WHERE clients.id = changed.id"#,
        &ids as &[&str],
        &out,
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, changes.len(), "recording opt-out changes of clients")
}

/// Records that texts do not reach clients (`true`) or do so again (`false`). The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_unreachable(
    conn: &mut PgConnection,
    changes: &[(&str, bool)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (ids, unreachable): (Vec<&str>, Vec<bool>) = changes.iter().copied().unzip();
    let result = sqlx::query!(
        r#"UPDATE clients SET "unreachableAt" = CASE WHEN changed.unreachable THEN $3::TIMESTAMPTZ END
           FROM unnest($1::TEXT[], $2::BOOLEAN[]) AS changed (id, unreachable) WHERE clients.id = changed.id"#,
        &ids as &[&str],
        &unreachable,
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, changes.len(), "recording which clients are unreachable")
}

/// Saves by whom clients are taken over, if by anyone. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_takeovers(conn: &mut PgConnection, takeovers: &[(&str, Option<&Takeover>)]) -> Result<(), Error> {
    if takeovers.is_empty() {
        return Ok(());
    }
    let of = |takeover: &Option<&Takeover>| takeover.and_then(|it| i32::try_from(it.silence_minutes?).ok());
    let ids: Vec<&str> = takeovers.iter().map(|(id, _)| *id).collect();
    let by: Vec<Option<&str>> = takeovers.iter().map(|(_, it)| Some(it.as_ref()?.by.as_str())).collect();
    let last_at: Vec<Option<DateTime<Utc>>> = takeovers.iter().map(|(_, it)| Some(it.as_ref()?.last_at)).collect();
    let minutes: Vec<Option<i32>> = takeovers.iter().map(|(_, it)| of(it)).collect();
    let result = sqlx::query!(
        r#"UPDATE clients SET "takenOverBy" = t.by, "takenOverAt" = t.last_at, "takenOverMinutes" = t.minutes
           FROM unnest($1::TEXT[], $2::TEXT[], $3::TIMESTAMPTZ[], $4::INTEGER[]) AS t (id, by, last_at, minutes)
           WHERE clients.id = t.id"#,
        &ids as &[&str],
        &by as &[Option<&str>],
        &last_at as &[Option<DateTime<Utc>>],
        &minutes as &[Option<i32>]
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, takeovers.len(), "saving who has taken clients over")
}

/// An opt-out change, and the event that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptChangeRecord {
    /// The phone: a client's, or a stranger's who texted one of our numbers.
    pub phone: E164,
    /// The change.
    pub change: OptChange,
    /// `events.id`.
    pub event_id: i64,
}

/// Inserts opt-out changes, in order.
pub async fn insert_opt_changes(
    conn: &mut PgConnection,
    wishes: &[OptChangeRecord],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let phones: Vec<&str> = wishes.iter().map(|wish| wish.phone.digits()).collect();
    let events: Vec<i64> = wishes.iter().map(|wish| wish.event_id).collect();
    let changes: Vec<&str> = wishes
        .iter()
        .map(|wish| match wish.change {
            OptChange::Out => "out",
            OptChange::In => "in",
        })
        .collect();
    let result = sqlx::query!(
        "INSERT INTO opt_changes (phone, change, changed_at, event_id)
         SELECT phone, change, $4, event_id
         FROM unnest($1::TEXT[], $2::TEXT[], $3::BIGINT[]) WITH ORDINALITY AS w (phone, change, event_id, place)
         ORDER BY place",
        &phones as &[&str],
        &changes as &[&str],
        &events,
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, wishes.len(), "inserting opt-out changes")
}

/// Returns which of `phones`, digits without the plus sign, last opted out. For strangers, whose opt-out is stored
/// nowhere else.
pub async fn list_opted_out(conn: &mut PgConnection, phones: &[&str]) -> Result<HashSet<String>, Error> {
    let out = sqlx::query_scalar!(
        "SELECT phone FROM (SELECT DISTINCT ON (phone) phone, change FROM opt_changes WHERE phone = ANY($1)
                            ORDER BY phone, id DESC) AS last
         WHERE change = 'out'",
        phones as &[&str]
    );
    Ok(out.fetch_all(conn).await?.into_iter().collect())
}
