-- Reminders: a client who falls silent before it is live is asked again.

ALTER TABLE clients
    -- When the sweep looks at the client next, to see whether a reminder is due; empty if none is due until the client moves on. It is
    -- not kept up to date with each text, so that conversations need not write it: the sweep finds out then.
    ADD COLUMN "remindAt" TIMESTAMPTZ;

-- Not for clients of before: a reminder of a sign-up of long ago would surprise them.
ALTER TABLE clients ALTER COLUMN "remindAt" SET DEFAULT now() + INTERVAL '1 hour';
