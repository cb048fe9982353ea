-- What Stripe tells us of payments, and what follows for each client.

ALTER TABLE clients
    -- Rides in the client's payment link, and comes back with the payment. The payer sees it and could change it, so it
    -- cannot be guessed.
    ADD COLUMN "paymentReference" TEXT NOT NULL DEFAULT replace(gen_random_uuid()::TEXT, '-', ''),
    -- How the client's payment stood when the conversation last heard of it. `"paymentActive"` opens the gate, and may be
    -- set by hand.
    ADD COLUMN "paymentStanding"  TEXT NOT NULL DEFAULT 'none',
    ADD CONSTRAINT a_payment_reference_names_one_client UNIQUE ("paymentReference"),
    ADD CONSTRAINT a_payment_reference_is_what_stripe_takes CHECK ("paymentReference" ~ '^[A-Za-z0-9_-]{16,200}$'),
    ADD CONSTRAINT a_payment_standing_is_known CHECK ("paymentStanding" IN ('none', 'awaited', 'active', 'past_due', 'ended'));

-- What clients pay for. Its standing is worked out from everything that Stripe has told of it, in whatever order.
CREATE TABLE subscriptions (
    -- Stripe's name: 'sub_…', or the checkout session's, 'cs_…', of a payment without a subscription.
    id          TEXT        NOT NULL,
    -- Empty until the checkout arrives that names the client, or if it names none that we know.
    client_id   TEXT,
    standing    TEXT        NOT NULL DEFAULT 'none',
    -- When we first heard of it.
    heard_of_at TIMESTAMPTZ NOT NULL,

    CONSTRAINT subscriptions_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_subscription_is_a_clients FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE SET NULL,
    CONSTRAINT a_standing_is_known CHECK (standing IN ('none', 'awaited', 'active', 'past_due', 'ended'))
);

CREATE INDEX subscriptions_of_a_client ON subscriptions (client_id);

-- Everything that Stripe has told: what was read from each of its events.
CREATE TABLE payment_events (
    id                BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The event as it arrived.
    event_id          BIGINT,
    -- Stripe's name for it: 'evt_…'.
    stripe_id         TEXT        NOT NULL,
    -- Stripe's word for what happened: 'invoice.paid'.
    kind              TEXT        NOT NULL,
    -- When it happened, in whole seconds, by Stripe's clock.
    happened_at       TIMESTAMPTZ NOT NULL,
    -- Of what: empty for a refund, which names the payer alone.
    subscription_id   TEXT,
    customer_id       TEXT,
    payment_intent_id TEXT,
    -- The client's reference, as the checkout carries it.
    reference         TEXT,
    -- In the smallest unit of the currency: 2900 is £29.
    amount            BIGINT,
    currency          TEXT,
    -- What it says of how the payment stands, as the heart reads it; empty if it says nothing of that.
    fact              JSONB,

    CONSTRAINT payment_events_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_payment_event_happens_once UNIQUE (stripe_id),
    CONSTRAINT a_payment_event_arrived FOREIGN KEY (event_id) REFERENCES events (id) ON DELETE SET NULL,
    CONSTRAINT a_payment_event_is_of_a_subscription FOREIGN KEY (subscription_id) REFERENCES subscriptions (id)
);

CREATE INDEX payment_events_of_a_subscription ON payment_events (subscription_id, id);
CREATE INDEX payment_events_of_a_customer ON payment_events (customer_id);
CREATE INDEX payment_events_of_a_payment ON payment_events (payment_intent_id);
CREATE INDEX payment_events_as_they_arrived ON payment_events (event_id);
