-- Cases: what a client said that a person has to answer. A case is open until an operator closes it.

CREATE TABLE cases (
    id           BIGINT GENERATED ALWAYS AS IDENTITY,
    client_id    TEXT        NOT NULL,
    -- Why a person is needed: misfits, person, help, question, doubt, cancel.
    kind         TEXT        NOT NULL,
    -- What the client said, a line for each text, the oldest first. The oldest go if it grows too long.
    said         TEXT        NOT NULL,
    -- Where the conversation stood. It keeps that place.
    state        TEXT        NOT NULL,
    times        INTEGER     NOT NULL DEFAULT 1,
    opened_at    TIMESTAMPTZ NOT NULL,
    last_said_at TIMESTAMPTZ NOT NULL,
    -- When it was closed, by whom, and why; empty while it is open.
    closed_at    TIMESTAMPTZ,
    closed_by    TEXT,
    why          TEXT,

    CONSTRAINT cases_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_case_is_of_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT a_closed_case_says_by_whom CHECK ((closed_at IS NULL) = (closed_by IS NULL))
);

CREATE UNIQUE INDEX a_client_has_one_open_case_of_a_kind ON cases (client_id, kind) WHERE closed_at IS NULL;

CREATE INDEX cases_of_a_client ON cases (client_id);

-- What clients were promised before has only an alert, which ends with its case from now on.
INSERT INTO cases (client_id, kind, said, state, times, opened_at, last_said_at)
SELECT clients.id, kind, '', COALESCE(current_state, 'S1_BUSINESS_TYPE_LOCATION'), 1, raised_at, last_seen_at
FROM alerts
JOIN (VALUES ('stuck', 'misfits'), ('cancel-asked', 'cancel'), ('person-wanted', 'person')) AS kinds (alert, kind)
    ON split_part(cause, ':', 1) = alert
JOIN clients ON cause = alert || ':' || clients.id
LEFT JOIN onboarding_states ON onboarding_states.client_id = clients.id
WHERE cleared_at IS NULL;

CREATE INDEX closed_cases ON cases (closed_at) WHERE closed_at IS NOT NULL;
