-- How long the newest clients took in each state that they have left.
--
-- $1: only clients that began after. $2: at most so many.

WITH
sample AS MATERIALIZED (
    SELECT id, "createdAt" AS began_at FROM clients WHERE "createdAt" > $1 ORDER BY "createdAt" DESC LIMIT $2
),
-- When each client entered each state: a client begins in the first.
seen AS (
    SELECT id AS client_id, 'S1_BUSINESS_TYPE_LOCATION' AS state, began_at AS at FROM sample
    UNION ALL
    -- The limit bounds a client with very many events, and has each client's events found by their index.
    SELECT sample.id, of_client.state, of_client.received_at
    FROM sample CROSS JOIN LATERAL (
        SELECT e.state, e.received_at FROM events e WHERE e.client_id = sample.id ORDER BY e.id LIMIT 200
    ) AS of_client
    WHERE of_client.state IS NOT NULL
),
entered AS (
    SELECT client_id, state, min(at) AS at FROM seen GROUP BY client_id, state
),
-- The state that was entered next ends the time in this one.
left_behind AS (
    SELECT state, lead(at) OVER (PARTITION BY client_id ORDER BY at, state) - at AS took FROM entered
)
SELECT state AS "state!", percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM took)::FLOAT8) AS "median_seconds!",
       count(*) AS "clients!"
FROM left_behind WHERE took IS NOT NULL GROUP BY state
