-- The first of the tries of a chosen text: texts to one person are sent again in the order in which they were written at first. Empty
-- in rows of the previous version, and for texts to be dropped: then it is the text itself.
ALTER TABLE bulk_action_texts ADD COLUMN original_id BIGINT;
