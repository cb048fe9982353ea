-- Clients of before are looked at over a month, so that they are not all told in one night. Locked in the order of all transactions.
UPDATE clients SET "forwardingCheckAt" = now() + INTERVAL '1 day' + random() * INTERVAL '29 days'
FROM (SELECT id FROM clients WHERE "twilioNumber" IS NOT NULL AND "forwardingCheckAt" IS NULL ORDER BY id FOR NO KEY UPDATE) AS holder
WHERE clients.id = holder.id;
