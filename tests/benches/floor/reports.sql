-- pgbench: follows text.sql, in the same script. The two reports of each reply are recorded, and applied, in two commits.
WITH recorded AS (
    INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, received_at)
    SELECT 'twilio', reply_sid || ':' || status, 'delivery_report', 'message:' || id, reported.payload, reported.digest, now()
    FROM unnest(:ids::BIGINT[]) WITH ORDINALITY AS taken (id, place) JOIN floor.input ON n = :first + place - 1
    CROSS JOIN LATERAL (VALUES ('sent', sent, sent_digest), ('delivered', delivered, delivered_digest))
        AS reported (status, payload, digest)
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT array_agg(id) AS events FROM recorded \gset
WITH processed AS (
    UPDATE events SET processed_at = now(), outcome = 'applied' WHERE id = ANY (:events::BIGINT[]) AND processed_at IS NULL
)
UPDATE messages SET status = 'delivered', check_at = NULL, updated_at = now() WHERE id = ANY (:ids::BIGINT[]);
