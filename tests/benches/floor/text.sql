-- pgbench: :batch texts in and their replies out, in four commits of one statement each. No statement looks for rows that the
-- one before has written: it has their ids. `each` is how often a client of pgbench runs this: -D batch=100 -D each=90 -D n=0.
\set n :n + 1
\set first (:client_id * :each + :n - 1) * :batch
\set last :first + :batch - 1
-- The webhooks are recorded.
WITH recorded AS (
    INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, received_at)
    SELECT 'twilio', sid, 'text', 'phone:' || phone, payload, digest, now() FROM floor.input WHERE n BETWEEN :first AND :last
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT array_agg(id) AS events FROM recorded \gset
-- They are answered. Clients are locked, because the answer depends on where they stand.
WITH known AS (
    SELECT clients.id, "phoneNumber" AS phone FROM floor.input JOIN clients ON "phoneNumber" = phone
    WHERE n BETWEEN :first AND :last AND NOT is_new ORDER BY clients.id FOR NO KEY UPDATE OF clients
), newcomers AS (
    INSERT INTO clients ("phoneNumber") SELECT phone FROM floor.input WHERE n BETWEEN :first AND :last AND is_new
    ON CONFLICT ON CONSTRAINT a_phone_belongs_to_one_client DO NOTHING RETURNING id, "phoneNumber" AS phone
), begun AS (
    INSERT INTO onboarding_states (client_id, current_state, collected_fields, asked_at, led_by, led_by_at)
    SELECT id, 'S2_BUSINESS_NAME', '{"businessTypeLocation": "Plumber from London"}', now(), 'Plumber from London', now()
    FROM newcomers
), replies AS (
    SELECT id, phone, 'COMPLETE' AS state, 'already_live' AS kind,
           'You''re all set: JobRun is live and answers when you can''t. There''s nothing more to do.' AS body FROM known
    UNION ALL
    SELECT id, phone, 'S2_BUSINESS_NAME', 'ask_business_name', 'Great, thanks! What''s the name of your business?'
    FROM newcomers
), processed AS (
    UPDATE events SET processed_at = now(), outcome = 'answered', client_id = replies.id, state = replies.state FROM replies
    WHERE events.id = ANY (:events::BIGINT[]) AND events.lane = 'phone:' || replies.phone AND processed_at IS NULL
    RETURNING events.id, replies.id AS client_id, replies.phone, replies.kind, replies.body
), queued AS (
    INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, segments, encoding, expires_at, created_at,
                          updated_at)
    SELECT client_id, id, kind, '+' || phone, '+447476955179', body, 1, 'gsm7', now() + INTERVAL '4 hours', now(), now()
    FROM processed RETURNING id
)
SELECT array_agg(id) AS ids FROM queued \gset
-- The replies are claimed, so that none is sent twice after a crash.
UPDATE messages SET status = 'sending', claims = 1, attempts = 1, attempted_at = now(),
                    next_attempt_at = now() + INTERVAL '12 seconds', updated_at = now()
WHERE id = ANY (:ids::BIGINT[]);
-- Twilio has taken them.
UPDATE messages SET status = 'sent', twilio_sid = reply_sid, next_attempt_at = NULL, check_at = now() + INTERVAL '15 minutes',
                    updated_at = now()
FROM unnest(:ids::BIGINT[]) WITH ORDINALITY AS taken (id, place) JOIN floor.input ON n = :first + place - 1
WHERE messages.id = taken.id;
