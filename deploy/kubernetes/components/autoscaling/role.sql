-- The database role of the autoscaler. It can read when events arrived and whether they were processed, and nothing else.
-- Run it once, after `jobrun migrate`, as a superuser. Then set a password with `\password jobrun_scaler`.
CREATE ROLE jobrun_scaler LOGIN CONNECTION LIMIT 4;
ALTER ROLE jobrun_scaler SET default_transaction_read_only = on;
ALTER ROLE jobrun_scaler SET statement_timeout = '2s';
GRANT SELECT (received_at, due_at, processed_at) ON events TO jobrun_scaler;
