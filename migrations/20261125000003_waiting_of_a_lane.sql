-- Replaced by the step before. The previous version finds its rows without it.
DROP INDEX waiting_events_of_a_lane;
