-- The roles of the programs, with no more rights than each needs. Applied by `jobrun migrate --roles` after the migrations, by the
-- role that owns the tables, and safe to repeat: a later version may grant more. None of them may log in: grant each to the role
-- that does, `GRANT jobrun_ingress TO my_login`.

DO $$
DECLARE
    role TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['jobrun_ingress', 'jobrun_worker', 'jobrun_console', 'jobrun_reader'] LOOP
        -- Roles are shared by all databases of a server; another run may make the same one now.
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I, apalis TO %I', current_schema(), role);
    END LOOP;
    -- Nobody else makes tables here, not even temporary ones: no program does.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
END
$$;

-- All of them see whether the database is migrated, and whose it is.
GRANT SELECT ON _sqlx_migrations, installation TO jobrun_ingress, jobrun_worker, jobrun_console, jobrun_reader;
GRANT SELECT ON apalis._sqlx_migrations TO jobrun_ingress, jobrun_worker, jobrun_console, jobrun_reader;

-- The ingress adds events and jobs, and reads of events only the names, by which it knows a repeat. It sees no client, no text and
-- no number: whether a called number is unused, a function says.
GRANT INSERT (source, external_id, kind, lane, payload, signed_digest, traceparent, received_at), SELECT (source, external_id)
    ON events TO jobrun_ingress;
GRANT INSERT ON apalis.jobs TO jobrun_ingress;
GRANT SELECT (due_at), UPDATE (due_at) ON audits, stripe_audits TO jobrun_ingress;
GRANT INSERT (one_row, account_kind, marked_at) ON installation TO jobrun_ingress, jobrun_worker;
-- It raises one alert: that signatures are not enforced.
GRANT INSERT (cause, about, raised_at, last_seen_at), SELECT (id, cause, times, last_seen_at, cleared_at),
    UPDATE (times, last_seen_at, cleared_at) ON alerts TO jobrun_ingress;
GRANT EXECUTE ON FUNCTION number_is_unused(TEXT), number_takes_messages(TEXT), find_voicemail(BYTEA) TO jobrun_ingress;

-- The worker reads and writes every table of ours. It deletes only what is over, and never a payment or an alert; a client only by a function, when its
-- phone becomes another client's.
GRANT SELECT, INSERT, UPDATE ON alert_deliveries, alerts, audits, clients, events, leases, messages, number_changes, number_purchases,
    onboarding_states, opt_changes, payment_events, senders, sending, stripe_audits, subscriptions, sweeps, twilio_number_pool,
    waiting_list TO jobrun_worker;
GRANT SELECT ON client_reach TO jobrun_worker, jobrun_console, jobrun_reader;
GRANT SELECT ON restores TO jobrun_worker, jobrun_console, jobrun_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON phone_changes TO jobrun_worker;
GRANT EXECUTE ON FUNCTION remove_newcomer(TEXT) TO jobrun_worker;
GRANT SELECT, INSERT (reference, client_id, former_client_id), UPDATE (client_id) ON former_payment_references TO jobrun_worker;
GRANT SELECT ON former_payment_references TO jobrun_console, jobrun_reader;
-- The digests of codes are the worker's alone. A text with a code keeps it until the code is used or over.
GRANT SELECT (id, client_id, newcomer_id, old_phone, new_phone, asked_at, expires_at, wrong_tries, message_id, operator, proved_at,
    ended_at, outcome) ON phone_changes TO jobrun_console, jobrun_reader;
GRANT SELECT ON erased_opt_outs TO jobrun_worker, jobrun_reader;
GRANT SELECT (client_id, finished_at) ON erasures TO jobrun_worker;
GRANT SELECT ON erasures, erasure_texts TO jobrun_console, jobrun_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON cases TO jobrun_worker;
GRANT SELECT ON cases TO jobrun_console, jobrun_reader;
GRANT UPDATE (closed_at, closed_by, why) ON cases TO jobrun_console;
GRANT SELECT ON stops TO jobrun_worker, jobrun_console, jobrun_reader;
GRANT SELECT ON number_checks, checked_numbers TO jobrun_console, jobrun_reader;
GRANT SELECT, DELETE ON unrecorded_texts TO jobrun_worker;
GRANT SELECT ON unrecorded_texts TO jobrun_console, jobrun_reader;
GRANT DELETE ON alert_deliveries, events, messages, waiting_list TO jobrun_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON calls TO jobrun_worker;
GRANT SELECT ON calls TO jobrun_console, jobrun_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON voicemails TO jobrun_worker;
-- A digest in a copy leads to no message.
GRANT SELECT ON voicemails TO jobrun_console, jobrun_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON apalis.jobs, apalis.workers TO jobrun_worker;

-- The console reads everything, and acts by adding events, as everything else does. It also clears alerts.
GRANT SELECT ON ALL TABLES IN SCHEMA apalis TO jobrun_console;
-- Texts are chosen by the console and by the command, and handled by the worker.
GRANT SELECT, UPDATE ON bulk_actions, bulk_action_texts TO jobrun_worker;
GRANT SELECT ON bulk_actions, bulk_action_texts TO jobrun_console, jobrun_reader;
GRANT INSERT (action, who, via, why, filter, form_token, begun_at, chosen) ON bulk_actions TO jobrun_console;
GRANT INSERT (action_id, message_id, original_id) ON bulk_action_texts TO jobrun_console;
GRANT SELECT ON alert_deliveries, alerts, audits, clients, events, leases, messages, number_changes, number_purchases, onboarding_states, opt_changes,
    payment_events, senders, sending, stripe_audits, subscriptions, sweeps, twilio_number_pool, waiting_list
    TO jobrun_console, jobrun_reader;
GRANT INSERT (source, external_id, kind, lane, payload, signed_digest, traceparent, received_at) ON events TO jobrun_console;
GRANT INSERT ON apalis.jobs TO jobrun_console;
GRANT UPDATE (cleared_at) ON alerts TO jobrun_console;
GRANT UPDATE (stopped_at, stopped_by, why, started_at) ON stops TO jobrun_console;
-- The time of a stop is added to the holds.
GRANT UPDATE (held_until) ON waiting_list TO jobrun_console;
-- It logs people in, whom only the owner adds, disables and gives a role. It writes what they did, and changes none of it.
GRANT SELECT, UPDATE (password_hash, last_login_at) ON console_people TO jobrun_console;
GRANT SELECT, INSERT, DELETE ON console_sessions TO jobrun_console;
GRANT SELECT, DELETE ON console_login_links TO jobrun_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON console_login_failures TO jobrun_console;
GRANT SELECT, INSERT ON audit_log TO jobrun_console;

-- The reader reads everything, for reports and boards, and changes nothing.
GRANT SELECT ON ALL TABLES IN SCHEMA apalis TO jobrun_reader;
GRANT SELECT ON audit_log TO jobrun_reader;
-- Of the console's people, it sees no hash of a password or of a session.
GRANT SELECT (id, name, role, created_at, disabled_at, last_login_at) ON console_people TO jobrun_reader;
GRANT SELECT (person_id, created_at, expires_at) ON console_sessions TO jobrun_reader;
GRANT SELECT (person_id, expires_at) ON console_login_links TO jobrun_reader;
GRANT SELECT ON console_login_failures TO jobrun_reader;
