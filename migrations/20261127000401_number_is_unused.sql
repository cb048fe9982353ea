-- Whether a called number is in the pool and no client holds it. The ingress asks this function, and needs no right to read clients.
-- The body is bound to the tables now, and temporary tables come last in the search path: no caller can put tables of its own in
-- their place.
CREATE FUNCTION number_is_unused(number TEXT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM twilio_number_pool WHERE phone_e164 = number_is_unused.number)
       AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = number_is_unused.number);
END;

REVOKE EXECUTE ON FUNCTION number_is_unused(TEXT) FROM PUBLIC;
