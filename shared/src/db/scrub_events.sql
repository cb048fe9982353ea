-- Erases what the events of a person say. The rows stay, so that the same webhook, or a comparison with a list, does not bring them
-- back. An event that a conversation has to process is left until it has: it may be an opt-out. Texts of others that name the person
-- are theirs, and so are calls to other clients.
WITH own AS (
    SELECT id, kind, source, external_id FROM events
    WHERE id > $4 AND id <= $5
      AND (processed_at IS NOT NULL OR kind = 'delivery_report')
      AND (client_id = $1
           OR (client_id IS NULL
               AND (lane = ANY($2)
                    OR (kind IN ('call_arrived', 'call_ended') AND ltrim(payload ->> 'from', '+') = $8)
                    OR (kind = 'delivery_report' AND ltrim(payload ->> 'to', '+') = $8)
                    OR (kind IN ('stripe', 'subscription_asked') AND payload::TEXT ~ $3
                        -- A payment of another client, who had this phone before.
                        AND NOT EXISTS (SELECT FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
                                        JOIN phone_changes c ON c.client_id = s.client_id
                                        WHERE p.event_id = events.id AND s.client_id <> $1
                                          AND c.old_phone = $8 AND c.outcome = 'moved')))))
    ORDER BY id FOR UPDATE
),
-- Texts that came in are redacted at Twilio.
texts AS (
    INSERT INTO erasure_texts (erasure_id, twilio_sid)
    SELECT $6, external_id FROM own WHERE kind = 'text' AND source = 'twilio'
    ON CONFLICT ON CONSTRAINT an_erasure_names_a_text_once DO NOTHING
)
UPDATE events
SET payload = jsonb_build_object('kind', events.kind), lane = 'erased:' || events.id, client_id = NULL, state = NULL,
    due_at = NULL, processed_at = COALESCE(processed_at, $7), outcome = COALESCE(outcome, 'erased')
FROM own WHERE events.id = own.id
RETURNING events.id
