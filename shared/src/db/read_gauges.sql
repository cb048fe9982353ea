-- The gauges over whole tables that have no label. $1: now; $2: the kinds of events that go on while conversations are stopped.

SELECT
    waiting.events AS "events_waiting!", waiting.deferred AS "events_deferred!", waiting.oldest AS oldest_event,
    (SELECT parked_at IS NOT NULL FROM sending) AS "sending_parked!",
    EXISTS (SELECT FROM stops WHERE what = 'sending' AND stopped_at IS NOT NULL) AS "sending_stopped!",
    EXISTS (SELECT FROM stops WHERE what = 'conversations' AND stopped_at IS NOT NULL) AS "conversations_stopped!",
    -- Only clients who could be offered a number, and were not.
    (SELECT min(joined_at) FROM waiting_list w JOIN client_reach r ON r.id = w.client_id
     WHERE w.held_until IS NULL AND r.number IS NULL AND r.payment_active AND r.may_be_texted) AS oldest_place,
    (SELECT count(*) FROM subscriptions WHERE client_id IS NULL AND standing IN ('active', 'past_due')) AS "payments_unassigned!",
    (SELECT last_success_at FROM sweeps) AS last_sweep,
    (SELECT audited_until FROM audits) AS "audited_until!",
    (SELECT audited_until FROM stripe_audits) AS stripe_audited_until
FROM (
    SELECT count(*) AS events, count(due_at) AS deferred,
           -- A deferred event waits again once it is due, and one that a stop has kept back waits from its end on.
           min(GREATEST(COALESCE(due_at, received_at), started_at)) FILTER (
               WHERE (due_at IS NULL OR due_at <= $1) AND (stopped_at IS NULL OR kind = ANY ($2))) AS oldest
    FROM events LEFT JOIN stops ON what = 'conversations' WHERE processed_at IS NULL
) AS waiting
