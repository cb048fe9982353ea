-- The events of a person, chosen as `scrub_events.sql` does, with those that wait.
SELECT to_jsonb(events) AS "row!" FROM events
WHERE id > $4 AND id <= $5
  AND (client_id = $1
       OR (client_id IS NULL
           AND (lane = ANY($2)
                OR (kind IN ('call_arrived', 'call_ended') AND processed_at IS NOT NULL AND ltrim(payload ->> 'from', '+') = $6)
                OR (kind = 'delivery_report' AND ltrim(payload ->> 'to', '+') = $6)
                OR (kind IN ('stripe', 'subscription_asked') AND payload::TEXT ~ $3
                    -- An event from before the person signed up, with nothing of it but the phone, is of one who had the phone before.
                    AND (received_at >= (SELECT "createdAt" FROM clients WHERE id = $1) OR payload::TEXT ~ $7)
                    -- A payment of another client, who had this phone before.
                    AND NOT EXISTS (SELECT FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
                                    JOIN phone_changes c ON c.client_id = s.client_id
                                    WHERE p.event_id = events.id AND s.client_id <> $1
                                      AND c.old_phone = $6 AND c.outcome = 'moved')))))
ORDER BY id
