-- What operators can stop: sending texts, and processing conversations. Each has a row. The queries that claim texts and list events
-- read it themselves, so that a stop holds for every worker from its next statement on.

CREATE TABLE stops (
    what       TEXT        NOT NULL,
    -- Since when it is stopped, by whom and why; empty while it runs.
    stopped_at TIMESTAMPTZ,
    stopped_by TEXT,
    why        TEXT,
    -- When it was last started again. Work that waited for that counts as waiting from then on.
    started_at TIMESTAMPTZ,

    CONSTRAINT stops_are_known_by_what_they_stop PRIMARY KEY (what),
    CONSTRAINT sending_and_conversations_can_be_stopped CHECK (what IN ('sending', 'conversations')),
    CONSTRAINT a_stop_says_since_when_by_whom_and_why CHECK (num_nulls(stopped_at, stopped_by, why) IN (0, 3)),
    CONSTRAINT a_stop_has_a_doer_and_a_reason CHECK (stopped_by <> '' AND why <> '')
);

INSERT INTO stops (what) VALUES ('sending'), ('conversations');
