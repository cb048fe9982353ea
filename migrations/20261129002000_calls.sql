-- Calls to live numbers, by which the owner is told how often a caller rang in a day. They are needed for a day, and removed a day
-- later: a stranger's number is kept no longer here.
CREATE TABLE calls (
    -- Twilio's CallSid: both reports of a call have it.
    sid       TEXT        NOT NULL,
    client_id TEXT        NOT NULL,
    -- E.164; empty if the number is withheld.
    caller    TEXT        NOT NULL,
    -- When its first report reached us.
    called_at TIMESTAMPTZ NOT NULL,
    -- Whether the owner was told of it.
    told      BOOLEAN     NOT NULL,

    CONSTRAINT a_call_counts_once PRIMARY KEY (sid),
    CONSTRAINT a_call_belongs_to_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT a_caller_is_in_e164_form_or_withheld CHECK (caller ~ '^(\+[1-9][0-9]{6,14})?$')
);

CREATE INDEX calls_of_a_caller ON calls (client_id, caller, called_at);
CREATE INDEX calls_by_time ON calls (called_at);
