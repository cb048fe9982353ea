-- no-transaction
-- Workers take the chosen texts that wait in this order.
CREATE INDEX CONCURRENTLY IF NOT EXISTS chosen_texts_in_order
    ON bulk_action_texts (action_id, (COALESCE(original_id, message_id)), message_id) WHERE outcome IS NULL;
