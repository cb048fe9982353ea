-- Puts partitions in place of the empty table `events`: `parts` of them, over the twelve months before `until` or over the ids to
-- `total`, with another for later rows. `event_names` keeps the names unique.
--   psql -v key=received_at|id -v parts=12 -v total=2400000 -v until=2026-12-01

ALTER TABLE messages DROP CONSTRAINT a_message_answers_an_event;
ALTER TABLE payment_events DROP CONSTRAINT a_payment_event_arrived;
ALTER TABLE opt_changes DROP CONSTRAINT a_wish_was_uttered;
ALTER TABLE events RENAME TO whole;

CREATE TABLE event_names (
    source TEXT NOT NULL, external_id TEXT NOT NULL, signed_digest BYTEA, received_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT an_event_is_named_once PRIMARY KEY (source, external_id)
);
CREATE UNIQUE INDEX what_is_signed_alike_has_one_name ON event_names (signed_digest) WHERE signed_digest IS NOT NULL;
CREATE INDEX names_by_age ON event_names USING brin (received_at);

CREATE TABLE events (LIKE whole INCLUDING IDENTITY INCLUDING CONSTRAINTS) PARTITION BY RANGE (:key);
DROP TABLE whole;
SELECT :'key' = 'id' AS by_id \gset
\if :by_id
    ALTER TABLE events ADD PRIMARY KEY (id);
\else
    ALTER TABLE events ADD PRIMARY KEY (id, received_at);
\endif
CREATE INDEX events_of_a_client ON events (client_id, id) WHERE client_id IS NOT NULL;
CREATE INDEX waiting_events ON events (id) WHERE processed_at IS NULL;
CREATE INDEX waiting_events_by_lane ON events (lane, id) WHERE (processed_at IS NULL) IS TRUE;

SELECT format('CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%s) TO (%s) WITH (autovacuum_vacuum_scale_factor = 0, '
              'autovacuum_vacuum_threshold = 100000, vacuum_index_cleanup = on)',
              part, COALESCE(lag(bound) OVER (ORDER BY part), 'MINVALUE'), bound)
FROM generate_series(1, :parts + 1) AS part,
     LATERAL (SELECT CASE WHEN part > :parts THEN 'MAXVALUE'
                          WHEN :'key' = 'id' THEN (:total::BIGINT * part / :parts + 1)::TEXT
                          ELSE quote_literal(:'until'::TIMESTAMPTZ - INTERVAL '1 year' * (1 - part::FLOAT8 / :parts))
                     END) AS b (bound)
\gexec
