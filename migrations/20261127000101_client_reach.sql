-- Who may be texted: the one place that says so. A client who opted out, or whom no text reaches, is sent nothing.
CREATE VIEW client_reach AS
SELECT id, "phoneNumber" AS phone, "optedOutAt" IS NULL AND "unreachableAt" IS NULL AS may_be_texted FROM clients;
