-- no-transaction
-- Webhooks are recorded while this is built.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS what_is_signed_alike_is_one_event ON events (signed_digest) WHERE signed_digest IS NOT NULL;
