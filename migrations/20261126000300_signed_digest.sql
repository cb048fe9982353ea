-- What a webhook's signature covers, as the first half of its SHA-256. Twilio signs names and values without separators, so
-- that one signature fits many forms; all of them have this digest.
ALTER TABLE events ADD COLUMN signed_digest BYTEA;
