-- Begins a bulk action on queued texts, and chooses them: the newest that match. Those that are written later are not chosen.
WITH chosen AS (
    -- A status in the text of the query, and not as a parameter, is served by the index of its texts. The limit bounds the cost.
    SELECT m.id
    FROM (SELECT * FROM messages WHERE status = 'queued' AND id < 9223372036854775807 ORDER BY id DESC LIMIT $1) AS m
    WHERE ($2::TEXT[] IS NULL OR m.status = ANY($2)) AND (NOT $3 OR m.held_back)
      AND ($4::INT IS NULL OR m.error_code = $4) AND ($5::TEXT IS NULL OR m.kind = $5)
      AND ($6::TEXT IS NULL OR m.client_id = $6) AND ($7::TIMESTAMPTZ IS NULL OR m.created_at >= $7)
      AND ($8::TIMESTAMPTZ IS NULL OR m.created_at < $8) AND ($9::BIGINT[] IS NULL OR m.id = ANY($9))
      AND m.created_at <= $10
    ORDER BY m.id DESC LIMIT $11
), begun AS (
    INSERT INTO bulk_actions (action, who, via, why, filter, form_token, begun_at, chosen)
    SELECT $12, $13, $14, $15, $16, $17, $18, (SELECT count(*) FROM chosen) WHERE EXISTS (SELECT FROM chosen)
    ON CONFLICT ON CONSTRAINT a_form_begins_one_action DO NOTHING
    RETURNING id, chosen
), frozen AS (
    -- In the order of their ids, because each row locks its text for a moment.
    INSERT INTO bulk_action_texts (action_id, message_id)
    SELECT begun.id, chosen.id FROM begun, chosen WHERE NOT $19 ORDER BY chosen.id
)
-- A dry run ($19) is rolled back: it returns the texts, and spares the database their rows.
SELECT id, chosen, ARRAY(SELECT chosen.id FROM chosen WHERE $19 ORDER BY chosen.id DESC) AS "would_choose!" FROM begun
