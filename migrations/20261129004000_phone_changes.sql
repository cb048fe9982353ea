-- Changes of phone: a client moves to a new phone, by a code sent to its old one or by an operator.

CREATE TABLE phone_changes (
    id             BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The client that moves. Empty if no client moves: the old number is none's, and every code that is given will be wrong.
    client_id      TEXT,
    -- The client that the new phone was when it asked. Empty for a change by an operator, and once the two are one.
    newcomer_id    TEXT,
    -- Digits without the plus sign, as in `clients`.
    old_phone      TEXT        NOT NULL,
    new_phone      TEXT        NOT NULL,
    asked_at       TIMESTAMPTZ NOT NULL,
    -- The code, as HMAC-SHA256 with a key of its own. Both are forgotten when the request ends.
    code_key       BYTEA,
    code_hmac      BYTEA,
    expires_at     TIMESTAMPTZ,
    wrong_tries    INTEGER     NOT NULL DEFAULT 0,
    -- The text with the code, until its words are removed.
    message_id     BIGINT,
    -- The operator, if it is a change by one.
    operator       TEXT,
    -- When the code was given, or the operator asked.
    proved_at      TIMESTAMPTZ,
    ended_at       TIMESTAMPTZ,
    outcome        TEXT,

    CONSTRAINT phone_changes_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_phone_change_is_of_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT a_phone_change_is_asked_for_by_a_client FOREIGN KEY (newcomer_id) REFERENCES clients (id) ON DELETE SET NULL,
    CONSTRAINT a_code_is_sent_in_a_text FOREIGN KEY (message_id) REFERENCES messages (id) ON DELETE SET NULL,
    CONSTRAINT changed_phones_are_digits_without_plus
        CHECK (old_phone ~ '^[1-9][0-9]{6,14}$' AND new_phone ~ '^[1-9][0-9]{6,14}$'),
    CONSTRAINT a_code_is_a_keyed_sha256 CHECK (octet_length(code_hmac) = 32 AND octet_length(code_key) = 32),
    CONSTRAINT an_open_code_ends CHECK (code_hmac IS NULL OR expires_at IS NOT NULL),
    CONSTRAINT an_ended_phone_change_has_an_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT an_ended_phone_change_keeps_no_code CHECK (ended_at IS NULL OR (code_key IS NULL AND code_hmac IS NULL))
);

-- A new phone has one open request: a second one ends the first.
CREATE UNIQUE INDEX a_newcomer_has_one_open_request ON phone_changes (newcomer_id) WHERE proved_at IS NULL AND ended_at IS NULL;
CREATE INDEX phone_changes_of_a_newcomer ON phone_changes (newcomer_id);
CREATE INDEX phone_changes_of_a_client ON phone_changes (client_id, id);
CREATE INDEX phone_changes_by_old_phone ON phone_changes (old_phone, asked_at);
CREATE INDEX phone_changes_by_new_phone ON phone_changes (new_phone, asked_at);
CREATE INDEX phone_changes_with_a_text ON phone_changes (message_id);
CREATE INDEX open_phone_codes ON phone_changes (expires_at) WHERE code_hmac IS NOT NULL;
CREATE INDEX phone_changes_not_made ON phone_changes (ended_at) WHERE outcome <> 'moved';

-- The worker removes no client but the one whose phone has become another client's.
CREATE FUNCTION remove_newcomer(newcomer TEXT) RETURNS BIGINT
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH gone AS (
        DELETE FROM clients
        WHERE id = remove_newcomer.newcomer AND NOT "paymentActive" AND "twilioNumber" IS NULL
          AND EXISTS (SELECT FROM phone_changes c WHERE c.new_phone = clients."phoneNumber" AND c.proved_at IS NOT NULL
                                                  AND c.ended_at IS NULL)
        RETURNING id
    )
    SELECT count(*) FROM gone;
END;

REVOKE EXECUTE ON FUNCTION remove_newcomer(TEXT) FROM PUBLIC;
