-- The numbers that can be handed out, in the order they were seeded.
--
-- No foreign key and no uniqueness on `client_id`: operators mark numbers by hand with ids that are not clients. Who
-- really holds a number is written in `clients."twilioNumber"`.

CREATE TABLE twilio_number_pool (
    phone_e164  TEXT        NOT NULL,
    status      TEXT        NOT NULL DEFAULT 'AVAILABLE',
    client_id   TEXT,
    assigned_at TIMESTAMPTZ,
    -- The ISO 3166 country that the number belongs to.
    region      TEXT        NOT NULL DEFAULT 'GB',
    seed_order  BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    "phoneE164" TEXT        GENERATED ALWAYS AS (phone_e164) STORED,

    CONSTRAINT a_number_is_in_the_pool_once PRIMARY KEY (phone_e164),
    CONSTRAINT a_pool_number_is_e164 CHECK (phone_e164 ~ '^\+[1-9][0-9]{6,14}$'),
    CONSTRAINT a_number_is_available_or_assigned CHECK (status IN ('AVAILABLE', 'ASSIGNED')),
    CONSTRAINT a_pool_region_is_an_iso_country CHECK (region ~ '^[A-Z]{2}$')
);

CREATE INDEX available_numbers_in_seed_order ON twilio_number_pool (region, seed_order) WHERE status = 'AVAILABLE';
