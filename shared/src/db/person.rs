//! Everything that is held about one person: how its rows are found, and the rows themselves.

use jobrun_onboarding::{E164, TextKind};
use serde_json::Value;
use sqlx::PgConnection;

use super::Error;
use super::inbox;
use super::phone_changes;
use crate::alerts::{KINDS, cause_of_undelivered};

/// How many ids of events one statement looks at.
pub const EVENTS_AT_ONCE: i64 = 5_000;

/// What the rows of a person are found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// `clients.id`.
    pub client_id: String,
    /// The phone.
    pub phone: E164,
    /// The number that it holds, E.164.
    pub number: Option<String>,
    /// The references in its payment link, and in those of phones that became its own.
    pub payment_references: Vec<String>,
    /// Stripe's names of its subscriptions.
    pub subscriptions: Vec<String>,
    /// Stripe's names of the payer.
    pub customers: Vec<String>,
    /// The lanes of its events.
    pub lanes: Vec<String>,
    /// The clients that were removed because their phones became its own, by `clients.id`.
    pub former_clients: Vec<String>,
    /// The phones that it had before, digits without the plus sign, unless they are other clients' by now.
    pub former_phones: Vec<String>,
    /// A regular expression that the payloads of its other events match: by the phone, or by a name that is its own for ever.
    pub pattern: String,
    /// A regular expression for those names alone: subscriptions, customers and payment references.
    pub names_pattern: String,
}

impl Person {
    /// Returns a person of whom only the phone is known, because its client is gone.
    #[must_use]
    pub fn of_phone(client_id: &str, phone: &E164) -> Self {
        Self {
            client_id: client_id.to_owned(),
            phone: phone.clone(),
            number: None,
            payment_references: Vec::new(),
            subscriptions: Vec::new(),
            customers: Vec::new(),
            lanes: inbox::lanes_of(client_id, phone, None),
            former_clients: Vec::new(),
            former_phones: Vec::new(),
            pattern: phone_pattern(phone),
            // No payload is empty.
            names_pattern: "^$".to_owned(),
        }
    }
}

/// Finds out what the rows of a client are found by, if there is such a client.
///
/// # Errors
/// [`Error::Unreadable`] when the client's phone is none.
pub async fn find(conn: &mut PgConnection, client_id: &str) -> Result<Option<Person>, Error> {
    let client = sqlx::query!(
        r#"SELECT "phoneNumber" AS phone, "twilioNumber" AS number, "paymentReference" AS reference FROM clients WHERE id = $1"#,
        client_id
    );
    let Some(client) = client.fetch_optional(&mut *conn).await? else {
        return Ok(None);
    };
    let unreadable = |_| Error::Unreadable { table: "clients", client_id: client_id.to_owned(), column: "phoneNumber" };
    let phone = E164::from_digits(&client.phone).map_err(unreadable)?;
    let former = sqlx::query!(
        "SELECT reference, former_client_id AS id FROM former_payment_references WHERE client_id = $1",
        client_id
    );
    let former = former.fetch_all(&mut *conn).await?;
    let (mut payment_references, former_clients): (Vec<String>, Vec<String>) =
        former.into_iter().map(|row| (row.reference, row.id)).unzip();
    payment_references.push(client.reference);
    let subscriptions = sqlx::query_scalar!("SELECT id FROM subscriptions WHERE client_id = $1 ORDER BY id", client_id);
    let subscriptions = subscriptions.fetch_all(&mut *conn).await?;
    let customers = sqlx::query_scalar!(
        r#"SELECT DISTINCT customer_id AS "id!" FROM payment_events
           WHERE subscription_id = ANY($1) AND customer_id IS NOT NULL
             -- A payer of other clients too is theirs as well.
             AND (SELECT min(s.client_id) FROM payment_events other JOIN subscriptions s ON s.id = other.subscription_id
                  WHERE other.customer_id = payment_events.customer_id AND s.client_id <> $2) IS NULL
           ORDER BY 1"#,
        &subscriptions,
        client_id
    );
    let customers = customers.fetch_all(&mut *conn).await?;
    let messages = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM messages WHERE client_id = $1 UNION SELECT id FROM messages WHERE to_phone = $2 AND (client_id IS NULL OR kind = 'text_back')"#,
        client_id,
        phone.as_str()
    );
    let mut lanes = inbox::lanes_of(client_id, &phone, None);
    lanes.push(inbox::phone_change_lane(client_id));
    lanes.extend(messages.fetch_all(&mut *conn).await?.iter().map(|id| format!("message:{id}")));
    let former_phones = phone_changes::list_former_phones(conn, client_id).await?;
    // After the move, these had no client: those that another client has are not among them.
    lanes.extend(former_phones.iter().map(|phone| inbox::phone_lane(phone)));
    let names = subscriptions.iter().chain(&customers).chain(&payment_references);
    let names_pattern = names_pattern(names.map(String::as_str));
    let pattern = format!("{}|{names_pattern}", phone_pattern(&phone));
    Ok(Some(Person {
        client_id: client_id.to_owned(),
        phone,
        number: client.number,
        payment_references,
        subscriptions,
        customers,
        lanes,
        former_clients,
        former_phones,
        pattern,
        names_pattern,
    }))
}

