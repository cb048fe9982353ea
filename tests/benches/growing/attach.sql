-- Makes the table `events`, with its rows, the first partition by id, while others write. No program may be left that does not
-- write `event_names`.   psql -v bound=10000000      above the highest id: the next event gets it
ALTER TABLE events ADD CONSTRAINT ids_end CHECK (id < :bound) NOT VALID;
ALTER TABLE events VALIDATE CONSTRAINT ids_end;
SET lock_timeout = '1s';
\timing on
BEGIN;
ALTER TABLE messages DROP CONSTRAINT a_message_answers_an_event;
ALTER TABLE payment_events DROP CONSTRAINT a_payment_event_arrived;
ALTER TABLE opt_changes DROP CONSTRAINT a_wish_was_uttered;
ALTER TABLE events ALTER COLUMN id DROP IDENTITY;
ALTER TABLE events RENAME TO events_1;
CREATE TABLE events (LIKE events_1) PARTITION BY RANGE (id);
ALTER TABLE events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (START WITH :bound);
ALTER TABLE events ADD CONSTRAINT events_by_id PRIMARY KEY (id);
CREATE INDEX ON events (client_id, id) WHERE client_id IS NOT NULL;
CREATE INDEX ON events (id) WHERE processed_at IS NULL;
CREATE INDEX ON events (lane, id) WHERE (processed_at IS NULL) IS TRUE;
ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (MINVALUE) TO (:bound);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (:bound) TO (MAXVALUE);
ALTER TABLE messages ADD CONSTRAINT a_message_answers_an_event
    FOREIGN KEY (event_id) REFERENCES events ON DELETE SET NULL NOT VALID;
ALTER TABLE payment_events ADD CONSTRAINT a_payment_event_arrived
    FOREIGN KEY (event_id) REFERENCES events ON DELETE SET NULL NOT VALID;
ALTER TABLE opt_changes ADD CONSTRAINT a_wish_was_uttered
    FOREIGN KEY (event_id) REFERENCES events ON DELETE SET NULL NOT VALID;
COMMIT;
ALTER TABLE messages VALIDATE CONSTRAINT a_message_answers_an_event;
ALTER TABLE payment_events VALIDATE CONSTRAINT a_payment_event_arrived;
ALTER TABLE opt_changes VALIDATE CONSTRAINT a_wish_was_uttered;
