-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS open_alerts_by_subject ON alerts (split_part(cause, ':', -1)) WHERE cleared_at IS NULL;
