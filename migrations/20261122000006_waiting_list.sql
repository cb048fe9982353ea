-- Clients who paid while there was no number for them. Longest wait first; a row goes when its client gets a number.

CREATE TABLE waiting_list (
    client_id   TEXT        NOT NULL,
    -- The ISO 3166 country in which the client needs a number.
    region      TEXT        NOT NULL,
    joined_at   TIMESTAMPTZ NOT NULL,
    -- What the client was told: a number by then.
    promised_by TIMESTAMPTZ NOT NULL,
    -- A number is kept free for this client. Past `held_until` the place may pass to the next in line.
    held_at     TIMESTAMPTZ,
    held_until  TIMESTAMPTZ,
    -- How many holds were let lapse; who let fewer lapse comes first.
    lapsed      INTEGER     NOT NULL DEFAULT 0,

    CONSTRAINT a_client_waits_once PRIMARY KEY (client_id),
    CONSTRAINT who_waits_is_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT a_hold_has_a_beginning_and_an_end CHECK ((held_at IS NULL) = (held_until IS NULL)),
    CONSTRAINT a_waiting_region_is_an_iso_country CHECK (region ~ '^[A-Z]{2}$')
);

CREATE INDEX waiting_in_order ON waiting_list (region, lapsed, joined_at, client_id);
