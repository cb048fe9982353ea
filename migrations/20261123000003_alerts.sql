-- What an operator has to know of: one alert for each cause, until it is cleared.

CREATE TABLE alerts (
    id           BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The same cause is the same alert: 'account:20003'.
    cause        TEXT        NOT NULL,
    -- What is wrong and what to do, in a sentence, without phone numbers.
    about        TEXT        NOT NULL,
    raised_at    TIMESTAMPTZ NOT NULL,
    -- When, and how often, the cause has shown.
    last_seen_at TIMESTAMPTZ NOT NULL,
    times        BIGINT      NOT NULL DEFAULT 1,
    cleared_at   TIMESTAMPTZ,

    CONSTRAINT alerts_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_cause_is_not_empty CHECK (cause <> '')
);

CREATE UNIQUE INDEX a_cause_has_one_open_alert ON alerts (cause) WHERE cleared_at IS NULL;
