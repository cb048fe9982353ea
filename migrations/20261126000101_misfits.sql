-- How many texts in a row have fitted no question. With the client and not with its state: a client who has answered nothing yet
-- has no row there, and stays without one.

ALTER TABLE clients ADD COLUMN misfits INTEGER NOT NULL DEFAULT 0;
