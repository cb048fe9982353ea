-- Restores of the database from a backup, one row for each run of `jobrun restored`.
CREATE TABLE restores (
    id            BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    restored_at   TIMESTAMPTZ NOT NULL,
    -- From when on Twilio's list was read.
    listed_since  TIMESTAMPTZ NOT NULL,
    -- The last event whose texts may have been sent before the restore. Empty until all missed texts are recorded.
    last_event_id BIGINT,

    CONSTRAINT restores_are_known_by_id PRIMARY KEY (id)
);

-- The texts that we sent and whose rows the restored database lacks, as Twilio's list shows them.
CREATE TABLE unrecorded_texts (
    twilio_sid  TEXT        NOT NULL,
    restore_id  BIGINT      NOT NULL,
    to_phone    TEXT        NOT NULL,
    from_number TEXT        NOT NULL,
    body        TEXT        NOT NULL,
    sent_at     TIMESTAMPTZ NOT NULL,

    CONSTRAINT an_unrecorded_text_is_known_by_its_sid PRIMARY KEY (twilio_sid),
    CONSTRAINT an_unrecorded_text_belongs_to_a_restore FOREIGN KEY (restore_id) REFERENCES restores (id)
);

CREATE INDEX unrecorded_texts_to_a_recipient ON unrecorded_texts (to_phone, sent_at);

CREATE INDEX unrecorded_texts_of_a_restore ON unrecorded_texts (restore_id);
