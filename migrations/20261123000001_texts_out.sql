-- What a text costs, how long it makes sense, and when to ask what became of it.

ALTER TABLE messages
    -- How often it was taken up to be sent. `attempts` leaves out those that were nobody's fault, such as an account's.
    ADD COLUMN claims     INTEGER NOT NULL DEFAULT 0,
    -- As Twilio counts and charges: parts, and the alphabet in which they travel.
    ADD COLUMN segments   INTEGER,
    ADD COLUMN encoding   TEXT,
    -- Not sent any more after that.
    ADD COLUMN expires_at TIMESTAMPTZ,
    -- The text that was not delivered, and of which this is the second try.
    ADD COLUMN retry_of   BIGINT,
    -- When Twilio is asked how far it got, unless it says so itself before; and how often it was asked.
    ADD COLUMN check_at   TIMESTAMPTZ,
    ADD COLUMN checks     INTEGER NOT NULL DEFAULT 0,
    -- Written, and held back: its recipient has had too many texts in too short a time.
    ADD COLUMN held_back  BOOLEAN NOT NULL DEFAULT FALSE,
    ADD CONSTRAINT an_encoding_is_one_of_two CHECK (encoding IN ('gsm7', 'ucs2')),
    ADD CONSTRAINT a_text_has_a_segment CHECK (segments >= 1),
    ADD CONSTRAINT a_second_try_is_of_a_message FOREIGN KEY (retry_of) REFERENCES messages (id) ON DELETE CASCADE,
    ADD CONSTRAINT a_message_is_tried_once_more UNIQUE (retry_of);

CREATE INDEX messages_to_be_checked ON messages (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX messages_to_a_recipient ON messages (to_phone, created_at);
CREATE INDEX queued_messages_that_expire ON messages (expires_at) WHERE status = 'queued';
