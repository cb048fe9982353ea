-- Which payment an event is about. A refund or a dispute names a payment and no subscription, so it is found by these names.
ALTER TABLE payment_events
    -- 'in_…'.
    ADD COLUMN invoice_id TEXT,
    -- 'ch_…'.
    ADD COLUMN charge_id  TEXT,
    -- 'du_…', of a dispute only.
    ADD COLUMN dispute_id TEXT;
