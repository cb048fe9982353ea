-- What was bought at Twilio, and what was meant to be: an answer that was lost is not a purchase that was lost.

-- One row for each purchase, committed before Twilio is asked: whoever is killed in between leaves it 'intended', and the
-- next run finds out what became of it.
CREATE TABLE number_purchases (
    id          BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- E.164 with the plus sign.
    number      TEXT        NOT NULL,
    -- The ISO 3166 country in which it was looked for, and Twilio's type of it.
    country     TEXT        NOT NULL,
    number_type TEXT        NOT NULL,
    state       TEXT        NOT NULL DEFAULT 'intended',
    -- When Twilio was last going to be asked.
    intended_at TIMESTAMPTZ NOT NULL,
    -- When it was known what came of it.
    settled_at  TIMESTAMPTZ,
    -- Twilio's name for the number.
    sid         TEXT,
    -- Why it was not bought.
    why         TEXT,

    CONSTRAINT number_purchases_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_purchased_number_is_e164 CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    CONSTRAINT a_purchase_is_in_an_iso_country CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT a_number_type_is_known CHECK (number_type IN ('mobile', 'local', 'national', 'toll-free')),
    CONSTRAINT a_purchase_is_intended_or_settled CHECK (state IN ('intended', 'bought', 'not_bought')),
    CONSTRAINT a_settled_purchase_was_settled_at_a_time CHECK ((state = 'intended') = (settled_at IS NULL)),
    CONSTRAINT a_bought_number_has_a_sid CHECK ((state = 'bought') = (sid IS NOT NULL)),
    CONSTRAINT what_was_not_bought_has_a_reason CHECK ((state = 'not_bought') = (why IS NOT NULL))
);

CREATE UNIQUE INDEX a_number_is_intended_once ON number_purchases (number) WHERE state = 'intended';
CREATE INDEX numbers_bought_lately ON number_purchases (settled_at) WHERE state = 'bought';
