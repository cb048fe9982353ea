-- How far Twilio's list of texts that came in has been compared with the inbox.

-- One row. It begins with this step: what came in before belongs to whatever was there before.
CREATE TABLE audits (
    one_row       BOOLEAN     NOT NULL DEFAULT TRUE,
    -- Everything that came in before then is in the inbox.
    -- Ten minutes on at first, because each comparison looks ten minutes back.
    audited_until TIMESTAMPTZ NOT NULL DEFAULT now() + INTERVAL '10 minutes',
    -- When the next comparison is due.
    due_at        TIMESTAMPTZ NOT NULL DEFAULT now(),

    CONSTRAINT audits_are_one_row PRIMARY KEY (one_row),
    CONSTRAINT audits_have_no_other_row CHECK (one_row)
);

INSERT INTO audits DEFAULT VALUES;
