//! The rules that hold at the end of each day.

use jobrun_tests::texts;

use super::month::Month;

impl Month {
    pub(super) async fn check_the_rules(&self, day: usize) {
        for (rule, broken) in RULES {
            let found = texts(&self.system.pool, broken).await;
            assert!(found.is_empty(), "day {day}: {rule}: {found:?}");
        }
        let clients = self.clients().await;
        for (place, person) in self.people.iter().enumerate() {
            let client = clients.get(person.digits());
            let open = client.is_some_and(|client| client.is_paid);
            assert_eq!(open, person.is_served, "day {day}: whether {client:?} is served");
            let had = self.system.stand_in.bodies_to(&person.phone).len();
            assert!(person.opted_out_after.is_none_or(|then| then == had), "day {day}: {client:?} wants no texts");
            if let Some(then) = person.taken_over_after {
                assert_eq!(self.automatic_texts(place).await, then, "day {day}: {client:?} speaks with an operator");
            }
        }
        self.assert_erased(&format!("day {day}")).await;
    }

    /// Searches every text and every document of the database for what was erased.
    pub(super) async fn assert_erased(&self, when: &str) {
        let gone = |phone: &str| self.people.iter().all(|person| person.phone != phone);
        let phones = self.erased.iter().map(|erased| &erased.person).filter(|person| gone(&person.phone));
        let mut words: Vec<String> = phones.map(|person| person.digits().trim_start_matches("44").to_owned()).collect();
        words.extend(self.erased.iter().flat_map(|erased| erased.person.words()));
        if words.is_empty() {
            return;
        }
        let columns = "SELECT string_agg(format('SELECT %L || left(%I::TEXT, 300) FROM %I.%I WHERE %I::TEXT ~* $1',
                           table_name || '.' || column_name || ': ', column_name, table_schema, table_name, column_name), ' UNION ALL ')
                       FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
                       WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'
                         AND data_type IN ('text', 'json', 'jsonb', 'character varying', 'ARRAY')";
        let search: String = sqlx::query_scalar(columns).fetch_one(&self.system.pool).await.unwrap();
        let search = sqlx::query_scalar(sqlx::AssertSqlSafe(search)).bind(words.join("|"));
        let found: Vec<String> = search.fetch_all(&self.system.pool).await.unwrap();
        assert!(found.is_empty(), "{when}: {found:#?}");
    }
}

