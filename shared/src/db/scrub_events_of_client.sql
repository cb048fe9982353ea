-- As `scrub_events.sql`, for the events that were processed since it passed them.
WITH own AS (
    SELECT id, kind, source, external_id FROM events WHERE client_id = $1 ORDER BY id FOR UPDATE
),
texts AS (
    INSERT INTO erasure_texts (erasure_id, twilio_sid)
    SELECT $2, external_id FROM own WHERE kind = 'text' AND source = 'twilio'
    ON CONFLICT ON CONSTRAINT an_erasure_names_a_text_once DO NOTHING
)
UPDATE events SET payload = jsonb_build_object('kind', events.kind), lane = 'erased:' || events.id, client_id = NULL, state = NULL
FROM own WHERE events.id = own.id
RETURNING events.id
