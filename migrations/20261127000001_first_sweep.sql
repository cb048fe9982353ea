-- The workers of the previous version go on until they are replaced, and do not write this row: that no sweep is heard of means
-- something only after the first one.
UPDATE sweeps SET late_after = now() + INTERVAL '1 day' WHERE last_success_at IS NULL;
