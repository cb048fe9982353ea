-- The counts of each region that has numbers or waiting clients, by the region's name.
--
-- $1: 7 days ago. $2: 30 days ago. $3: now. Free numbers, and clients to be offered one, are counted as allocation sees them.

WITH
-- Numbers that no client holds. The client's row, and not the pool's, says which number a client holds.
unheld AS (
    SELECT region, status, cools_until, drained_at FROM twilio_number_pool AS pool
    WHERE NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
),
-- Numbers assigned in the last 30 days, but for those that went back to a client who had held them.
assigned AS (
    SELECT pool.region, changes.changed_at
    FROM number_changes AS changes JOIN twilio_number_pool AS pool ON pool.phone_e164 = changes.number
    WHERE changes.change = 'assigned' AND changes.why <> 'the client returned'
      AND changes.changed_at > $2 AND changes.changed_at <= $3
),
-- Waiting clients for whom a number is held, or to whom one can be offered. For the others no number is kept.
waiting AS (
    SELECT w.region FROM waiting_list w JOIN client_reach r ON r.id = w.client_id
    WHERE r.number IS NULL AND (w.held_until IS NOT NULL OR (r.payment_active AND r.may_be_texted))
),
-- Every region that is to be counted, also one without numbers.
regions AS (
    SELECT region FROM twilio_number_pool UNION SELECT region FROM waiting
)
SELECT r.region AS "region!",
       (SELECT count(*) FROM unheld u WHERE u.region = r.region
          AND u.status = 'AVAILABLE' AND u.drained_at IS NULL) AS "free!",
       (SELECT count(*) FROM twilio_number_pool p WHERE p.region = r.region)
           - (SELECT count(*) FROM unheld u WHERE u.region = r.region) AS "assigned!",
       (SELECT count(*) FROM waiting w WHERE w.region = r.region) AS "spoken_for!",
       (SELECT count(*) FROM unheld u WHERE u.region = r.region AND u.status = 'COOLING_DOWN') AS "cooling!",
       (SELECT count(*) FROM unheld u WHERE u.region = r.region
          AND u.status = 'AVAILABLE' AND u.drained_at IS NOT NULL) AS "drained!",
       (SELECT count(*) FROM assigned a WHERE a.region = r.region AND a.changed_at > $1) AS "assigned_in_7_days!",
       (SELECT count(*) FROM assigned a WHERE a.region = r.region) AS "assigned_in_30_days!",
       ARRAY(SELECT u.cools_until FROM unheld u
             WHERE u.region = r.region AND u.status = 'COOLING_DOWN' AND u.drained_at IS NULL
             ORDER BY u.cools_until) AS "returns!"
FROM regions r ORDER BY r.region
