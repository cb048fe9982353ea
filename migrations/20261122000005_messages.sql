-- The outbox: every text we owe somebody, and what became of it.

CREATE TABLE messages (
    id               BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    status           TEXT        NOT NULL DEFAULT 'queued',
    -- Empty for a text to somebody who is not a client.
    client_id        TEXT,
    -- The event that this text answers; empty for texts that the sweeper starts.
    event_id         BIGINT,
    kind             TEXT        NOT NULL,
    to_phone         TEXT        NOT NULL,
    from_number      TEXT        NOT NULL,
    body             TEXT        NOT NULL,
    -- A text that must not be said twice carries the same key both times.
    once_key         TEXT,
    attempts         INTEGER     NOT NULL DEFAULT 0,
    -- Not before then; empty means at once, by everybody's clock.
    next_attempt_at  TIMESTAMPTZ,
    -- When the attempt under way, or of unknown outcome, began.
    attempted_at     TIMESTAMPTZ,
    -- How often Twilio's list was searched for an attempt of unknown outcome.
    looks            INTEGER     NOT NULL DEFAULT 0,
    twilio_sid       TEXT,
    error_code       INTEGER,
    error_message    TEXT,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,

    CONSTRAINT messages_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_message_to_a_client_belongs_to_it FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT a_message_answers_an_event FOREIGN KEY (event_id) REFERENCES events (id) ON DELETE SET NULL,
    CONSTRAINT a_twilio_message_is_one_of_ours_once UNIQUE (twilio_sid),
    CONSTRAINT a_text_with_a_key_is_said_once UNIQUE (once_key),
    CONSTRAINT a_recipient_is_e164 CHECK (to_phone ~ '^\+[1-9][0-9]{6,14}$'),
    CONSTRAINT a_body_is_what_twilio_takes CHECK (body <> '' AND char_length(body) <= 1600),
    CONSTRAINT a_message_status_is_known CHECK (status IN (
        'queued', 'sending', 'unknown', 'sent', 'delivered', 'undelivered', 'failed'
    )),
    CONSTRAINT an_attempt_under_way_has_a_beginning CHECK (status NOT IN ('sending', 'unknown') OR attempted_at IS NOT NULL)
);

-- What the sender looks through: only what is not settled.
CREATE INDEX queued_messages ON messages (id) WHERE status = 'queued';
CREATE INDEX attempted_messages ON messages (next_attempt_at) WHERE status IN ('sending', 'unknown');
CREATE INDEX unsettled_messages_of_a_recipient ON messages (to_phone, id) WHERE status IN ('queued', 'sending', 'unknown');
CREATE INDEX messages_of_a_client ON messages (client_id, id);
CREATE INDEX messages_of_an_event ON messages (event_id);
