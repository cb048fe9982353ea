-- The events of a person, chosen as `scrub_events.sql` does, but for those that wait.
SELECT to_jsonb(events) AS "row!" FROM events
WHERE id > $4 AND id <= $5
  AND (client_id = $1
       OR (client_id IS NULL
           AND (kind NOT IN ('call_arrived', 'call_ended') OR processed_at IS NOT NULL OR lane = ANY($2))
           AND (lane = ANY($2) OR payload::TEXT ~ $3)))
ORDER BY id
