-- Where each client stands in the conversation, and what it has told us.
-- A client without a row stands at S1.

CREATE TABLE onboarding_states (
    client_id        TEXT        NOT NULL,
    current_state    TEXT        NOT NULL,
    collected_fields JSONB       NOT NULL DEFAULT '{}',
    updated_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    "clientId"       TEXT        GENERATED ALWAYS AS (client_id) STORED,
    "currentState"   TEXT        GENERATED ALWAYS AS (current_state) STORED,

    CONSTRAINT a_client_has_one_state PRIMARY KEY (client_id),
    CONSTRAINT a_state_belongs_to_a_client FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT a_state_is_one_of_ten CHECK (current_state IN (
        'S1_BUSINESS_TYPE_LOCATION', 'S2_BUSINESS_NAME', 'S3_OWNER_NAME', 'S4_NOTIFICATION_PREF', 'S5_CONFIRM_LIVE',
        'S6_PHONE_TYPE', 'S7_FWD_SENT', 'S8_FWD_CONFIRM', 'S9_TEST_CALL', 'COMPLETE'
    )),
    CONSTRAINT collected_fields_is_an_object CHECK (jsonb_typeof(collected_fields) = 'object')
);
