-- The events of a person, chosen as `scrub_events.sql` does, with those that wait.
SELECT to_jsonb(events) AS "row!" FROM events
WHERE id > $4 AND id <= $5
  AND (client_id = $1
       OR (client_id IS NULL
           AND (lane = ANY($2)
                OR (kind IN ('call_arrived', 'call_ended') AND processed_at IS NOT NULL AND ltrim(payload ->> 'from', '+') = $6)
                OR (kind = 'delivery_report' AND ltrim(payload ->> 'to', '+') = $6)
                OR (kind IN ('stripe', 'subscription_asked') AND payload::TEXT ~ $3))))
ORDER BY id
