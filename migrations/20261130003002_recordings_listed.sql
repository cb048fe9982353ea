-- How far Twilio's list of recordings has been compared with ours. Empty until the first comparison.
ALTER TABLE audits ADD COLUMN recordings_until TIMESTAMPTZ;
