-- Which kind of account this database belongs to: a real one at Twilio, or the stand-in's. Texts, payments and numbers of
-- one mean nothing to the other.

-- No row until a program has started on the database; one from then on.
CREATE TABLE installation (
    one_row      BOOLEAN     NOT NULL DEFAULT TRUE,
    -- The name of this database's history: the stand-in keeps its own state under it.
    id           TEXT        NOT NULL DEFAULT replace(gen_random_uuid()::TEXT, '-', ''),
    account_kind TEXT        NOT NULL,
    marked_at    TIMESTAMPTZ NOT NULL,

    CONSTRAINT an_installation_is_one_row PRIMARY KEY (one_row),
    CONSTRAINT an_installation_has_no_other_row CHECK (one_row),
    CONSTRAINT an_account_is_real_or_a_stand_in CHECK (account_kind IN ('real', 'stand-in'))
);

-- A database that was in use before this step: the stand-in counted its SIDs, Twilio's are random.
INSERT INTO installation (account_kind, marked_at)
SELECT 'real', now() WHERE EXISTS (SELECT FROM messages WHERE twilio_sid !~ '^[A-Z]{2}0{12}');
