-- pgbench: a worker marks the oldest events as processed, one commit. -D batch=200
BEGIN;
SELECT array_agg(id) AS ids FROM (SELECT id FROM events WHERE processed_at IS NULL AND due_at IS NULL AND id > 0
                                  ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED) AS oldest \gset
UPDATE events SET processed_at = now(), outcome = 'applied'
WHERE id = ANY (:ids::BIGINT[]) AND (processed_at IS NULL) IS NOT FALSE;
END;
