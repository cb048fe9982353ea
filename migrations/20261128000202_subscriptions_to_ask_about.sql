-- no-transaction
-- Few subscriptions are to be asked about at a time.
CREATE INDEX CONCURRENTLY IF NOT EXISTS subscriptions_to_ask_about ON subscriptions (ask_at) WHERE ask_at IS NOT NULL;
