-- Deletes all that clients did. Numbers stay in the pool, and are available.
TRUNCATE clients, onboarding_states, events, messages, waiting_list, senders, alerts, alert_deliveries, opt_changes,
         subscriptions, payment_events, number_changes, restores, unrecorded_texts, bulk_actions, bulk_action_texts, erasures, erasure_texts,
         erased_opt_outs, calls, voicemails, cases, phone_changes,
         former_payment_references;
UPDATE twilio_number_pool
   SET status = 'AVAILABLE', client_id = NULL, assigned_at = NULL, last_client_id = NULL, cools_until = NULL, drained_at = NULL,
       taken_from_client_id = NULL;
UPDATE sending SET parked_at = NULL, probe_at = NULL, awaits_report = FALSE, unparked_at = NULL;
UPDATE stops SET stopped_at = NULL, stopped_by = NULL, why = NULL, started_at = NULL;
DELETE FROM apalis.jobs WHERE status <> 'Running';
