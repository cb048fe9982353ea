-- no-transaction
-- While little waits, the planner takes every index of what waits for as good as any other, and may read all of one whose
-- order does not help. So this one is of what waits in other words, which only a query that asks by lane uses. Made beside the
-- programs at work, which go on writing events meanwhile; and only once, where an earlier step has made it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS waiting_events_by_lane ON events (lane, id) WHERE (processed_at IS NULL) IS TRUE;
