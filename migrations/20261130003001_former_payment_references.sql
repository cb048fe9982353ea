-- Clients that were removed because their phones became other clients' phones. A payment by the link of one is the other's, and so are
-- the audit log's entries about it.
CREATE TABLE former_payment_references (
    reference TEXT NOT NULL,
    -- The client that has the phone now. It has a reference of its own in `clients`.
    client_id TEXT NOT NULL,
    -- The client that was removed, whose reference it was.
    former_client_id TEXT NOT NULL,

    CONSTRAINT a_former_payment_reference_names_one_client PRIMARY KEY (reference),
    CONSTRAINT a_former_payment_reference_is_of_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE
);

CREATE INDEX former_payment_references_of_a_client ON former_payment_references (client_id);
