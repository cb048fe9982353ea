-- Checks of the forwarding of live clients: tests that they ask for, and the news that no call has come for long.

ALTER TABLE clients
    -- When the client asked for the test of its forwarding that is not over yet.
    ADD COLUMN "testAskedAt"       TIMESTAMPTZ,
    -- When the sweep looks at the client's forwarding next; empty until the client is live. A call does not move it: the sweep finds
    -- out then when the last one came.
    ADD COLUMN "forwardingCheckAt" TIMESTAMPTZ,
    -- When the client was last told that no call has come for long. The text itself is removed after RETENTION.
    ADD COLUMN "noCallsToldAt"     TIMESTAMPTZ;
