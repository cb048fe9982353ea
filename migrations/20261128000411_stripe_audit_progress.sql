-- Where the comparison with Stripe's list goes on, and how long Stripe wants no requests.
ALTER TABLE stripe_audits
    -- Where the next step begins: a step that did not reach the present is followed at once, without an overlap. Empty if only
    -- `audited_until` is known.
    ADD COLUMN resume_at   TIMESTAMPTZ,
    -- Until then Stripe takes no requests: it said so (Retry-After). Empty if it never did.
    ADD COLUMN quiet_until TIMESTAMPTZ;
