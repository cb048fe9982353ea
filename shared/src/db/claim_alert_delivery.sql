-- Claims the delivery that is due and comes first. $1: now. $2: when this attempt counts as cut off. $3: an open alert that was
-- delivered by then is delivered again.

WITH due AS (
    SELECT d.alert_id
    FROM alert_deliveries d JOIN alerts a ON a.id = d.alert_id
    WHERE d.due_at <= $1
      AND (a.cleared_at IS NOT NULL OR d.raise_delivered_at IS NULL OR d.raise_delivered_at <= $3)
      -- The deliveries of one cause are made in order: an old all-clear must not end a new alert.
      AND NOT EXISTS (SELECT FROM alert_deliveries earlier WHERE earlier.cause = d.cause AND earlier.alert_id < d.alert_id)
    ORDER BY d.alert_id LIMIT 1
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE alert_deliveries AS d SET was_posted = TRUE, due_at = $2, attempt = d.attempt + 1
FROM due JOIN alerts a ON a.id = due.alert_id
WHERE d.alert_id = due.alert_id
RETURNING d.alert_id, a.cause, a.about, a.raised_at, a.cleared_at, d.attempt, d.failures
