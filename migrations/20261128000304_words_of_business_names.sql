-- no-transaction
-- The console finds a business by the beginning of any word of its name. Names change once or twice in a client's life.
CREATE INDEX CONCURRENTLY IF NOT EXISTS words_of_business_names ON clients USING gin (to_tsvector('simple', "businessName"));
