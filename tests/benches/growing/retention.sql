-- Removes what is older than `before` by the sweep's statements: a thousand rows in a transaction. Texts go before their events.

CREATE OR REPLACE PROCEDURE growing.remove_texts(before TIMESTAMPTZ)
LANGUAGE plpgsql AS $$
DECLARE ids BIGINT[];
BEGIN
    LOOP
        ids := ARRAY(SELECT id FROM messages
            WHERE id <= (SELECT max(id) FROM (SELECT id FROM messages WHERE status NOT IN ('queued', 'sending', 'unknown')
                                              ORDER BY id LIMIT 1000) AS oldest)
              AND status NOT IN ('queued', 'sending', 'unknown') AND updated_at < before
              AND (SELECT again.id FROM messages again WHERE again.retry_of = messages.id) IS NULL
            ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED);
        EXIT WHEN cardinality(ids) = 0;
        DELETE FROM messages WHERE id = ANY (ids);
        COMMIT;
    END LOOP;
END $$;

CREATE OR REPLACE PROCEDURE growing.remove_events(before TIMESTAMPTZ)
LANGUAGE plpgsql AS $$
DECLARE ids BIGINT[];
BEGIN
    LOOP
        ids := ARRAY(SELECT id FROM events
            WHERE id <= (SELECT max(id) FROM (SELECT id FROM events WHERE processed_at IS NOT NULL
                                              ORDER BY id LIMIT 1000) AS oldest)
              AND processed_at < before
              AND (SELECT messages.id FROM messages WHERE messages.event_id = events.id LIMIT 1) IS NULL
            ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED);
        EXIT WHEN cardinality(ids) = 0;
        DELETE FROM events WHERE id = ANY (ids);
        COMMIT;
    END LOOP;
END $$;
