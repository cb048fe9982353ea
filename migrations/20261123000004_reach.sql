-- Who wants texts, and whom they reach.

-- Set while the network says that texts cannot reach the client's phone; a text from it proves otherwise.
ALTER TABLE clients ADD COLUMN "unreachableAt" TIMESTAMPTZ;

-- Every change of somebody's wish about texts: who, when, and what it was that said so.
CREATE TABLE opt_changes (
    id         BIGINT      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- E.164 without the plus sign, of a client or of anybody else who texted one of our numbers.
    phone      TEXT        NOT NULL,
    change     TEXT        NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    event_id   BIGINT,

    CONSTRAINT opt_changes_are_known_by_id PRIMARY KEY (id),
    CONSTRAINT a_wish_is_out_or_in CHECK (change IN ('out', 'in')),
    CONSTRAINT a_wish_was_uttered FOREIGN KEY (event_id) REFERENCES events (id) ON DELETE SET NULL,
    CONSTRAINT a_wish_is_uttered_once UNIQUE (event_id)
);

CREATE INDEX opt_changes_of_a_phone ON opt_changes (phone, id);
