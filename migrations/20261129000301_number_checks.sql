-- What `jobrun numbers check` found last: the console shows it, and has no credentials of Twilio to find it out.

-- One row, once a check has been made.
CREATE TABLE number_checks (
    one_row         BOOLEAN     NOT NULL DEFAULT TRUE,
    checked_at      TIMESTAMPTZ NOT NULL,
    -- The user of the machine on which the check ran.
    checked_by      TEXT        NOT NULL,
    -- PUBLIC_BASE_URL, with which the addresses were compared.
    public_base_url TEXT        NOT NULL,
    numbers         BIGINT      NOT NULL,
    with_problems   BIGINT      NOT NULL,

    CONSTRAINT number_checks_are_one_row PRIMARY KEY (one_row),
    CONSTRAINT number_checks_have_no_other_row CHECK (one_row),
    CONSTRAINT numbers_with_problems_are_numbers CHECK (with_problems BETWEEN 0 AND numbers)
);

-- The numbers of that check.
CREATE TABLE checked_numbers (
    -- The onboarding number, then the pool, then the others of the account.
    place    BIGINT NOT NULL,
    number   TEXT   NOT NULL,
    -- 'onboarding' or 'pool'; empty for a number that is not ours.
    purpose  TEXT,
    -- Empty if the account does not have it.
    sid      TEXT,
    -- Each with its name, field, words and advice.
    problems JSONB  NOT NULL DEFAULT '[]',

    CONSTRAINT a_checked_number_is_known_by_place PRIMARY KEY (place),
    CONSTRAINT a_checked_number_has_a_known_purpose CHECK (purpose IN ('onboarding', 'pool')),
    CONSTRAINT problems_are_a_list CHECK (jsonb_typeof(problems) = 'array')
);

CREATE INDEX checked_numbers_with_problems ON checked_numbers (place) WHERE problems <> '[]';
