-- A year of business, as the console's pages find it: nearly every row is finished, and a few wait.
--
-- `:events` and `:clients` say how many. Rows are made from their numbers alone, so that two databases of one size are alike.
-- A client's number is its place in the order of time; client 0 is the busy one, who sends one text of a hundred.

\set ON_ERROR_STOP on
SET session_replication_role = replica;  -- The rows fit each other: no foreign key needs to be looked up.
SET max_parallel_workers_per_gather = 0;
SELECT (:events - :clients * 6) / 4 * 4 AS stream, greatest(:clients / 20, 50) AS pool,
       greatest(:clients / 100, 10) AS waiting \gset

CREATE SCHEMA IF NOT EXISTS seeding;

CREATE TABLE seeding.clock AS SELECT now() AS now, now() - INTERVAL '1 year' AS begun, :clients::BIGINT AS clients;

-- A number between 0 and 2^31 - 1 that looks random.
CREATE FUNCTION seeding.dice(n BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE AS $$ SELECT hashint8(n)::BIGINT & 2147483647 $$;
CREATE FUNCTION seeding.client(n BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$ SELECT md5('client' || n)::UUID::TEXT $$;
CREATE FUNCTION seeding.phone(n BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$ SELECT '4478' || lpad(n::TEXT, 8, '0') $$;
CREATE FUNCTION seeding.number(n BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$ SELECT '+4473' || lpad(n::TEXT, 8, '0') $$;

-- The step that a client has reached: half are live, and the others stopped on the way.
CREATE FUNCTION seeding.step(n BIGINT) RETURNS INT LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n = 0 THEN 10 ELSE 1 + width_bucket((seeding.dice(n) % 100)::INT, ARRAY[13, 19, 23, 26, 38, 42, 45, 48, 50]) END $$;
CREATE FUNCTION seeding.state(step INT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['S1_BUSINESS_TYPE_LOCATION', 'S2_BUSINESS_NAME', 'S3_OWNER_NAME', 'S4_NOTIFICATION_PREF', 'S5_CONFIRM_LIVE',
                  'S6_PHONE_TYPE', 'S7_FWD_SENT', 'S8_FWD_CONFIRM', 'S9_TEST_CALL', 'COMPLETE'])[step] $$;

-- When a client began. The last began two hours ago, and has come as far as it will.
CREATE FUNCTION seeding.began(n BIGINT) RETURNS TIMESTAMPTZ LANGUAGE sql STABLE AS $$
    SELECT begun + (now - INTERVAL '2 hours' - begun) * ((n + 0.5) / clients) FROM seeding.clock $$;

-- Indexes that are filled row by row would take most of the time: they are made at the end.
CREATE TABLE seeding.indexes AS
SELECT i.indexrelid::REGCLASS::TEXT AS name, i.indrelid::REGCLASS::TEXT AS of_table, c.conname,
       coalesce('ALTER TABLE ' || i.indrelid::REGCLASS || ' ADD CONSTRAINT ' || c.conname || ' ' || pg_get_constraintdef(c.oid),
                pg_get_indexdef(i.indexrelid)) AS definition
FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'
WHERE i.indrelid IN ('events'::REGCLASS, 'messages'::REGCLASS) AND NOT i.indisprimary;
SELECT CASE WHEN conname IS NULL THEN 'DROP INDEX ' || name ELSE 'ALTER TABLE ' || of_table || ' DROP CONSTRAINT ' || conname END
FROM seeding.indexes \gexec

-- Clients, and where they stand.

INSERT INTO clients (id, "businessName", "phoneNumber", "paymentActive", "paymentStanding", "createdAt", "optedOutAt", "unreachableAt")
SELECT seeding.client(n),
       (ARRAY['Smith', 'Jones', 'Taylor', 'Brown', 'Williams', 'Wilson', 'Johnson', 'Davies', 'Patel', 'Robinson', 'Wright',
              'Thompson', 'Evans', 'Walker', 'White', 'Roberts', 'Green', 'Hall', 'Wood', 'Jackson'])[1 + seeding.dice(n + 7) % 20]
           || (ARRAY[' Plumbing', ' & Sons Roofing', ' Electrical', ' Joinery', ' Gardens'])[1 + seeding.dice(n + 11) % 5] || ' ' || n,
       seeding.phone(n), FALSE, 'none', began,
       CASE WHEN seeding.dice(n + 13) % 66 = 0 THEN began + INTERVAL '2 days' END,
       CASE WHEN seeding.dice(n + 17) % 140 = 0 THEN began + INTERVAL '1 day' END
FROM generate_series(0, :clients - 1) AS n, LATERAL (SELECT seeding.began(n) AS began) AS at;

INSERT INTO onboarding_states (client_id, current_state, collected_fields, updated_at)
SELECT seeding.client(n), seeding.state(step),
       jsonb_build_object('businessTypeLocation', 'Plumber from London', 'ownerName',
                          (ARRAY['Sam', 'Alex', 'Priya', 'Tom', 'Mary'])[1 + seeding.dice(n + 19) % 5] || ' ' || n),
       seeding.began(n) + step * INTERVAL '5 minutes'
FROM generate_series(0, :clients - 1) AS n, LATERAL (SELECT seeding.step(n) AS step) AS at;

-- The newest who came far enough hold four fifths of the pool's numbers. The service of those before has ended.
CREATE TABLE seeding.paid AS
SELECT n, step, CASE WHEN step > 6 OR n = 0 THEN row_number() OVER (PARTITION BY step > 6 ORDER BY n <> 0, n DESC) END AS place,
       CASE WHEN step = 6 THEN row_number() OVER (PARTITION BY step = 6 ORDER BY n DESC) END AS waits
FROM generate_series(0, :clients - 1) AS n, LATERAL (SELECT seeding.step(n) AS step) AS at
WHERE step > 5 OR (step = 5 AND seeding.dice(n + 23) % 30 = 0);

UPDATE clients SET "twilioNumber" = CASE WHEN place <= :pool * 8 / 10 THEN seeding.number(place) END,
       "paymentActive" = is_served,
       "paymentStanding" = CASE WHEN is_served THEN 'active' ELSE 'ended' END
FROM (SELECT *, step < 6 OR (place <= :pool * 8 / 10) IS TRUE OR (waits <= :waiting) IS TRUE AS is_served FROM seeding.paid) AS paid WHERE id = seeding.client(n);
UPDATE clients SET "takenOverBy" = 'ada', "takenOverAt" = now(), "takenOverMinutes" = NULL
WHERE id IN (SELECT seeding.client(:clients - n * 3) FROM generate_series(1, 12) AS n);

-- The pool: after the held numbers, a few that are reserved, cool down, are drained or free.
INSERT INTO twilio_number_pool (phone_e164, status, client_id, assigned_at, last_client_id, cools_until, drained_at)
SELECT seeding.number(of), CASE WHEN is_held OR of % 50 = 0 THEN 'ASSIGNED' WHEN cools THEN 'COOLING_DOWN' ELSE 'AVAILABLE' END,
       CASE WHEN is_held THEN seeding.client(paid.n) WHEN of % 50 = 0 THEN 'kept-by-hand' END,
       CASE WHEN is_held THEN seeding.began(paid.n) END, seeding.client(seeding.dice(of) % :clients),
       CASE WHEN cools THEN now() + (of % 300) * INTERVAL '3 hours' END, CASE WHEN of % 30 = 29 THEN now() END
FROM generate_series(1, :pool) AS of LEFT JOIN seeding.paid ON paid.place = of,
     LATERAL (SELECT of <= :pool * 8 / 10 AS is_held, of > :pool * 8 / 10 AND of % 10 < 7 AND of % 50 > 0 AS cools) AS now_is;

-- Each number was added once, and then went from client to client.
INSERT INTO number_changes (number, change, client_id, why, changed_at)
SELECT number, change, CASE WHEN change IN ('assigned', 'released') THEN seeding.client(seeding.dice(n) % :clients) END,
       CASE change WHEN 'assigned' THEN 'paid' WHEN 'released' THEN 'the service ended' ELSE 'time' END,
       begun + (now - begun) * (n / (:pool * 25.0))
FROM generate_series(0, :pool * 25 - 1) AS n, seeding.clock,
     LATERAL (SELECT seeding.number(1 + n % :pool) AS number,
                     CASE WHEN n < :pool THEN 'added' ELSE (ARRAY['assigned', 'released', 'cooled_down'])[1 + n / :pool % 3] END AS change) AS of
ORDER BY n;

INSERT INTO waiting_list (client_id, region, joined_at, promised_by, held_at, held_until, lapsed)
SELECT seeding.client(n), 'GB', joined, joined + INTERVAL '24 hours', CASE WHEN n % 9 = 0 THEN now() END,
       CASE WHEN n % 9 = 0 THEN now() + INTERVAL '40 hours' END, n % 2
FROM seeding.paid, LATERAL (SELECT seeding.began(n) + INTERVAL '30 minutes' AS joined) AS at WHERE waits <= :waiting;

-- Payments: each paid client's subscription, month after month, and a few of no client.
INSERT INTO subscriptions (id, client_id, standing, heard_of_at)
SELECT 'sub_' || md5('sub' || n), seeding.client(n), CASE WHEN waits IS NULL AND place > :pool THEN 'ended' ELSE 'active' END,
       seeding.began(n) + INTERVAL '25 minutes' FROM seeding.paid;
INSERT INTO subscriptions (id, standing, heard_of_at)
SELECT 'sub_none_' || n, CASE WHEN n % 3 = 0 THEN 'active' ELSE 'none' END, now() - n * INTERVAL '1 day'
FROM generate_series(1, greatest(:clients / 300, 10)) AS n;
INSERT INTO payment_events (stripe_id, kind, happened_at, subscription_id, customer_id, payment_intent_id, invoice_id, amount,
                            currency, fact)
SELECT 'evt_' || md5('evt' || n || '.' || month), CASE month WHEN 0 THEN 'checkout.session.completed' ELSE 'invoice.paid' END,
       seeding.began(n) + INTERVAL '25 minutes' + month * INTERVAL '1 month', 'sub_' || md5('sub' || n), 'cus_' || md5('cus' || n),
       'pi_' || md5('pi' || n || '.' || month), 'in_' || md5('in' || n || '.' || month), 2900, 'gbp', '{"what": "checkout"}'
FROM seeding.paid, generate_series(0, 4) AS month ORDER BY seeding.began(n) + month * INTERVAL '1 month';

INSERT INTO opt_changes (phone, change, changed_at)
SELECT seeding.phone(n), CASE t WHEN 0 THEN 'out' ELSE 'in' END, seeding.began(n) + INTERVAL '2 days'
FROM generate_series(0, :clients - 1, 50) AS n, generate_series(0, 1) AS t;

-- Events in the order of time. A part covers a part of the year: the conversations of those who began in it, and the texts, calls
-- and reports of clients who had begun before.
CREATE PROCEDURE seeding.fill_events(stream BIGINT, clients BIGINT, parts INT) LANGUAGE plpgsql AS $$
DECLARE
    begun TIMESTAMPTZ := (SELECT begun FROM seeding.clock);
    span INTERVAL := (SELECT now - seeding.clock.begun FROM seeding.clock);
BEGIN
    FOR part IN 0..parts - 1 LOOP
        INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id, state)
        SELECT source, external_id, kind, lane, payload, at, at + INTERVAL '30 milliseconds', outcome, client_id, state
        FROM (
            SELECT 'twilio' AS source, 'SM' || md5('in' || n || '.' || t) AS external_id, 'text' AS kind,
                   'phone:' || seeding.phone(n) AS lane,
                   jsonb_build_object('kind', 'text', 'from', '+' || seeding.phone(n), 'to', '+447476955179', 'body', 'Answer ' || t) AS payload,
                   seeding.began(n) + t * INTERVAL '5 minutes' AS at, 'applied' AS outcome, seeding.client(n) AS client_id,
                   seeding.state(t) AS state
            FROM generate_series(clients * part / parts, clients * (part + 1) / parts - 1) AS n,
                 generate_series(1, seeding.step(n)) AS t
            UNION ALL
            SELECT CASE kind WHEN 'stripe' THEN 'stripe' ELSE 'twilio' END,
                   CASE kind WHEN 'stripe' THEN 'evt_' || md5('stripe' || n) WHEN 'text' THEN 'SM' || md5('text' || n)
                             WHEN 'call_ended' THEN 'CA' || md5('call' || n) || ':completed'
                             ELSE 'SM' || md5('sent' || n / 4) || (ARRAY[':sent', ':delivered'])[1 + n % 2] END,
                   kind, CASE kind WHEN 'text' THEN 'phone:' || phone WHEN 'call_ended' THEN 'number:' || seeding.number(of)
                                   ELSE 'message:' || n / 4 END,
                   CASE kind
                   WHEN 'text' THEN jsonb_build_object('kind', kind, 'from', '+' || phone, 'to', '+447476955179', 'body', 'Hello, text ' || n)
                   WHEN 'call_ended' THEN jsonb_build_object('kind', kind, 'from', '+447700900123', 'to', seeding.number(of), 'status', 'completed')
                   WHEN 'stripe' THEN jsonb_build_object('kind', kind, 'event', jsonb_build_object('type', 'invoice.paid', 'id', n))
                   ELSE jsonb_build_object('kind', kind, 'message_id', n / 4, 'sid', 'SM' || md5('sent' || n / 4), 'status',
                                           (ARRAY['sent', 'delivered'])[1 + n % 2], 'error_code', NULL) END,
                   begun + span * ((n + 0.5) / stream),
                   CASE WHEN kind = 'text' AND n % 100 = 0 THEN 'not_understood' WHEN kind = 'stripe' THEN 'recorded' ELSE 'applied' END,
                   CASE WHEN kind IN ('text', 'call_ended') THEN seeding.client(of) END,
                   CASE WHEN kind IN ('text', 'call_ended') THEN seeding.state(seeding.step(of)) END
            FROM generate_series(stream * part / parts, stream * (part + 1) / parts - 1) AS n,
                 -- One exchange is a text in and two reports on the reply; beside it, a call or an event of Stripe's.
                 LATERAL (SELECT CASE n % 4 WHEN 0 THEN 'text' WHEN 1 THEN CASE n % 20 WHEN 1 THEN 'stripe' ELSE 'call_ended' END
                                            ELSE 'delivery_report' END AS kind,
                                 CASE WHEN n / 4 % 100 = 0 THEN 0
                                      ELSE seeding.dice(n / 4) % greatest(clients * n / stream, 1) END AS of) AS which,
                 LATERAL (SELECT seeding.phone(of) AS phone) AS whose
        ) AS happened ORDER BY at;
        COMMIT;
        IF part % 20 = 19 THEN RAISE NOTICE 'events: % of % parts', part + 1, parts; END IF;
    END LOOP;
END $$;

-- A reply to each text: most were delivered, some failed, and some have no final report.
CREATE PROCEDURE seeding.fill_messages(until BIGINT) LANGUAGE plpgsql AS $$
BEGIN
    FOR beginning IN 1..until BY 200000 LOOP
        INSERT INTO messages (status, client_id, event_id, kind, to_phone, from_number, body, attempts, claims, attempted_at,
                              twilio_sid, segments, encoding, expires_at, error_code, created_at, updated_at)
        SELECT status, client_id, id, CASE state WHEN 'COMPLETE' THEN 'already_live' ELSE 'welcome' END, payload ->> 'from',
               '+447476955179', 'You are all set up: JobRun answers the calls that you miss.', 1, 1, processed_at,
               'SM' || md5('message' || id), 1, 'gsm7', processed_at + INTERVAL '4 hours',
               CASE WHEN status IN ('failed', 'undelivered') THEN (ARRAY[30003, 30005, 30006, 21610])[1 + id % 4] END,
               processed_at, processed_at + INTERVAL '3 seconds'
        FROM events, LATERAL (SELECT CASE seeding.dice(id) % 200 WHEN 0 THEN 'failed' WHEN 1 THEN 'undelivered' WHEN 2 THEN 'undelivered'
                                                                 WHEN 3 THEN 'sent' ELSE 'delivered' END AS status) AS as_it_went
        WHERE id >= beginning AND id < beginning + 200000 AND kind = 'text' ORDER BY id;
        COMMIT;
        RAISE NOTICE 'messages: up to event %', beginning + 199999;
    END LOOP;
END $$;

CALL seeding.fill_events(:stream, :clients, greatest(:events / 50000, 10)::INT);
SELECT max(id) AS last FROM events \gset
CALL seeding.fill_messages(:last);

-- Texts and events that wait.
INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, attempted_at, next_attempt_at, created_at, updated_at)
SELECT (ARRAY['queued', 'queued', 'queued', 'unknown'])[1 + n % 4], seeding.client(n * 3), 'number_ready', '+' || seeding.phone(n * 3),
       '+447476955179', 'A number is ready for you.', now, now + INTERVAL '1 minute', now - INTERVAL '10 seconds', now
FROM generate_series(1, 200) AS n, seeding.clock;
INSERT INTO events (source, external_id, kind, lane, payload, received_at)
SELECT 'twilio', 'SM' || md5('waits' || n), 'text', 'phone:' || seeding.phone(n * 3),
       jsonb_build_object('kind', 'text', 'from', '+' || seeding.phone(n * 3), 'to', '+447476955179', 'body', 'Hello?'), now
FROM generate_series(1, 100) AS n, seeding.clock;

-- Alerts, most of them cleared; the audit log; purchases; a bulk action.
INSERT INTO alerts (cause, about, raised_at, last_seen_at, times, cleared_at)
SELECT 'stuck:' || seeding.client(n), 'A client has not moved.', at, at, 3, CASE WHEN n >= 60 THEN at + INTERVAL '1 hour' END
FROM generate_series(:clients / 5, 0, -1) AS n, seeding.clock, LATERAL (SELECT now - n * INTERVAL '20 minutes' AS at) AS raised;
INSERT INTO audit_log (at, who, via, action, subject, why)
SELECT now - (:clients / 2 - n) * INTERVAL '10 minutes', 'ada', 'console', 'client.note', seeding.client(seeding.dice(n) % :clients), 'asked'
FROM generate_series(1, :clients / 2) AS n, seeding.clock;
INSERT INTO number_purchases (number, country, number_type, state, intended_at, settled_at, sid)
SELECT seeding.number(n), 'GB', 'mobile', 'bought', at, at, 'PN' || md5('number' || n)
FROM generate_series(1, :pool) AS n, seeding.clock, LATERAL (SELECT now - (:pool - n) * INTERVAL '1 hour' AS at) AS bought;
INSERT INTO bulk_actions (action, who, via, why, filter, begun_at, finished_at, chosen, done, skipped)
VALUES ('replay', 'ada', 'console', 'the carrier is back', '{}', now() - INTERVAL '2 hours', now() - INTERVAL '1 hour', 40, 40, 0);

SELECT definition FROM seeding.indexes \gexec
SET client_min_messages = warning;
DROP SCHEMA seeding CASCADE;
VACUUM ANALYZE;
CHECKPOINT;
