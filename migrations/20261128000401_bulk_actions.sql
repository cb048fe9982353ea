-- Actions of an operator on many texts: failed texts that are sent again, or waiting texts that are dropped. The texts are chosen
-- once, when the action begins, and workers handle them in batches.

CREATE TABLE bulk_actions (
    id          BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    action      TEXT        NOT NULL,
    -- The person of the console, or the user of the machine on which the command ran.
    who         TEXT        NOT NULL,
    via         TEXT        NOT NULL,
    why         TEXT        NOT NULL,
    -- What the texts were chosen by.
    filter      JSONB       NOT NULL,
    -- A secret of the form that began the action, so that a form sent twice begins one. Empty for a command.
    form_token  TEXT,
    begun_at    TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    -- How many texts were chosen, and what became of them once it was finished. Until then, `bulk_action_texts` has the counts.
    chosen      INTEGER     NOT NULL,
    done        INTEGER,
    skipped     INTEGER,

    CONSTRAINT bulk_actions_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_form_begins_one_action UNIQUE (form_token),
    CONSTRAINT a_bulk_action_replays_or_drops CHECK (action IN ('replay', 'drop')),
    CONSTRAINT a_bulk_action_came_from_the_console_or_a_command CHECK (via IN ('console', 'command')),
    CONSTRAINT a_bulk_action_has_a_doer_and_a_reason CHECK (who <> '' AND why <> ''),
    CONSTRAINT a_bulk_action_chose_a_text CHECK (chosen > 0),
    CONSTRAINT a_finished_bulk_action_has_its_counts
        CHECK ((finished_at IS NULL) = (done IS NULL) AND (finished_at IS NULL) = (skipped IS NULL)),
    CONSTRAINT a_filter_is_an_object CHECK (jsonb_typeof(filter) = 'object')
);

CREATE INDEX unfinished_bulk_actions ON bulk_actions (id) WHERE finished_at IS NULL;

-- The chosen texts. A row goes with its text, when that is older than `RETENTION`.
CREATE TABLE bulk_action_texts (
    action_id  BIGINT      NOT NULL,
    message_id BIGINT      NOT NULL,
    -- Empty while it waits for a worker.
    outcome    TEXT,
    -- Why it was skipped.
    reason     TEXT,
    settled_at TIMESTAMPTZ,

    CONSTRAINT a_bulk_action_chooses_a_text_once PRIMARY KEY (action_id, message_id),
    CONSTRAINT a_chosen_text_belongs_to_a_bulk_action FOREIGN KEY (action_id) REFERENCES bulk_actions (id) ON DELETE CASCADE,
    CONSTRAINT a_chosen_text_is_a_message FOREIGN KEY (message_id) REFERENCES messages (id) ON DELETE CASCADE,
    CONSTRAINT a_chosen_text_has_a_known_outcome CHECK (outcome IN ('replayed', 'dropped', 'skipped')),
    CONSTRAINT a_skipped_text_has_a_reason CHECK ((outcome IS NOT DISTINCT FROM 'skipped') = (reason IS NOT NULL)),
    CONSTRAINT a_settled_text_has_a_time CHECK ((outcome IS NULL) = (settled_at IS NULL))
);

CREATE INDEX bulk_actions_of_a_text ON bulk_action_texts (message_id);
CREATE INDEX chosen_texts_that_wait ON bulk_action_texts (action_id, message_id) WHERE outcome IS NULL;
