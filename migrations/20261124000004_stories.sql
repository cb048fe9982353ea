-- Whose event it was, and where it left the client: so that one client's whole story can be told.

ALTER TABLE events
    -- Empty for events of nobody that we know, and for those processed before this step.
    ADD COLUMN client_id TEXT,
    -- Where the client stood afterwards.
    ADD COLUMN state     TEXT;

CREATE INDEX events_of_a_client ON events (client_id, id) WHERE client_id IS NOT NULL;
