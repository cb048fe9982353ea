-- The input of the floor: a row is a text, made before the clock starts. It is not logged, so reading it writes no WAL.
CREATE EXTENSION pg_walinspect;
CREATE SCHEMA floor;
CREATE UNLOGGED TABLE floor.input (
    n INT PRIMARY KEY,
    sid TEXT NOT NULL,
    phone TEXT NOT NULL,
    is_new BOOLEAN NOT NULL,
    payload JSONB NOT NULL,
    digest BYTEA NOT NULL,
    reply_sid TEXT NOT NULL,
    sent JSONB NOT NULL,
    sent_digest BYTEA NOT NULL,
    delivered JSONB NOT NULL,
    delivered_digest BYTEA NOT NULL
);
