-- Rows as a year of business leaves them. An exchange is a text in, a text out, and two delivery reports.

CREATE SCHEMA IF NOT EXISTS growing;

INSERT INTO clients (id, "phoneNumber") SELECT md5('client' || n)::UUID::TEXT, '4478' || lpad(n::TEXT, 8, '0')
FROM generate_series(0, 19999) AS n ON CONFLICT DO NOTHING;

-- Events as the ingress records them: numbers `first` to `first + count - 1`. SIDs and digests are random, as Twilio's are.
CREATE OR REPLACE FUNCTION growing.arrived(first BIGINT, count BIGINT)
RETURNS TABLE (place BIGINT, external_id TEXT, kind TEXT, lane TEXT, payload JSONB, signed_digest BYTEA, client_id TEXT)
LANGUAGE sql AS $$
    SELECT n, sid || status, kind, CASE kind WHEN 'text' THEN 'phone:' || phone ELSE 'message:' || n / 3 END,
           CASE kind WHEN 'text' THEN jsonb_build_object('kind', kind, 'from', '+' || phone, 'to', '+447476955179',
                                                         'body', 'Hello, this is text number ' || n)
                     ELSE jsonb_build_object('kind', kind, 'message_id', n / 3, 'sid', sid, 'status', substr(status, 2),
                                             'error_code', NULL, 'to', '+' || phone) END,
           decode(md5('digest' || n), 'hex'), CASE kind WHEN 'text' THEN md5('client' || n / 3 % 20000)::UUID::TEXT END
    FROM generate_series(first, first + count - 1) AS n,
         LATERAL (SELECT CASE n % 3 WHEN 0 THEN 'text' ELSE 'delivery_report' END AS kind,
                         (ARRAY['', ':sent', ':delivered'])[1 + n % 3] AS status,
                         CASE n % 3 WHEN 0 THEN 'SM' || md5('text' || n) ELSE 'SM' || md5('sid' || n / 3) END AS sid,
                         '4478' || lpad((n / 3 % 20000)::TEXT, 8, '0') AS phone) AS of $$;

-- Fills numbers `first` to `last` of `total`, spread over the twelve months before `until`, processed. `names` says whether the
-- names are kept in a narrow table.
CREATE OR REPLACE PROCEDURE growing.fill(first BIGINT, last BIGINT, total BIGINT, until TIMESTAMPTZ, names BOOLEAN)
LANGUAGE plpgsql AS $$
BEGIN
    FOR start IN first..last BY 50000 LOOP
        INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, client_id, state, received_at, processed_at,
                            outcome)
        SELECT 'twilio', external_id, kind, lane, payload, signed_digest, client_id,
               CASE WHEN client_id IS NOT NULL THEN 'COMPLETE' END, at, at + INTERVAL '50 milliseconds', 'applied'
        FROM growing.arrived(start, LEAST(50000, last - start + 1)),
             LATERAL (SELECT until - INTERVAL '1 year' * (1 - (place + 0.5) / total) AS at) AS received ORDER BY place;
        IF names THEN
            INSERT INTO event_names (source, external_id, signed_digest, received_at)
            SELECT source, external_id, signed_digest, received_at FROM events
            WHERE id BETWEEN start + 1 AND start + 50000 ORDER BY id;
        END IF;
        COMMIT;
    END LOOP;
END $$;

-- One text for each event that is a text, delivered.
CREATE OR REPLACE PROCEDURE growing.fill_messages(first BIGINT, last BIGINT) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO messages (status, client_id, event_id, kind, to_phone, from_number, body, attempts, claims, attempted_at,
                          twilio_sid, segments, encoding, expires_at, created_at, updated_at)
    SELECT 'delivered', client_id, id, 'already_live', payload ->> 'from', payload ->> 'to',
           'You are all set up: JobRun answers the calls that you miss. Text us whenever something changes.', 1, 1, processed_at,
           'SM' || md5('sid' || id), 1, 'gsm7', processed_at + INTERVAL '4 hours', processed_at,
           processed_at + INTERVAL '3 seconds'
    FROM events WHERE id BETWEEN first AND last AND kind = 'text' ORDER BY id;
    COMMIT;
END $$;
