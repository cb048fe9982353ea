-- Whether a called number is in the pool and no client holds it. The ingress asks this function, and needs no right to read clients.
CREATE FUNCTION number_is_unused(number TEXT) RETURNS BOOLEAN
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT EXISTS (SELECT FROM twilio_number_pool WHERE phone_e164 = number)
       AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = number)
$$;
