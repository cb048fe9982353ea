-- When the client of a subscription was erased. Such a subscription belongs to no client, and does not wait to be assigned to one.
ALTER TABLE subscriptions ADD COLUMN erased_at TIMESTAMPTZ;
