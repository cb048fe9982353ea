-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS deferred_events ON events (due_at, id) WHERE processed_at IS NULL AND due_at IS NOT NULL;
