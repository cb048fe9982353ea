-- A number that was taken from a client by hand, and is available at once, is for anybody but that client, until another
-- client has had it or it is released once more.
ALTER TABLE twilio_number_pool ADD COLUMN taken_from_client_id TEXT;
