-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS recordings_at_twilio ON voicemails (expires_at) WHERE deleted_at IS NULL;