/// Returns the regular expression that a payload matches if it has the phone in it.
fn phone_pattern(phone: &E164) -> String {
    format!("(^|[^0-9]){}([^0-9]|$)", phone.digits())
}

/// Returns the regular expression that a payload matches if it has one of `names` in it, of which there is one at least.
fn names_pattern<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<String> = names
        .map(|name| {
            let escaped =
                name.chars().map(|it| if it.is_ascii_alphanumeric() { it.to_string() } else { format!("\\{it}") });
            format!("\"{}\"", escaped.collect::<String>())
        })
        .collect();
    parts.join("|")
}

/// Returns the causes of all alerts that can be about a client.
#[must_use]
pub fn alert_causes(client_id: &str) -> Vec<String> {
    let kinds = KINDS.iter().map(|(kind, _)| kind.of(client_id));
    kinds.chain(TextKind::ALL.iter().map(|kind| cause_of_undelivered(*kind, client_id))).collect()
}

impl Person {
    /// Returns the ids of its client, and of those that became one with it.
    #[must_use]
    pub fn client_ids(&self) -> Vec<String> {
        self.former_clients.iter().chain([&self.client_id]).cloned().collect()
    }

    /// Returns the subjects of entries of the audit log that are about it alone.
    #[must_use]
    pub fn audit_subjects(&self) -> Vec<String> {
        let ids = self.client_ids();
        ids.iter().flat_map(|id| alert_causes(id)).chain(ids.clone()).collect()
    }
}

/// The rows of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The table.
    pub table: &'static str,
    /// Its rows, with their columns.
    pub rows: Vec<Value>,
}

/// Returns all rows about a person, by table. Reads the whole inbox, some thousand events in a statement.
pub async fn list_rows(conn: &mut PgConnection, person: &Person) -> Result<Vec<Rows>, Error> {
    let mut tables = list_of_client(conn, person).await?;
    tables.extend(list_of_phone(conn, person).await?);
    tables.extend(list_of_operation(conn, person).await?);
    tables.push(Rows { table: "events", rows: list_events(conn, person).await? });
    Ok(tables)
}

