-- The promise of 24 hours, watched.

ALTER TABLE waiting_list
    -- When the client was told that it will take longer than promised.
    ADD COLUMN told_late_at    TIMESTAMPTZ,
    -- The operator has been alerted that the client has waited for so many hours.
    ADD COLUMN alerted_hours   INTEGER NOT NULL DEFAULT 0,
    ADD CONSTRAINT alerts_are_at_twenty_and_at_twenty_four_hours CHECK (alerted_hours IN (0, 20, 24));
