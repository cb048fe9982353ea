-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS queued_messages_that_expire;
