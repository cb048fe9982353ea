-- The tables as they are after years: nearly every row is finished, and a few wait. They hold a fiftieth of the largest expected
-- size, which suffices for the planner to choose the same plans.

INSERT INTO clients (id, "businessName", "phoneNumber", "paymentActive", "twilioNumber", "createdAt", "optedOutAt",
                     "unreachableAt", "paymentStanding", "forwardingCheckAt", "testAskedAt")
SELECT 'client-' || n, 'Business ' || n, (447900000000 + n)::TEXT, n % 20 > 0,
       CASE WHEN n <= 19000 THEN '+' || 447100000000 + n END, now() - (20000 - n) * INTERVAL '30 minutes',
       CASE WHEN n % 50 = 0 THEN now() END, CASE WHEN n % 97 = 0 THEN now() END,
       CASE WHEN n % 20 > 0 THEN 'active' ELSE 'none' END, CASE WHEN n <= 19000 THEN now() + (n - 20) * INTERVAL '2 minutes' END,
       CASE WHEN n % 5000 = 7 THEN now() END
FROM generate_series(1, 20000) AS n;

INSERT INTO onboarding_states (client_id, current_state, collected_fields, updated_at)
SELECT 'client-' || n, CASE WHEN n % 10 = 0 THEN 'S5_CONFIRM_LIVE' ELSE 'COMPLETE' END,
       jsonb_build_object('business_type', 'plumber', 'owner_name', 'Owner ' || n), now()
FROM generate_series(1, 20000) AS n;

INSERT INTO twilio_number_pool (phone_e164, status, client_id, assigned_at, last_client_id, cools_until, drained_at)
SELECT '+' || 447100000000 + n,
       CASE WHEN n <= 19000 THEN 'ASSIGNED' WHEN n <= 19400 THEN 'COOLING_DOWN' ELSE 'AVAILABLE' END,
       CASE WHEN n <= 19000 THEN 'client-' || n END, CASE WHEN n <= 19000 THEN now() END,
       CASE WHEN n > 19000 AND n <= 19400 THEN 'gone-' || n END,
       CASE WHEN n > 19000 AND n <= 19400 THEN now() + (n - 19002) * INTERVAL '2 hours' END,
       CASE WHEN n % 500 = 0 THEN now() END
FROM generate_series(1, 20000) AS n;

INSERT INTO number_changes (number, change, client_id, why, changed_at)
SELECT '+' || 447100000000 + 1 + n % 20000, CASE WHEN n <= 20000 THEN 'added' ELSE 'assigned' END,
       CASE WHEN n > 20000 THEN 'client-' || 1 + n % 20000 END, 'paid', now() - (40000 - n) * INTERVAL '15 minutes'
FROM generate_series(1, 40000) AS n;

INSERT INTO waiting_list (client_id, region, joined_at, promised_by, held_at, held_until)
SELECT 'client-' || n, CASE WHEN n % 10 = 0 THEN 'IE' ELSE 'GB' END, now(), now() + INTERVAL '24 hours',
       CASE WHEN n % 7 = 0 THEN now() END, CASE WHEN n % 7 = 0 THEN now() + INTERVAL '48 hours' END
FROM generate_series(19981, 20000) AS n;

INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id, state)
SELECT CASE WHEN n % 10 = 9 THEN 'stripe' ELSE 'twilio' END, md5(n::TEXT), kind,
       CASE WHEN kind = 'text' THEN 'phone:' || 447900000001 + n % 20000 ELSE 'message:' || n END,
       jsonb_build_object('kind', kind, 'sid', md5(n::TEXT), 'status', 'delivered'), at,
       CASE WHEN n <= 199960 THEN at END, CASE WHEN n <= 199960 THEN 'applied' END,
       CASE WHEN n <= 199960 AND kind = 'text' THEN 'client-' || 1 + n % 20000 END,
       CASE WHEN n <= 199960 AND kind = 'text' THEN 'COMPLETE' END
FROM (SELECT n, now() - (200000 - n) * INTERVAL '3 minutes' AS at,
             (ARRAY['text', 'text', 'text', 'call_ended', 'delivery_report', 'delivery_report', 'delivery_report',
                    'delivery_report', 'delivery_report', 'stripe'])[1 + n % 10] AS kind
      FROM generate_series(1, 200000) AS n) AS happened;