async fn list_of_client(conn: &mut PgConnection, person: &Person) -> Result<Vec<Rows>, Error> {
    let id = &person.client_id;
    let clients = sqlx::query_scalar!(r#"SELECT to_jsonb(c) AS "row!" FROM clients c WHERE id = $1"#, id);
    let clients = clients.fetch_all(&mut *conn).await?;
    let states =
        sqlx::query_scalar!(r#"SELECT to_jsonb(s) AS "row!" FROM onboarding_states s WHERE client_id = $1"#, id);
    let states = states.fetch_all(&mut *conn).await?;
    let waiting = sqlx::query_scalar!(r#"SELECT to_jsonb(w) AS "row!" FROM waiting_list w WHERE client_id = $1"#, id);
    let waiting = waiting.fetch_all(&mut *conn).await?;
    let former_references = sqlx::query_scalar!(
        r#"SELECT to_jsonb(f) AS "row!" FROM former_payment_references f WHERE client_id = $1 ORDER BY reference"#,
        id
    );
    let former_references = former_references.fetch_all(&mut *conn).await?;
    let subscriptions = sqlx::query_scalar!(
        r#"SELECT to_jsonb(s) AS "row!" FROM subscriptions s WHERE client_id = $1 ORDER BY id"#,
        id
    );
    let subscriptions = subscriptions.fetch_all(&mut *conn).await?;
    let payments = sqlx::query_scalar!(
        r#"SELECT to_jsonb(p) AS "row!" FROM payment_events p
           WHERE id = ANY(ARRAY(SELECT id FROM payment_events WHERE subscription_id = ANY($1)
                                UNION SELECT id FROM payment_events WHERE customer_id = ANY($2)))
           ORDER BY p.id"#,
        &person.subscriptions,
        &person.customers
    );
    let payments = payments.fetch_all(&mut *conn).await?;
    let cases = sqlx::query_scalar!(
        r#"SELECT to_jsonb(c) AS "row!" FROM cases c WHERE id = ANY(ARRAY(SELECT id FROM cases WHERE client_id = $1)) ORDER BY c.id"#,
        id
    );
    let cases = cases.fetch_all(&mut *conn).await?;
    let calls =
        sqlx::query_scalar!(r#"SELECT to_jsonb(k) AS "row!" FROM calls k WHERE client_id = $1 ORDER BY called_at"#, id);
    let calls = calls.fetch_all(&mut *conn).await?;
    let voicemails =
        sqlx::query_scalar!(r#"SELECT to_jsonb(v) AS "row!" FROM voicemails v WHERE client_id = $1 ORDER BY id"#, id);
    let voicemails = voicemails.fetch_all(&mut *conn).await?;
    let changes = sqlx::query_scalar!(
        r#"SELECT to_jsonb(n) AS "row!" FROM number_changes n WHERE client_id = $1 ORDER BY id"#,
        id
    );
    let changes = changes.fetch_all(&mut *conn).await?;
    Ok(vec![
        Rows { table: "clients", rows: clients },
        Rows { table: "onboarding_states", rows: states },
        Rows { table: "cases", rows: cases },
        Rows { table: "waiting_list", rows: waiting },
        Rows { table: "former_payment_references", rows: former_references },
        Rows { table: "subscriptions", rows: subscriptions },
        Rows { table: "payment_events", rows: payments },
        Rows { table: "number_changes", rows: changes },
        Rows { table: "calls", rows: calls },
        Rows { table: "voicemails", rows: voicemails },
    ])
}

async fn list_of_phone(conn: &mut PgConnection, person: &Person) -> Result<Vec<Rows>, Error> {
    let (id, phone) = (&person.client_id, &person.phone);
    let messages = sqlx::query_scalar!(
        r#"SELECT to_jsonb(m) AS "row!" FROM messages m
           WHERE id = ANY(ARRAY(SELECT id FROM messages WHERE client_id = $1
                                UNION SELECT id FROM messages WHERE to_phone = $2 AND (client_id IS NULL OR kind = 'text_back')))
           ORDER BY m.id"#,
        id,
        phone.as_str()
    );
    let messages = messages.fetch_all(&mut *conn).await?;
    let opt_changes = sqlx::query_scalar!(
        r#"SELECT to_jsonb(o) AS "row!" FROM opt_changes o WHERE phone = $1 ORDER BY id"#,
        phone.digits()
    );
    let opt_changes = opt_changes.fetch_all(&mut *conn).await?;
    // The rest of a former phone is not the client's: another person may have it now. Nor are the changes of a person who had this
    // phone before. Other requests of a newcomer that was merged into the client have no `newcomer_id`.
    let phone_changes = sqlx::query_scalar!(
        r#"SELECT to_jsonb(p) - 'code_key' - 'code_hmac' AS "row!" FROM phone_changes p
           WHERE id = ANY(ARRAY(SELECT id FROM phone_changes WHERE client_id = $1 UNION SELECT id FROM phone_changes WHERE newcomer_id = $1
                                UNION SELECT id FROM phone_changes
                                      WHERE new_phone = $2 AND newcomer_id IS NULL AND operator IS NULL
                                        AND outcome IS DISTINCT FROM 'moved'
                                        AND asked_at >= (SELECT "createdAt" FROM clients WHERE id = $1)
                                        AND NOT EXISTS (SELECT FROM phone_changes away
                                                        WHERE away.old_phone = $2 AND away.outcome = 'moved' AND away.client_id <> $1
                                                          AND away.ended_at > phone_changes.asked_at)))
           ORDER BY id"#,
        id,
        phone.digits()
    );
    let phone_changes = phone_changes.fetch_all(&mut *conn).await?;
    let unrecorded = sqlx::query_scalar!(
        r#"SELECT to_jsonb(u) AS "row!" FROM unrecorded_texts u WHERE to_phone = $1 ORDER BY sent_at"#,
        phone.as_str()
    );
    let unrecorded = unrecorded.fetch_all(&mut *conn).await?;
    let senders = sqlx::query_scalar!(
        r#"SELECT to_jsonb(s) AS "row!" FROM senders s WHERE number = $1"#,
        person.number.as_deref().unwrap_or_default()
    );
    let senders = senders.fetch_all(conn).await?;
    Ok(vec![
        Rows { table: "messages", rows: messages },
        Rows { table: "opt_changes", rows: opt_changes },
        Rows { table: "phone_changes", rows: phone_changes },
        Rows { table: "unrecorded_texts", rows: unrecorded },
        Rows { table: "senders", rows: senders },
    ])
}

async fn list_of_operation(conn: &mut PgConnection, person: &Person) -> Result<Vec<Rows>, Error> {
    let id = &person.client_id;
    let alerts = sqlx::query_scalar!(
        r#"SELECT to_jsonb(a) AS "row!" FROM alerts a WHERE cause = ANY($1) ORDER BY id"#,
        &alert_causes(id)
    );
    let alerts = alerts.fetch_all(&mut *conn).await?;
    let audit_log = sqlx::query_scalar!(
        r#"SELECT to_jsonb(l) AS "row!" FROM audit_log l
           WHERE subject = ANY($1 || ARRAY(SELECT number FROM number_changes WHERE client_id = $2))
             AND (subject = ANY($1) OR details ->> 'holder' = ANY($3))
           ORDER BY at, id"#,
        &person.audit_subjects(),
        id,
        &person.client_ids()
    );
    let audit_log = audit_log.fetch_all(&mut *conn).await?;
    let bulk_actions = sqlx::query_scalar!(
        r#"SELECT to_jsonb(b) AS "row!" FROM bulk_actions b
           WHERE id = ANY(ARRAY(SELECT t.action_id FROM bulk_action_texts t
                                WHERE t.message_id = ANY(ARRAY(SELECT m.id FROM messages m WHERE m.client_id = $1))))
           ORDER BY id"#,
        id
    );
    let bulk_actions = bulk_actions.fetch_all(&mut *conn).await?;
    let bulk_texts = sqlx::query_scalar!(
        r#"SELECT to_jsonb(t) AS "row!" FROM bulk_action_texts t
           WHERE t.message_id = ANY(ARRAY(SELECT m.id FROM messages m WHERE m.client_id = $1)) ORDER BY message_id, action_id"#,
        id
    );
    let bulk_texts = bulk_texts.fetch_all(conn).await?;
    Ok(vec![
        Rows { table: "alerts", rows: alerts },
        Rows { table: "audit_log", rows: audit_log },
        Rows { table: "bulk_actions", rows: bulk_actions },
        Rows { table: "bulk_action_texts", rows: bulk_texts },
    ])
}

/// Returns the id of the last event.
pub async fn find_last_event(conn: &mut PgConnection) -> Result<i64, Error> {
    let last = sqlx::query_scalar!(r#"SELECT COALESCE(max(id), 0) AS "last!" FROM events"#);
    Ok(last.fetch_one(conn).await?)
}

async fn list_events(conn: &mut PgConnection, person: &Person) -> Result<Vec<Value>, Error> {
    let last = find_last_event(&mut *conn).await?;
    let (mut events, mut from) = (Vec::new(), 0);
    while from < last {
        let to = (from + EVENTS_AT_ONCE).min(last);
        let rows = sqlx::query_file_scalar!(
            "src/db/list_events_of_person.sql",
            person.client_id,
            &person.lanes,
            person.pattern,
            from,
            to,
            person.phone.digits(),
            person.names_pattern
        );
        events.extend(rows.fetch_all(&mut *conn).await?);
        from = to;
    }
    Ok(events)
}
