-- A number's whole life: handed out, cooling down before somebody else gets it, taken out of use.

ALTER TABLE twilio_number_pool
    -- Whose callers may still ring it: the last client that held it, who gets it back when it returns while it cools down.
    ADD COLUMN last_client_id TEXT,
    ADD COLUMN cools_until    TIMESTAMPTZ,
    -- Since then, no client is given it. Whoever holds it keeps it.
    ADD COLUMN drained_at     TIMESTAMPTZ,
    DROP CONSTRAINT a_number_is_available_or_assigned,
    ADD CONSTRAINT a_number_is_available_assigned_or_cooling_down CHECK (status IN ('AVAILABLE', 'ASSIGNED', 'COOLING_DOWN')),
    ADD CONSTRAINT a_number_that_cools_down_does_so_until_a_time CHECK (status <> 'COOLING_DOWN' OR cools_until IS NOT NULL);

CREATE INDEX cooling_numbers ON twilio_number_pool (cools_until) WHERE status = 'COOLING_DOWN';
CREATE INDEX cooling_numbers_of_a_client ON twilio_number_pool (last_client_id) WHERE status = 'COOLING_DOWN';

-- Every change of hands, and every other step of a number's life: when, and why.
CREATE TABLE number_changes (
    id         BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    number     TEXT        NOT NULL,
    change     TEXT        NOT NULL,
    -- Who was given it, or held it. Kept when the client is gone.
    client_id  TEXT,
    why        TEXT        NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,

    CONSTRAINT number_changes_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_change_is_of_a_known_kind CHECK (change IN ('added', 'assigned', 'released', 'cooled_down', 'drained', 'undrained')),
    CONSTRAINT a_change_of_hands_names_the_client CHECK (change NOT IN ('assigned', 'released') OR client_id IS NOT NULL),
    CONSTRAINT a_change_has_a_reason CHECK (why <> '')
);

CREATE INDEX changes_of_a_number ON number_changes (number, id);
CREATE INDEX changes_for_a_client ON number_changes (client_id, id);
CREATE INDEX changes_in_order ON number_changes (changed_at);
