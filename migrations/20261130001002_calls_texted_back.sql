-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS calls_texted_back ON calls (client_id, called_at) WHERE texted_back;
