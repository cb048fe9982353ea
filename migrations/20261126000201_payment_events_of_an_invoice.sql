CREATE INDEX payment_events_of_an_invoice ON payment_events (invoice_id) WHERE invoice_id IS NOT NULL;
