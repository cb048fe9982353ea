-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS clients_who_test ON clients ("forwardingCheckAt") WHERE "testAskedAt" IS NOT NULL;
