-- What operators did: who, to whom or to what, and why. A row commits with the action that it is about, and is never changed.

CREATE TABLE audit_log (
    id      BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at      TIMESTAMPTZ NOT NULL,
    -- The person of the console, or the user of the machine on which the command ran.
    who     TEXT        NOT NULL,
    via     TEXT        NOT NULL,
    -- 'number.released', 'payment.assigned', 'person.added'.
    action  TEXT        NOT NULL,
    -- What it was done to: a client's id, a number, a payment, a person's name. Empty if it was done to many things.
    subject TEXT,
    -- The reason that the person gave.
    why     TEXT,
    details JSONB       NOT NULL DEFAULT '{}',

    CONSTRAINT audit_log_is_known_by_id PRIMARY KEY (id),
    CONSTRAINT an_action_came_from_the_console_or_a_command CHECK (via IN ('console', 'command')),
    CONSTRAINT an_action_has_a_doer CHECK (who <> ''),
    CONSTRAINT an_action_has_a_name CHECK (action ~ '^[a-z]+\.[a-z_]+$'),
    CONSTRAINT details_is_an_object CHECK (jsonb_typeof(details) = 'object')
);

CREATE INDEX actions_on_a_subject ON audit_log (subject, id) WHERE subject IS NOT NULL;
