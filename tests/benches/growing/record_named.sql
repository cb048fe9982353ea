-- pgbench: the same on partitions, where the narrow table says which events are new. -D batch=50
\set n random(1000000000, 1000000000000000)
WITH arrived AS MATERIALIZED (SELECT * FROM growing.arrived(:n, :batch)),
     named AS (INSERT INTO event_names (source, external_id, signed_digest, received_at)
               SELECT 'twilio', external_id, signed_digest, now() FROM arrived ORDER BY place
               ON CONFLICT DO NOTHING RETURNING external_id)
INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, received_at)
SELECT 'twilio', external_id, kind, lane, payload, signed_digest, now() FROM arrived JOIN named USING (external_id) ORDER BY place
RETURNING source, external_id;
