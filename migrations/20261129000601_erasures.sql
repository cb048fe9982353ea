-- Erasures of persons on their request. None of these tables has a phone, a name or the words of a text.

CREATE TABLE erasures (
    id           BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The client, which no longer exists once `removed_at` is set.
    client_id    TEXT        NOT NULL,
    -- HMAC-SHA256 of the phone, by which an unfinished erasure is found again. Empty once it is finished.
    phone_hmac   BYTEA,
    who          TEXT        NOT NULL,
    why          TEXT        NOT NULL,
    begun_at     TIMESTAMPTZ NOT NULL,
    -- Whether the client had opted out of texts when the erasure began: the erasure itself stops its texts.
    opted_out    BOOLEAN     NOT NULL,
    -- The last event that was looked at.
    scanned_to   BIGINT      NOT NULL DEFAULT 0,
    -- How many rows were erased so far.
    events       BIGINT      NOT NULL DEFAULT 0,
    texts        BIGINT      NOT NULL DEFAULT 0,
    -- When the client's row was removed, and what remained then.
    removed_at   TIMESTAMPTZ,
    remains      JSONB       NOT NULL DEFAULT '{}',
    finished_at  TIMESTAMPTZ,
    certificate  JSONB,

    CONSTRAINT erasures_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT an_erasure_has_a_doer_and_a_reason CHECK (who <> '' AND why <> ''),
    CONSTRAINT a_digest_of_a_phone_is_a_sha256 CHECK (octet_length(phone_hmac) = 32),
    CONSTRAINT a_finished_erasure_has_a_certificate CHECK ((finished_at IS NULL) = (certificate IS NULL)),
    CONSTRAINT a_finished_erasure_keeps_no_digest CHECK (finished_at IS NULL OR phone_hmac IS NULL)
);

CREATE UNIQUE INDEX a_client_has_one_unfinished_erasure ON erasures (client_id) WHERE finished_at IS NULL;
CREATE INDEX unfinished_erasures_of_a_phone ON erasures (phone_hmac) WHERE finished_at IS NULL;

-- The texts whose words are to be redacted at Twilio. Rows go when the erasure is finished.
CREATE TABLE erasure_texts (
    erasure_id  BIGINT      NOT NULL,
    twilio_sid  TEXT        NOT NULL,
    redacted_at TIMESTAMPTZ,

    CONSTRAINT an_erasure_names_a_text_once PRIMARY KEY (erasure_id, twilio_sid),
    CONSTRAINT a_text_to_redact_belongs_to_an_erasure FOREIGN KEY (erasure_id) REFERENCES erasures (id) ON DELETE CASCADE
);

CREATE INDEX texts_to_redact ON erasure_texts (erasure_id, twilio_sid) WHERE redacted_at IS NULL;

-- Erased persons who had opted out of texts, by HMAC-SHA256 of their phones.
CREATE TABLE erased_opt_outs (
    phone_hmac   BYTEA       NOT NULL,
    opted_out_at TIMESTAMPTZ NOT NULL,

    CONSTRAINT an_erased_opt_out_is_known_by_its_digest PRIMARY KEY (phone_hmac),
    CONSTRAINT a_digest_of_an_opt_out_is_a_sha256 CHECK (octet_length(phone_hmac) = 32)
);
