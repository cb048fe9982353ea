-- How far Stripe's list of events has been compared with the inbox, and which subscriptions Stripe is to be asked about. Both are
-- used only with an API key.

-- One row.
CREATE TABLE stripe_audits (
    one_row       BOOLEAN     NOT NULL DEFAULT TRUE,
    -- Every event that happened before then is in the inbox. Empty until the first comparison has got anywhere.
    audited_until TIMESTAMPTZ,
    -- When the next comparison is due.
    due_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Since when the list cannot be read; empty if it can.
    failing_since TIMESTAMPTZ,

    CONSTRAINT stripe_audits_are_one_row PRIMARY KEY (one_row),
    CONSTRAINT stripe_audits_have_no_other_row CHECK (one_row)
);

INSERT INTO stripe_audits DEFAULT VALUES;

-- When Stripe is to be asked for the status, because events contradict each other or were missed; empty if it need not be.
ALTER TABLE subscriptions ADD COLUMN ask_at TIMESTAMPTZ;
