-- Takeovers: an operator speaks with a client, and the conversation is silent meanwhile.

ALTER TABLE clients
    -- The operator.
    ADD COLUMN "takenOverBy"      TEXT,
    -- When either side last said something.
    ADD COLUMN "takenOverAt"      TIMESTAMPTZ,
    -- The minutes of silence that end the takeover. Empty if only the operator ends it.
    ADD COLUMN "takenOverMinutes" INTEGER;

ALTER TABLE clients
    ADD CONSTRAINT a_takeover_has_an_operator_and_a_time
        CHECK (("takenOverBy" IS NULL) = ("takenOverAt" IS NULL)) NOT VALID,
    ADD CONSTRAINT a_silence_belongs_to_a_takeover
        CHECK ("takenOverMinutes" IS NULL OR ("takenOverMinutes" > 0 AND "takenOverBy" IS NOT NULL)) NOT VALID;
