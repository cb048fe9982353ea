-- While little waits, the planner takes every index of what waits for as good as any other, and may read all of one whose
-- order does not help. So this one is of what waits in other words, which only a query that asks by lane uses. Nothing else
-- happens in this step: whoever writes an event waits until the inbox has been read once, and whoever reads does not.
CREATE INDEX waiting_events_by_lane ON events (lane, id) WHERE (processed_at IS NULL) IS TRUE;
