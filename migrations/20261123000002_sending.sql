-- What all senders share: whether sending is parked, and how fast each number may send.

-- One row. While the account is refused, nothing is sent but now and then one text, to see whether it still is.
CREATE TABLE sending (
    one_row      BOOLEAN     NOT NULL DEFAULT TRUE,
    parked_at    TIMESTAMPTZ,
    -- When the next text may go out to see.
    probe_at     TIMESTAMPTZ,
    -- Whether Twilio takes texts and refuses them later: then only a report that one left shows that all is well.
    awaits_report BOOLEAN    NOT NULL DEFAULT FALSE,
    -- Refusals of attempts that began before then are old news.
    unparked_at  TIMESTAMPTZ,

    CONSTRAINT sending_is_one_row PRIMARY KEY (one_row),
    CONSTRAINT sending_has_no_other_row CHECK (one_row),
    CONSTRAINT what_is_parked_is_probed CHECK ((parked_at IS NULL) = (probe_at IS NULL))
);

INSERT INTO sending DEFAULT VALUES;

-- Twilio takes so many segments a second from each number.
CREATE TABLE senders (
    -- E.164 with the plus sign.
    number  TEXT        NOT NULL,
    -- When everything charged so far will have left.
    free_at TIMESTAMPTZ NOT NULL,

    CONSTRAINT a_sender_is_charged_once PRIMARY KEY (number)
);
