-- The delivery of alerts and all-clears to where the operator looks: a row for each alert that is open, or whose all-clear is not
-- delivered yet. It has no foreign key, because a delivery must never keep anybody from clearing an alert.
CREATE TABLE alert_deliveries (
    alert_id           BIGINT      NOT NULL,
    cause              TEXT        NOT NULL,
    -- Whether the alert may have been delivered: only then is its all-clear delivered.
    was_posted         BOOLEAN     NOT NULL DEFAULT FALSE,
    raise_delivered_at TIMESTAMPTZ,
    -- When the next attempt may be made; during an attempt, when it counts as cut off.
    due_at             TIMESTAMPTZ NOT NULL,
    -- The number of the latest attempt. It only grows, so that a late result of an earlier one is recognised.
    attempt            INTEGER     NOT NULL DEFAULT 0,
    -- Attempts in vain since the last success.
    failures           INTEGER     NOT NULL DEFAULT 0,

    CONSTRAINT an_alert_has_one_delivery PRIMARY KEY (alert_id)
);
