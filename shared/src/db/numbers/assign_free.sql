-- Gives numbers of a region ($1) to clients ($2), in their order, as of $3. Gives none unless all can be given one.
WITH free AS MATERIALIZED (
    SELECT phone_e164, seed_order FROM twilio_number_pool AS pool
    WHERE status = 'AVAILABLE' AND region = $1 AND drained_at IS NULL
      AND (taken_from_client_id IS NULL OR taken_from_client_id <> ALL ($2))
      -- The pool may say AVAILABLE, after a change by hand, of a number that a client holds: the client is right.
      AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
      AND NOT EXISTS (SELECT FROM waiting_list WHERE region = $1)
      AND NOT EXISTS (SELECT FROM twilio_number_pool AS cooling
                      WHERE cooling.last_client_id = ANY ($2) AND cooling.status = 'COOLING_DOWN')
    ORDER BY seed_order LIMIT cardinality($2)
    FOR UPDATE OF pool SKIP LOCKED
),
-- The pairs, if there are enough.
taken AS (
    SELECT request.client_id, free.phone_e164 AS number, place
    FROM unnest($2::TEXT[]) WITH ORDINALITY AS request (client_id, place)
    JOIN (SELECT phone_e164, row_number() OVER (ORDER BY seed_order) AS place FROM free) AS free USING (place)
    WHERE (SELECT count(*) FROM free) = cardinality($2)
),
-- The clients, which are the authority.
holders AS (
    UPDATE clients SET "twilioNumber" = taken.number FROM taken
    WHERE clients.id = taken.client_id AND clients."twilioNumber" IS NULL
    RETURNING clients.id
),
-- The pool, which follows.
numbers AS (
    UPDATE twilio_number_pool AS pool
    SET status = 'ASSIGNED', client_id = taken.client_id, assigned_at = $3, cools_until = NULL,
        taken_from_client_id = NULL
    FROM taken WHERE pool.phone_e164 = taken.number AND pool.status = 'AVAILABLE'
    RETURNING pool.phone_e164
),
-- The history.
changes AS (
    INSERT INTO number_changes (number, change, client_id, why, changed_at)
    SELECT number, $4, client_id, $5, $3 FROM taken ORDER BY place
)
SELECT number AS "number!", (SELECT count(*) FROM holders) AS "holders!", (SELECT count(*) FROM numbers) AS "numbers!"
FROM taken ORDER BY place
