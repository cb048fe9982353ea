-- How the exchange of question and answer stands, besides the state. Empty where the previous version, or a person, put the
-- client there: then nothing is known, and nothing depends on it.

ALTER TABLE onboarding_states
    -- When the open question was asked: a text that arrived before is no answer to it.
    ADD COLUMN asked_at TIMESTAMPTZ,
    -- The text that led to the open question, and when it arrived: the same within seconds is a repeat.
    ADD COLUMN led_by TEXT,
    ADD COLUMN led_by_at TIMESTAMPTZ;
