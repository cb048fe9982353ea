CREATE INDEX payment_events_of_a_charge ON payment_events (charge_id) WHERE charge_id IS NOT NULL;