INSERT INTO messages (status, client_id, event_id, kind, to_phone, from_number, body, once_key, attempts,
                      next_attempt_at, attempted_at, twilio_sid, created_at, updated_at, claims, segments, encoding,
                      expires_at, check_at)
SELECT status, CASE WHEN n % 40 > 0 THEN 'client-' || 1 + n % 20000 END, CASE WHEN n % 20 > 0 THEN n * 3 END,
       'missed_call', '+' || 447900000001 + n % 20000,
       CASE WHEN n % 4 = 0 THEN '+' || 447100000001 + n % 20000 ELSE '+447476955179' END, 'You had a call, ' || n,
       CASE WHEN n % 3 = 0 THEN 'call:' || md5(n::TEXT) END, 1,
       CASE WHEN status IN ('sending', 'unknown') THEN at END, CASE WHEN status <> 'queued' THEN at END,
       CASE WHEN status NOT IN ('queued', 'sending') THEN 'SM' || md5(n::TEXT) END, at, at, 1, 1, 'gsm7',
       now() + INTERVAL '1 hour', CASE WHEN status = 'sent' AND n % 2 = 0 THEN at END
FROM (SELECT n, now() - (60000 - n) * INTERVAL '10 minutes' AS at,
             CASE WHEN n > 59970 THEN 'queued' WHEN n > 59950 THEN 'sending' WHEN n > 59930 THEN 'unknown'
                  WHEN n > 59700 OR n % 25 = 0 THEN 'sent' WHEN n % 30 = 0 THEN 'undelivered' ELSE 'delivered'
             END AS status
      FROM generate_series(1, 60000) AS n) AS written;

UPDATE messages SET check_at = NULL WHERE id <= 59700 AND check_at IS NOT NULL;

INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, retry_of, attempted_at, created_at,
                      updated_at)
SELECT CASE WHEN id > 59000 THEN 'queued' ELSE 'delivered' END, client_id, kind, to_phone, from_number, body, id, now(),
       now(), now()
FROM messages WHERE status = 'undelivered' ORDER BY id DESC LIMIT 500;

INSERT INTO calls (sid, client_id, caller, called_at, told)
SELECT 'CA' || md5(n::TEXT), 'client-' || 1 + n % 19000, '+44770090' || 1000 + n % 3, now() - n * INTERVAL '1 second', n % 2 = 0
FROM generate_series(1, 40000) AS n;
-- As many as were moved: a phone is changed seldom.
INSERT INTO former_payment_references (reference, client_id, former_client_id)
SELECT md5(n::TEXT), 'client-' || n, 'newcomer-' || n FROM generate_series(1, 5000) AS n;

INSERT INTO voicemails (client_id, recording_sid, token_sha256, recorded_at, expires_at, next_attempt_at, deleted_at)
SELECT 'client-' || 1 + n % 19000, 'RE' || md5(n::TEXT), sha256(n::TEXT::BYTEA), now(), now() + (n - 20) * INTERVAL '20 seconds',
       now() + (n - 20) * INTERVAL '20 seconds', CASE WHEN n > 30000 THEN now() - (n - 30000) * INTERVAL '2 minutes' END
FROM generate_series(1, 50000) AS n;

INSERT INTO bulk_actions (action, who, via, why, filter, form_token, begun_at, chosen, finished_at, done, skipped)
SELECT 'replay', 'ada', 'console', 'an outage', '{}', 'token-' || n, now(), 100, CASE WHEN n < 500 THEN now() END,
       CASE WHEN n < 500 THEN 100 END, CASE WHEN n < 500 THEN 0 END
FROM generate_series(1, 500) AS n;
INSERT INTO bulk_action_texts (action_id, message_id, outcome, settled_at)
SELECT 1 + n / 100, 1 + n, CASE WHEN n < 49950 THEN 'replayed' END, CASE WHEN n < 49950 THEN now() END
FROM generate_series(0, 49999) AS n;

INSERT INTO senders (number, free_at)
SELECT '+' || 447100000000 + n, now() - n * INTERVAL '1 hour' FROM generate_series(1, 20000) AS n;
INSERT INTO senders (number, free_at) VALUES ('+447476955179', now());

