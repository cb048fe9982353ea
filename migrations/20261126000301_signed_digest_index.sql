-- no-transaction
-- Webhooks are recorded while this is built. A statement of its own, because it cannot run in a transaction.
CREATE UNIQUE INDEX CONCURRENTLY what_is_signed_alike_is_one_event ON events (signed_digest) WHERE signed_digest IS NOT NULL;