/// Each rule with a query for its violations.
const RULES: [(&str, &str); 25] = [
    (
        "a number that a client holds is that client's in the pool",
        r#"SELECT phone_e164 FROM twilio_number_pool p JOIN clients c ON c."twilioNumber" = p.phone_e164
           WHERE p.status <> 'ASSIGNED' OR p.client_id IS DISTINCT FROM c.id"#,
    ),
    (
        "a number that is assigned is held",
        r#"SELECT phone_e164 FROM twilio_number_pool p
           WHERE status = 'ASSIGNED' AND NOT EXISTS (SELECT FROM clients c WHERE c."twilioNumber" = p.phone_e164)"#,
    ),
    (
        "no client holds two numbers",
        "SELECT client_id FROM twilio_number_pool WHERE status = 'ASSIGNED' GROUP BY client_id HAVING count(*) > 1",
    ),
    (
        "no two clients hold one number, and no phone is two clients",
        r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL GROUP BY 1 HAVING count(*) > 1
           UNION ALL SELECT "phoneNumber" FROM clients GROUP BY 1 HAVING count(*) > 1"#,
    ),
    (
        "no number goes to another client inside its cooling time",
        "SELECT number FROM (
             SELECT number, change, client_id, changed_at,
                    lag(client_id) OVER steps AS last_client_id, lag(changed_at) OVER steps AS left_at
             FROM number_changes WHERE change IN ('assigned', 'released')
             WINDOW steps AS (PARTITION BY number ORDER BY id)) AS step
         WHERE change = 'assigned' AND last_client_id IS NOT NULL
           AND (client_id <> last_client_id AND changed_at < left_at + INTERVAL '5 days')",
    ),
    (
        "assignments and releases of a number alternate",
        "SELECT number FROM (
             SELECT number, change, lag(change, 1, 'released') OVER (PARTITION BY number ORDER BY id) AS before
             FROM number_changes WHERE change IN ('assigned', 'released')) AS step
         WHERE change = before",
    ),
    (
        "a number that has cooled down is free",
        "SELECT phone_e164 FROM twilio_number_pool WHERE status = 'COOLING_DOWN' AND cools_until < now() - INTERVAL '10 minutes'",
    ),
    (
        "no client who pays, can be texted and speaks with no operator waits while a number is free",
        r#"SELECT id FROM clients c LEFT JOIN waiting_list w ON w.client_id = c.id
           WHERE "paymentActive" AND "twilioNumber" IS NULL AND "optedOutAt" IS NULL AND "unreachableAt" IS NULL
             AND "takenOverBy" IS NULL AND w.held_until IS NULL
             AND (SELECT count(*) FROM twilio_number_pool p WHERE status = 'AVAILABLE' AND drained_at IS NULL)
               > (SELECT count(*) FROM waiting_list WHERE held_until IS NOT NULL)"#,
    ),
    (
        "exactly the clients who pay and have no number are on the waiting list",
        r#"SELECT id FROM clients c FULL JOIN waiting_list w ON w.client_id = c.id
           WHERE ("paymentActive" AND "twilioNumber" IS NULL) <> (w.client_id IS NOT NULL)"#,
    ),
    // A hold goes on as long as there is no other client whom its number could be offered to.
    (
        "no hold is over while another client could be offered the number",
        "SELECT w.client_id FROM waiting_list w
         WHERE w.held_until < now() - INTERVAL '10 minutes'
           AND EXISTS (SELECT FROM waiting_list next JOIN client_reach r ON r.id = next.client_id
                       WHERE next.held_until IS NULL AND next.region = w.region AND r.number IS NULL
                         AND r.payment_active AND r.may_be_offered)",
    ),
    (
        "each client is told once for each number that is held for it",
        "SELECT w.client_id FROM waiting_list w
         WHERE w.lapsed + (w.held_until IS NOT NULL)::INTEGER
            <> (SELECT count(*) FROM messages m
                WHERE m.client_id = w.client_id AND m.kind = 'number_ready' AND m.retry_of IS NULL
                  AND m.created_at >= w.joined_at)",
    ),
    (
        "a client without a number is not beyond the payment gate",
        r#"SELECT id FROM clients JOIN onboarding_states ON client_id = id
           WHERE "twilioNumber" IS NULL AND left(current_state, 2) NOT IN ('S1', 'S2', 'S3', 'S4', 'S5')"#,
    ),
    (
        "every event is processed, and in a known way",
        "SELECT kind || ': ' || coalesce(outcome, 'waits') FROM events
         WHERE (processed_at IS NULL AND received_at < now() - INTERVAL '1 minute')
            OR (processed_at IS NOT NULL AND outcome IS NULL) OR outcome IN ('unreadable', 'failed')",
    ),
    (
        "no text waits for long",
        "SELECT kind || ': ' || status FROM messages
         WHERE status IN ('queued', 'sending', 'unknown') AND created_at < now() - INTERVAL '1 minute'",
    ),
    (
        "no reminder is due that no sweep has looked at",
        r#"SELECT id FROM clients WHERE "remindAt" < now() - INTERVAL '2 hours'"#,
    ),
    (
        "each reminder comes once in a silence",
        "SELECT client_id || ': ' || nth FROM (
             SELECT m.client_id, e.payload -> 'reminder' ->> 'nth' AS nth,
                    (SELECT count(*) FROM messages said
                     WHERE said.client_id = m.client_id AND said.kind <> 'reminder' AND said.id < m.id) AS silence
             FROM messages m JOIN events e ON e.id = m.event_id
             WHERE m.kind = 'reminder' AND m.attempted_at IS NOT NULL AND m.client_id IS NOT NULL) AS reminder
         GROUP BY client_id, nth, silence HAVING count(*) > 1",
    ),
    (
        "no reminder goes to a client that has opted out or is out of reach",
        r#"SELECT c.id FROM messages m JOIN clients c ON c.id = m.client_id
           WHERE m.kind = 'reminder' AND m.created_at > least(c."optedOutAt", c."unreachableAt")"#,
    ),
    (
        "no reminder goes to a client that is live, or whose service has ended",
        "SELECT m.client_id FROM messages m JOIN events e ON e.id = m.event_id
         WHERE m.kind = 'reminder'
           AND (e.state = 'COMPLETE'
                OR (SELECT kind FROM messages said
                    WHERE said.client_id = m.client_id AND said.kind <> 'reminder' AND said.id < m.id
                    ORDER BY id DESC LIMIT 1) IN ('service_ended', 'closing'))",
    ),
    (
        "an unused number is reported after the reminders, and not before",
        r#"SELECT c.id FROM clients c JOIN onboarding_states s ON s.client_id = c.id
           CROSS JOIN LATERAL (
               SELECT greatest(s.asked_at,
                               (SELECT max(received_at) FROM events e WHERE e.client_id = c.id AND kind = 'text'),
                               (SELECT max(closed_at) FROM cases k WHERE k.client_id = c.id),
                               (SELECT max(created_at) FROM messages m WHERE m.client_id = c.id)) AS at) AS last
           WHERE c."twilioNumber" IS NOT NULL AND c."takenOverBy" IS NULL AND s.current_state <> 'COMPLETE'
             AND last.at < now() - INTERVAL '6 days'
             AND EXISTS (SELECT FROM events e WHERE e.client_id = c.id AND kind = 'text')
             AND NOT EXISTS (SELECT FROM alerts
                             WHERE cause = 'unfinished:' || c.id AND (cleared_at IS NULL OR raised_at > last.at))
           UNION ALL
           SELECT cause FROM alerts a
           WHERE cause LIKE 'unfinished:%'
             AND EXISTS (SELECT FROM messages m WHERE 'unfinished:' || m.client_id = a.cause AND m.kind = 'reminder'
                           AND m.created_at BETWEEN a.raised_at - INTERVAL '22 hours' AND a.raised_at)"#,
    ),
    (
        "nothing is stuck",
        "SELECT cause || ': ' || about FROM alerts
         WHERE cleared_at IS NULL
           AND split_part(cause, ':', 1) IN ('payment-stuck', 'payment-unassigned', 'blocked-by', 'events-waiting',
                                             'texts-waiting', 'texts-missed', 'stripe-events-missed', 'stripe-unreadable',
                                             'account', 'configuration', 'refused', 'unclear-holder', 'checkout-unclear')",
    ),
    (
        "a client who pays and takes no texts is reported, and no other",
        r#"SELECT c.id FROM clients c
           WHERE ("paymentActive" AND "optedOutAt" IS NOT NULL)
              <> EXISTS (SELECT FROM alerts WHERE cleared_at IS NULL AND cause = 'opted-out:' || c.id)"#,
    ),
    (
        "an alert about a client who pays ends with its payments",
        r#"SELECT cause FROM alerts JOIN clients c ON cause IN ('unreachable:' || c.id, 'cancel-asked:' || c.id)
           WHERE cleared_at IS NULL
             AND NOT ("paymentActive" OR "paymentStanding" = 'awaited')
           UNION ALL
           SELECT cause FROM alerts JOIN clients c ON cause = 'unreachable:' || c.id
           WHERE cleared_at IS NULL AND "unreachableAt" IS NULL
           UNION ALL
           SELECT cause FROM alerts JOIN clients c ON cause = 'unfinished:' || c.id
           WHERE cleared_at IS NULL AND "twilioNumber" IS NULL"#,
    ),
    (
        "no alert about a client that is gone is open",
        "SELECT cause FROM alerts
         WHERE cleared_at IS NULL
           AND split_part(cause, ':', 1) IN ('stuck', 'unfinished', 'person-wanted', 'cancel-asked', 'untold', 'unreachable',
                                             'opted-out', 'paid-twice', 'loop')
           AND NOT EXISTS (SELECT FROM clients c WHERE c.id = split_part(cause, ':', 2))",
    ),
    (
        "a case is open as long as its alert",
        "WITH kinds (alert, kind) AS (
             VALUES ('stuck', 'misfits'), ('cancel-asked', 'cancel'), ('person-wanted', 'person'), ('person-wanted', 'help'),
                    ('person-wanted', 'question'), ('person-wanted', 'doubt')
         ),
         open_cases AS (SELECT alert || ':' || client_id AS cause FROM cases JOIN kinds USING (kind) WHERE closed_at IS NULL),
         open_alerts AS (SELECT cause FROM alerts WHERE cleared_at IS NULL AND split_part(cause, ':', 1) IN (SELECT alert FROM kinds))
         (SELECT 'no alert: ' || cause FROM open_cases EXCEPT SELECT 'no alert: ' || cause FROM open_alerts)
         UNION ALL
         (SELECT 'no case: ' || cause FROM open_alerts EXCEPT SELECT 'no case: ' || cause FROM open_cases)",
    ),
    (
        "no erasure is unfinished",
        "SELECT id::TEXT FROM erasures WHERE finished_at IS NULL",
    ),
];
