-- The queries that every batch makes, prepared as the programs prepare them.
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET jit = off;
PREPARE oldest (BIGINT) AS SELECT id, lane, received_at, due_at, payload FROM events
    WHERE processed_at IS NULL AND kind = ANY (ARRAY['text', 'delivery_report']) AND due_at IS NULL AND id > $1
    ORDER BY id LIMIT 200;
PREPARE due_again (TIMESTAMPTZ) AS SELECT id, lane, received_at, due_at, payload FROM events
    WHERE processed_at IS NULL AND kind = ANY (ARRAY['text', 'delivery_report']) AND due_at <= $1
      AND (due_at, id) > ($1 - INTERVAL '1 day', 0)
    ORDER BY due_at, id LIMIT 20;
PREPARE of_lanes (TEXT[]) AS SELECT event.* FROM unnest($1) AS asked (lane)
    CROSS JOIN LATERAL (SELECT id, lane, received_at, due_at, payload FROM events
                        WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE OFFSET 0) AS event ORDER BY event.id;
PREPARE by_ids (BIGINT[]) AS SELECT id, lane, received_at, due_at, payload FROM events
    WHERE (processed_at IS NULL) IS NOT FALSE AND id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED;
PREPARE mark (BIGINT[]) AS UPDATE events SET processed_at = now(), outcome = 'applied' FROM unnest($1) AS done (id)
    WHERE events.id = done.id AND (events.processed_at IS NULL) IS NOT FALSE;

-- Each runs twice: the first execution plans it. The second one's buffers and times are the answer.
SELECT format('%L::BIGINT[]', array_agg(id)) AS ids
FROM (SELECT id FROM events WHERE processed_at IS NULL ORDER BY id LIMIT 20) AS it \gset
SELECT format('%L::TEXT[]', array_agg(lane)) AS lanes
FROM (SELECT lane FROM events WHERE processed_at IS NULL ORDER BY id LIMIT 20) AS it \gset
\set explain 'EXPLAIN (ANALYZE, BUFFERS)'
\o /dev/null
EXECUTE oldest (0); EXECUTE due_again (now()); EXECUTE of_lanes (:lanes); EXECUTE by_ids (:ids);
BEGIN; EXECUTE mark (:ids); ROLLBACK;
\o
\echo query oldest
:explain EXECUTE oldest (0);
\echo query due_again
:explain EXECUTE due_again (now());
\echo query of_lanes
:explain EXECUTE of_lanes (:lanes);
BEGIN;
\echo query by_ids
:explain EXECUTE by_ids (:ids);
SELECT 'locks ' || count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation';
ROLLBACK;
BEGIN;
\echo query mark
:explain EXECUTE mark (:ids);
SELECT 'locks ' || count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation';
ROLLBACK;
