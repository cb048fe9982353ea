//! The rules that hold at the end of each day.

use jobrun_tests::texts;

use super::month::Month;

impl Month {
    pub(super) async fn check_the_rules(&self, day: usize) {
        let mut broken = self.broken_of_people().await;
        for (rule, query) in RULES {
            broken.extend(texts(&self.system.pool, query).await.into_iter().map(|found| format!("{rule}: {found}")));
        }
        if !broken.is_empty() {
            self.explain(&broken).await;
            panic!("day {day}: {broken:#?}");
        }
        self.assert_erased(&format!("day {day}")).await;
    }

    /// Returns the differences between the rows and the expectations about each person.
    async fn broken_of_people(&self) -> Vec<String> {
        let (clients, mut broken) = (self.clients().await, Vec::new());
        for (place, person) in self.people.iter().enumerate() {
            let client = clients.get(person.digits());
            if client.is_some_and(|client| client.is_paid) != person.is_served {
                broken.push(format!("a client is served while it pays: {client:?}"));
            }
            let had = self.system.stand_in.bodies_to(&person.phone).len();
            if person.opted_out_after.is_some_and(|then| then != had) {
                broken.push(format!("a client that has opted out gets no texts: {client:?}"));
            }
            let written = self.automatic_texts(place).await;
            if person.taken_over_after.is_some_and(|then| then != written) {
                broken.push(format!("a client that speaks with an operator gets no automatic text: {client:?}"));
            }
        }
        broken.extend(self.forgotten_recordings().await);
        broken
    }

    /// Returns the recordings at Twilio that no row would delete.
    async fn forgotten_recordings(&self) -> Vec<String> {
        let known = texts(&self.system.pool, "SELECT recording_sid FROM voicemails WHERE deleted_at IS NULL").await;
        let kept = self.kept_recordings().into_iter().filter(|sid| !known.contains(sid));
        kept.map(|sid| format!("a recording at Twilio is known: {sid}")).collect()
    }

    fn kept_recordings(&self) -> Vec<String> {
        self.system.stand_in.recordings().into_iter().filter(|it| !it.is_deleted).map(|it| it.sid).collect()
    }

