-- Which clients may be texted, for every query that asks. A client who opted out, or whom no text reaches, is sent nothing.
-- The other columns spare these queries a second look at `clients`.
CREATE VIEW client_reach AS
SELECT id, "phoneNumber" AS phone, "twilioNumber" AS number, "paymentActive" AS payment_active,
       "optedOutAt" IS NULL AND "unreachableAt" IS NULL AS may_be_texted
FROM clients;