INSERT INTO opt_changes (phone, change, changed_at, event_id)
SELECT (447900000000 + n)::TEXT, CASE WHEN n % 2 = 0 THEN 'out' ELSE 'in' END, now(), n * 10
FROM generate_series(1, 10000) AS n;

INSERT INTO subscriptions (id, client_id, standing, heard_of_at, ask_at)
SELECT 'sub_' || n, CASE WHEN n > 20 THEN 'client-' || 1 + n % 20000 END,
       CASE WHEN n % 10 > 0 THEN 'active' ELSE 'ended' END, now() - n * INTERVAL '30 minutes', CASE WHEN n % 2000 = 0 THEN now() END
FROM generate_series(1, 20000) AS n;

INSERT INTO payment_events (event_id, stripe_id, kind, happened_at, subscription_id, customer_id, payment_intent_id,
                            invoice_id, charge_id, dispute_id, reference, amount, currency, fact)
SELECT n * 3 + 1, 'evt_' || n, 'invoice.paid', now(), CASE WHEN n % 50 > 0 THEN 'sub_' || 1 + n % 20000 END,
       'cus_' || 1 + n % 20000, 'pi_' || n, 'in_' || n, 'ch_' || n, CASE WHEN n % 1000 = 0 THEN 'du_' || n END,
       md5(n::TEXT), 2900, 'gbp', jsonb_build_object('what', 'invoice_paid')
FROM generate_series(1, 60000) AS n;

INSERT INTO alerts (cause, about, raised_at, last_seen_at, cleared_at)
SELECT 'refused:' || n, 'A text was refused.', now(), now(), CASE WHEN n > 10 THEN now() END
FROM generate_series(1, 5000) AS n;

INSERT INTO number_purchases (number, country, number_type, state, intended_at, settled_at, sid, why)
SELECT '+' || 447100000000 + n, 'GB', 'mobile', CASE WHEN n <= 15000 THEN 'bought' ELSE 'not_bought' END,
       now() - (20000 - n) * INTERVAL '30 minutes', now() - (20000 - n) * INTERVAL '30 minutes',
       CASE WHEN n <= 15000 THEN 'PN' || md5(n::TEXT) END, CASE WHEN n > 15000 THEN 'taken by somebody else' END
FROM generate_series(1, 20000) AS n;

INSERT INTO apalis.workers (id, worker_type, storage_name)
SELECT 'worker-' || n, 'process-events', 'postgres' FROM generate_series(0, 49) AS n;
INSERT INTO apalis.jobs (job, id, job_type, status, attempts, max_attempts, run_at, done_at, lock_by)
SELECT '{}', n::TEXT, 'process-events', CASE WHEN n <= 5000 THEN 'Done' ELSE 'Pending' END, 1, 5, now(),
       CASE WHEN n <= 5000 THEN now() END, CASE WHEN n <= 5000 THEN 'worker-' || n % 50 END
FROM generate_series(1, 5020) AS n;

INSERT INTO console_people (name, role, created_at)
SELECT 'person-' || n, 'viewer', now() FROM generate_series(1, 5000) AS n;
INSERT INTO console_sessions (token_sha256, person_id, created_at, expires_at)
SELECT sha256(id::TEXT::BYTEA), id, now(), now() + id * INTERVAL '1 second' FROM console_people;
INSERT INTO console_login_links (token_sha256, person_id, expires_at)
SELECT sha256(id::TEXT::BYTEA), id, now() FROM console_people;
INSERT INTO console_login_failures (subject, failures, since)
SELECT 'name:person-' || n, 1, now() - n * INTERVAL '1 second' FROM generate_series(1, 5000) AS n;

INSERT INTO number_checks (checked_at, checked_by, public_base_url, numbers, with_problems)
VALUES (now(), 'ada', 'https://onboarding.example.com', 20000, 200);
INSERT INTO checked_numbers (place, number, purpose, sid, problems)
SELECT n, '+' || 447100000000 + n, 'pool', 'PN' || md5(n::TEXT), CASE WHEN n % 100 = 0 THEN '[{"name": "trunk"}]' ELSE '[]' END::JSONB
FROM generate_series(1, 20000) AS n;

INSERT INTO audit_log (at, who, via, action, subject, why)
SELECT now() - (20000 - n) * INTERVAL '10 minutes', 'ada', 'console', 'client.reply', 'client-' || n, 'asked'
FROM generate_series(1, 20000) AS n;

ANALYZE;
