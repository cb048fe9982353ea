-- What keeps the cost of one text the same when there are ten million of them.

-- Each sweep asks of every payment that is nobody's whether an alert was ever raised about it, cleared or not.
CREATE INDEX alerts_of_a_cause ON alerts (cause);

-- What waits is found by indexes of what waits alone, and a row leaves a dead entry in them when it is done. By
-- default those are cleared away once a fifth of the table is dead: two million entries of ten, through which every
-- look for the oldest would pass. So they are cleared away after so many rows, however many there are; and from the
-- indexes in any case, which is otherwise put off while the dead rows lie on less than a fiftieth of the pages. Not more
-- often than that, because each time the large indexes are read from end to end.
ALTER TABLE events SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000, vacuum_index_cleanup = on
);
ALTER TABLE messages SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000, vacuum_index_cleanup = on
);

-- Rows that change hands, a few times each, among many that do not.
ALTER TABLE clients SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000
);
ALTER TABLE twilio_number_pool SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);

-- Written anew with every answer. No index holds what changes, so that nine in ten new versions find room beside the
-- old one, and what they leave is cleared away by the next writer: leaving more room on each page does not make it
-- more.
ALTER TABLE onboarding_states SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000
);

-- Written anew with every text that leaves, one row for each number of ours. (`sending`, which is one row, is cleared
-- after fifty versions by default.)
ALTER TABLE senders SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
