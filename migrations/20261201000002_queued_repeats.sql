-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS queued_repeats_to_a_client ON messages (client_id) WHERE status = 'queued' AND (retry_of IS NOT NULL OR kind = 'reminder');
