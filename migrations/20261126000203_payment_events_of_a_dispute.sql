CREATE INDEX payment_events_of_a_dispute ON payment_events (dispute_id) WHERE dispute_id IS NOT NULL;
