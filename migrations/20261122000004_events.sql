-- The inbox: everything that happens, once each, in the order it arrived.

CREATE TABLE events (
    id           BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- Who says so, and the name they gave it: together they make a repeated delivery recognisable.
    source       TEXT        NOT NULL,
    external_id  TEXT        NOT NULL,
    kind         TEXT        NOT NULL,
    -- Whose event it is: 'phone:447900000001', 'number:+447111111111', 'client:<id>' or 'message:<id>'.
    -- Events of one lane get their ids in the order in which they become visible.
    lane         TEXT        NOT NULL,
    payload      JSONB       NOT NULL,
    received_at  TIMESTAMPTZ NOT NULL,
    -- Put off until then, after a failure. Mostly empty, which means at once by everybody's clock.
    due_at       TIMESTAMPTZ,
    processed_at TIMESTAMPTZ,
    -- What came of it, in a word.
    outcome      TEXT,

    CONSTRAINT events_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT an_event_happens_once UNIQUE (source, external_id),
    CONSTRAINT an_event_comes_from_a_known_source CHECK (source IN ('twilio', 'stripe', 'operator', 'system')),
    CONSTRAINT a_processed_event_has_an_outcome CHECK ((processed_at IS NULL) = (outcome IS NULL))
);

CREATE INDEX waiting_events ON events (id) WHERE processed_at IS NULL;
CREATE INDEX waiting_events_of_a_lane ON events (lane, id) WHERE processed_at IS NULL;
