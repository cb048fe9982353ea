-- Messages that callers left. The recording is at Twilio alone, and is deleted there when its link ends.
CREATE TABLE voicemails (
    id              BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- Empty once the client is gone, or if it could not be told of the message.
    client_id       TEXT,
    -- Twilio's name for the recording.
    recording_sid   TEXT        NOT NULL,
    -- SHA-256 of the secret in the link. The secret itself is in the text to the owner only. Empty if there is no link.
    token_sha256    BYTEA,
    recorded_at     TIMESTAMPTZ NOT NULL,
    -- When the link ends, and the recording is to be deleted at Twilio.
    expires_at      TIMESTAMPTZ NOT NULL,
    -- How often its deletion was tried, and when it is tried next.
    attempts        INTEGER     NOT NULL DEFAULT 0,
    next_attempt_at TIMESTAMPTZ NOT NULL,
    deleted_at      TIMESTAMPTZ,
    -- The erasure of the client, which waits until the recording is deleted.
    erasure_id      BIGINT,

    CONSTRAINT voicemails_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_recording_is_known_once UNIQUE (recording_sid),
    CONSTRAINT a_link_leads_to_one_voicemail UNIQUE (token_sha256),
    CONSTRAINT a_recording_has_a_name_of_twilio CHECK (recording_sid ~ '^RE[0-9a-fA-F]{32}$'),
    CONSTRAINT a_digest_of_a_link_is_a_sha256 CHECK (octet_length(token_sha256) = 32),
    CONSTRAINT a_voicemail_was_left_for_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE SET NULL,
    CONSTRAINT an_erased_voicemail_belongs_to_an_erasure FOREIGN KEY (erasure_id) REFERENCES erasures (id) ON DELETE SET NULL
);

CREATE INDEX voicemails_of_a_client ON voicemails (client_id);
CREATE INDEX voicemails_of_an_erasure ON voicemails (erasure_id);
CREATE INDEX recordings_to_delete ON voicemails (next_attempt_at) WHERE deleted_at IS NULL;
CREATE INDEX deleted_voicemails ON voicemails (deleted_at) WHERE deleted_at IS NOT NULL;

-- Whether a caller of this number may leave a message: a live client holds it, and may be told. As with `number_is_unused`, the ingress
-- asks a function, and needs no right to read clients.
CREATE FUNCTION number_takes_messages(number TEXT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM clients JOIN onboarding_states ON client_id = clients.id
                   WHERE "twilioNumber" = number_takes_messages.number AND current_state = 'COMPLETE'
                     AND "optedOutAt" IS NULL AND "unreachableAt" IS NULL);
END;

REVOKE EXECUTE ON FUNCTION number_takes_messages(TEXT) FROM PUBLIC;

-- What a link leads to, for the ingress, by the digest of its secret.
CREATE FUNCTION find_voicemail(digest BYTEA, OUT recording_sid TEXT, OUT expires_at TIMESTAMPTZ, OUT is_deleted BOOLEAN)
RETURNS SETOF RECORD
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT v.recording_sid, v.expires_at, v.deleted_at IS NOT NULL FROM voicemails v WHERE v.token_sha256 = find_voicemail.digest;
END;

REVOKE EXECUTE ON FUNCTION find_voicemail(BYTEA) FROM PUBLIC;
