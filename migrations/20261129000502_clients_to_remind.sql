-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS clients_to_remind ON clients ("remindAt") WHERE "remindAt" IS NOT NULL;
