-- no-transaction
-- The console lists the texts that failed, which are few among many.
CREATE INDEX CONCURRENTLY IF NOT EXISTS failed_messages ON messages (id) WHERE status IN ('undelivered', 'failed');
