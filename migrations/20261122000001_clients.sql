-- The people signing up, and the customers they become.
--
-- `clients."twilioNumber"` is the authority on who holds a number; the pool's row follows it.

CREATE TABLE clients (
    id              TEXT        NOT NULL DEFAULT gen_random_uuid()::TEXT,
    "businessName"  TEXT        NOT NULL DEFAULT '',
    -- An ISO 3166 country, or 'UK', which means GB.
    region          TEXT        NOT NULL DEFAULT 'UK',
    -- E.164 without the plus sign: '447900000001'.
    "phoneNumber"   TEXT        NOT NULL,
    "paymentActive" BOOLEAN     NOT NULL DEFAULT FALSE,
    -- E.164 with the plus sign: '+447111111111'.
    "twilioNumber"  TEXT,
    "createdAt"     TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Set while the client has asked for no more texts.
    "optedOutAt"    TIMESTAMPTZ,

    CONSTRAINT clients_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_client_id_is_not_empty CHECK (id <> ''),
    CONSTRAINT a_region_is_an_iso_country_or_uk CHECK (region ~ '^[A-Za-z]{2}$'),
    CONSTRAINT a_phone_belongs_to_one_client UNIQUE ("phoneNumber"),
    CONSTRAINT a_phone_is_digits_without_plus CHECK ("phoneNumber" ~ '^[1-9][0-9]{6,14}$'),
    CONSTRAINT a_twilio_number_is_e164 CHECK ("twilioNumber" ~ '^\+[1-9][0-9]{6,14}$')
);

-- Partial, so that handing out a number does not count as changing a key: rows that refer to the client, such as a text
-- on its way into `messages`, can then be written while the client is locked.
CREATE UNIQUE INDEX a_number_has_one_holder ON clients ("twilioNumber") WHERE "twilioNumber" IS NOT NULL;
