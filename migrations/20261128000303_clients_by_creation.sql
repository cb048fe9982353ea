-- no-transaction
-- The console lists the newest clients.
CREATE INDEX CONCURRENTLY IF NOT EXISTS clients_by_creation ON clients ("createdAt", id);
