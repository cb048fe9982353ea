-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS alerts_to_deliver ON alerts (id)
    WHERE (CASE WHEN cleared_at IS NULL THEN raise_delivered_at IS NULL
                ELSE raise_delivered_at IS NOT NULL AND clear_delivered_at IS NULL END);
