-- Alerts and all-clears are delivered to where the operator looks, each once. An alert that is cleared before it was delivered is
-- not delivered at all.
ALTER TABLE alerts
    ADD COLUMN raise_delivered_at TIMESTAMPTZ,
    ADD COLUMN clear_delivered_at TIMESTAMPTZ,
    -- When the next attempt may be made; during an attempt, when it counts as cut off.
    ADD COLUMN delivery_due_at    TIMESTAMPTZ,
    ADD COLUMN delivery_attempts  INTEGER NOT NULL DEFAULT 0;
