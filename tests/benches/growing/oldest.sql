-- pgbench: the query that begins every batch of a worker.
SELECT id, lane, received_at, due_at, payload FROM events
WHERE processed_at IS NULL AND kind = ANY (ARRAY['text', 'delivery_report']) AND due_at IS NULL AND id > 0 ORDER BY id LIMIT 20;
