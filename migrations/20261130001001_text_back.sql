-- Texts to the callers of missed calls: whether a client wants them, and which callers were texted.

ALTER TABLE clients
    -- Whether the client wants its callers texted back.
    ADD COLUMN "textBack"        BOOLEAN NOT NULL DEFAULT FALSE,
    -- When it was asked, or chose unasked.
    ADD COLUMN "textBackAskedAt" TIMESTAMPTZ;

-- Whether a text to the caller followed from this call.
ALTER TABLE calls ADD COLUMN texted_back BOOLEAN NOT NULL DEFAULT FALSE;