    /// Searches every text and every document of the database for what was erased, and Twilio for recordings.
    pub(super) async fn assert_erased(&self, when: &str) {
        let kept = self.kept_recordings();
        let heard = self.erased.iter().flat_map(|erased| &erased.person.recordings).find(|sid| kept.contains(sid));
        assert_eq!(heard, None, "{when}: a message for an erased person is at Twilio");
        let phones =
            self.erased.iter().flat_map(|erased| erased.person.phones()).filter(|phone| self.is_nobodys(phone));
        let mut words: Vec<String> = phones.map(|phone| phone.trim_start_matches("+44").to_owned()).collect();
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
const RULES: [(&str, &str); 33] = [
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
        // A client that pays before it is asked to, by a link that another sign-up was sent, comes to the gate later.
        r#"SELECT id FROM clients c LEFT JOIN onboarding_states s ON s.client_id = c.id LEFT JOIN waiting_list w ON w.client_id = c.id
           WHERE ("paymentActive" AND "twilioNumber" IS NULL AND s.current_state >= 'S5') IS TRUE <> (w.client_id IS NOT NULL)"#,
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
    // The texts to the phones of a client that has moved were of two clients.
    (
        "each reminder comes once in a silence",
        "SELECT client_id || ': ' || nth FROM (
             SELECT m.client_id, m.to_phone, e.payload -> 'reminder' ->> 'nth' AS nth,
                    (SELECT count(*) FROM messages said
                     WHERE said.client_id = m.client_id AND said.to_phone = m.to_phone
                       AND said.kind <> 'reminder' AND said.id < m.id) AS silence
             FROM messages m JOIN events e ON e.id = m.event_id
             WHERE m.kind = 'reminder' AND m.attempted_at IS NOT NULL AND m.client_id IS NOT NULL) AS reminder
         GROUP BY client_id, to_phone, nth, silence HAVING count(*) > 1",
    ),
    (
        "no reminder goes to a client that has opted out or is out of reach",
        r#"SELECT c.id FROM messages m JOIN clients c ON c.id = m.client_id
           WHERE m.kind = 'reminder' AND m.attempted_at IS NOT NULL AND m.to_phone = '+' || c."phoneNumber"
             AND m.created_at > least(c."optedOutAt", c."unreachableAt")"#,
    ),
    (
        "no reminder goes to a client that is live, or whose service has ended",
        "SELECT m.client_id FROM messages m JOIN events e ON e.id = m.event_id
         WHERE m.kind = 'reminder'
           AND (e.state = 'COMPLETE'
                OR (SELECT kind FROM messages said
                    WHERE said.client_id = m.client_id AND said.to_phone = m.to_phone
                      AND said.kind <> 'reminder' AND said.id < m.id
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
                                             'opted-out', 'paid-twice', 'loop', 'code-guesses')
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
    (
        "a proved change of phone is made or refused",
        "SELECT id::TEXT FROM phone_changes WHERE proved_at < now() - INTERVAL '1 minute' AND ended_at IS NULL",
    ),
    (
        "a code is forgotten when it is over",
        "SELECT 'request ' || id FROM phone_changes WHERE code_hmac IS NOT NULL AND expires_at < now() - INTERVAL '2 hours'
         UNION ALL
         SELECT 'text ' || id || ' to ' || to_phone FROM messages
         WHERE kind = 'phone_code' AND body ~ '[0-9]{6}' AND created_at < now() - INTERVAL '2 hours'",
    ),
    // The times of the day were moved back by an hour. A test call is told of in any case.
    (
        "an owner is told of few calls of one caller",
        "SELECT client_id || ': ' || caller || ' call ' || nth FROM (
             SELECT *, row_number() OVER day AS nth,
                    max(called_at) FILTER (WHERE told) OVER (day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_told_at
             FROM calls WHERE called_at > now() - INTERVAL '20 hours'
             WINDOW day AS (PARTITION BY client_id, caller, ((called_at + INTERVAL '1 hour') AT TIME ZONE 'Europe/London')::DATE
                            ORDER BY called_at)) AS call
         WHERE told AND nth NOT IN (1, 2, 3, 5, 10, 20, 50, 100) AND last_told_at > called_at - INTERVAL '2 hours'
           AND NOT EXISTS (SELECT FROM messages WHERE once_key = 'call:' || sid AND kind <> 'missed_call')",
    ),
    (
        "a call to a live client counts",
        "SELECT client_id || ': event ' || id FROM events e
         WHERE kind = 'call_arrived' AND state = 'COMPLETE' AND received_at > now() - INTERVAL '20 hours' AND client_id IS NOT NULL
           AND NOT EXISTS (SELECT FROM calls WHERE sid = payload ->> 'sid')
           AND NOT EXISTS (SELECT FROM messages m WHERE m.event_id = e.id AND m.kind <> 'missed_call')
           -- The calls of a newcomer, which holds no number any more, are not counted for the client that it became.
           AND NOT EXISTS (SELECT FROM phone_changes c
                           WHERE c.client_id = e.client_id AND c.outcome = 'moved' AND c.ended_at > e.received_at)",
    ),
    (
        "there is one text about a call that counts as told, and none about another",
        "SELECT client_id || ': call ' || sid FROM calls
         WHERE told::INTEGER <> (SELECT count(*) FROM messages WHERE once_key = 'call:' || sid)",
    ),
    (
        "a recording is kept for a week, and for an hour if its owner is not told of it",
        "SELECT coalesce(client_id, 'none') || ': ' || recording_sid FROM voicemails
         WHERE deleted_at IS NULL
           AND recorded_at < now() - CASE WHEN token_sha256 IS NULL THEN INTERVAL '2 hours' ELSE INTERVAL '7 days 2 hours' END",
    ),
    (
        "a recording with a link is told once, and the link leads to it",
        "SELECT coalesce(v.client_id, 'none') || ': ' || v.recording_sid FROM voicemails v
         WHERE (token_sha256 IS NOT NULL)::INTEGER
            <> (SELECT count(*) FROM messages m
                WHERE m.once_key = 'recording:' || v.recording_sid AND m.client_id = v.client_id
                  AND sha256(convert_to(split_part(m.body, '/voicemail/', 2), 'UTF8')) IS NOT DISTINCT FROM v.token_sha256)",
    ),
    (
        "every recording that is reported is known",
        "SELECT external_id FROM events
         WHERE kind = 'recording_made' AND processed_at IS NOT NULL
           AND NOT EXISTS (SELECT FROM voicemails WHERE recording_sid = external_id)
           AND received_at > now() - INTERVAL '30 days'",
    ),
];
