-- Which clients may be offered a number by a text: those who may be texted, and whom no operator has taken over.
CREATE OR REPLACE VIEW client_reach AS
SELECT id, "phoneNumber" AS phone, "twilioNumber" AS number, "paymentActive" AS payment_active,
       "optedOutAt" IS NULL AND "unreachableAt" IS NULL AS may_be_texted,
       "optedOutAt" IS NULL AND "unreachableAt" IS NULL
           AND ("takenOverBy" IS NULL
                OR COALESCE("takenOverAt" + make_interval(mins => "takenOverMinutes") <= now(), FALSE)) AS may_be_offered
FROM clients;
