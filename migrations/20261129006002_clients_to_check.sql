-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS clients_to_check ON clients ("forwardingCheckAt") WHERE "forwardingCheckAt" IS NOT NULL;
