-- A text that matters and would be one too many is sent later: not before this time. Empty for every other text.

ALTER TABLE messages ADD COLUMN deferred_until TIMESTAMPTZ;
