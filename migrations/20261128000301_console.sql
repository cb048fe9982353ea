-- The people who use the console, their sessions, and failed attempts to log in.

CREATE TABLE console_people (
    id            BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The name that the person logs in with, or that a trusted proxy gives: a word or an e-mail address, in small letters.
    name          TEXT        NOT NULL,
    role          TEXT        NOT NULL,
    -- Argon2id. Empty for a person who logs in by a link or through a proxy only.
    password_hash TEXT,
    created_at    TIMESTAMPTZ NOT NULL,
    -- Since when the person may not log in.
    disabled_at   TIMESTAMPTZ,
    last_login_at TIMESTAMPTZ,

    CONSTRAINT console_people_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_name_belongs_to_one_person UNIQUE (name),
    CONSTRAINT a_name_is_in_small_letters CHECK (name ~ '^[a-z0-9][a-z0-9._@+-]{0,99}$'),
    CONSTRAINT a_role_is_one_of_three CHECK (role IN ('viewer', 'operator', 'admin'))
);

-- A session is known by the SHA-256 of its secret, which only the browser has.
CREATE TABLE console_sessions (
    token_sha256 BYTEA       NOT NULL,
    person_id    BIGINT      NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ NOT NULL,

    CONSTRAINT console_sessions_are_known_by_token PRIMARY KEY (token_sha256),
    CONSTRAINT a_session_belongs_to_a_person FOREIGN KEY (person_id) REFERENCES console_people (id) ON DELETE CASCADE,
    CONSTRAINT a_session_token_is_a_sha256 CHECK (octet_length(token_sha256) = 32)
);

CREATE INDEX sessions_of_a_person ON console_sessions (person_id);
CREATE INDEX sessions_by_expiry ON console_sessions (expires_at);

-- A link that logs a person in, once.
CREATE TABLE console_login_links (
    token_sha256 BYTEA       NOT NULL,
    person_id    BIGINT      NOT NULL,
    expires_at   TIMESTAMPTZ NOT NULL,

    CONSTRAINT console_login_links_are_known_by_token PRIMARY KEY (token_sha256),
    CONSTRAINT a_login_link_belongs_to_a_person FOREIGN KEY (person_id) REFERENCES console_people (id) ON DELETE CASCADE,
    CONSTRAINT a_login_link_token_is_a_sha256 CHECK (octet_length(token_sha256) = 32)
);

CREATE INDEX login_links_of_a_person ON console_login_links (person_id);

-- How often logging in has failed lately, for a name ('name:ada') and for an address ('address:192.0.2.1').
CREATE TABLE console_login_failures (
    subject  TEXT        NOT NULL,
    failures INTEGER     NOT NULL,
    -- When the first of them happened.
    since    TIMESTAMPTZ NOT NULL,

    CONSTRAINT a_subject_has_one_count_of_failures PRIMARY KEY (subject),
    CONSTRAINT a_subject_is_short CHECK (char_length(subject) <= 120)
);

CREATE INDEX login_failures_by_age ON console_login_failures (since);
