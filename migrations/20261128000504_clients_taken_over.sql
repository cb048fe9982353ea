-- no-transaction
-- The console lists the clients that operators have taken over.
CREATE INDEX CONCURRENTLY IF NOT EXISTS clients_taken_over ON clients ("takenOverAt") WHERE "takenOverBy" IS NOT NULL;
