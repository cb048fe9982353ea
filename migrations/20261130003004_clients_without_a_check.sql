-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS clients_without_a_check ON clients (id) WHERE "twilioNumber" IS NOT NULL AND "forwardingCheckAt" IS NULL;
