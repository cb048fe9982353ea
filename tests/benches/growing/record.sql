-- pgbench: the ingress's statement, one commit. -D batch=50
\set n random(1000000000, 1000000000000000)
INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, received_at)
SELECT 'twilio', external_id, kind, lane, payload, signed_digest, now() FROM growing.arrived(:n, :batch) ORDER BY place
ON CONFLICT DO NOTHING RETURNING source, external_id;
