-- no-transaction
-- Few numbers are remembered as taken from a client, and each allocation that waits for its turn counts those of its clients.
CREATE INDEX CONCURRENTLY IF NOT EXISTS numbers_taken_from_a_client ON twilio_number_pool (taken_from_client_id)
    WHERE taken_from_client_id IS NOT NULL;
