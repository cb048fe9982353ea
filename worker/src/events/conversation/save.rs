//! Writes the decisions of a batch: clients, texts, opt-outs, outcomes, alerts. It decides nothing.

use chrono::{DateTime, Utc};
use jobrun_onboarding::calls::{KeptRecording, LINK_LASTS};
use jobrun_onboarding::forwarding_checks::FIRST_LOOK_AFTER;
use jobrun_onboarding::loop_guard::Admission;
use jobrun_onboarding::phone_change::{OLD_PHONE_HEARD_FOR, PhoneChangeStep};
use jobrun_onboarding::reminders::LOOK_AGAIN_AFTER;
use jobrun_onboarding::{Client, Concern, E164, MISFITS_MAX, Takeover, TextKind};
use jobrun_shared::alerts::texts;
use jobrun_shared::cases::of_causes;
use jobrun_shared::db;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::calls;
use jobrun_shared::db::cases;
use jobrun_shared::db::clients::{self, ConversationProgress, OptChangeRecord};
use jobrun_shared::db::forwarding_checks::{self, NextLook, TestChange};
use jobrun_shared::db::inbox::{self, NewEvent, Outcome};
use jobrun_shared::db::outbox::{self, NewMessage};
use jobrun_shared::db::voicemails::{self, NewVoicemail};
use jobrun_shared::db::{phone_changes, reminders, text_back};
use sqlx::PgConnection;

use super::work::ClientWork;

/// Writes the decisions of a batch. The numbers that the pool gave are written already, in the same transaction. Returns the new
/// alerts, and the causes of the resolved ones.
pub(super) async fn save(
    conn: &mut PgConnection,
    batch: &mut [ClientWork],
    now: DateTime<Utc>,
) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    drop_texts_sent_before(conn, batch).await?;
    find_old_phones(conn, batch, now).await?;
    let mut raised = apply_loop_guard(conn, batch, now).await?;
    raised.extend(batch.iter().flat_map(ClientWork::unreachable_payer_alerts));
    raised.extend(batch.iter().filter_map(ClientWork::pool_empty_alert));
    raised.extend(batch.iter().filter_map(ClientWork::missed_service_alert));
    raised.extend(batch.iter().flat_map(ClientWork::concern_alerts));
    let progress: Vec<ConversationProgress<'_>> = batch
        .iter()
        .filter(|work| work.moved)
        .map(|work| &work.loaded.client)
        .map(|client| ConversationProgress {
            client_id: &client.id,
            state: client.state,
            collected: &client.collected,
            exchange: &client.exchange,
        })
        .collect();
    clients::save_progress(conn, &progress, now).await?;
    let misfits = batch.iter().filter(|work| work.misfits_changed).map(|work| &work.loaded.client);
    let misfits: Vec<(&str, u32)> = misfits.map(|client| (client.id.as_str(), client.exchange.misfits)).collect();
    clients::save_misfits(conn, &misfits).await?;
    let payment_updates: Vec<clients::PaymentUpdate<'_>> =
        batch.iter().filter_map(ClientWork::payment_update).collect();
    clients::save_payments(conn, &payment_updates).await?;
    save_reachability(conn, batch, now).await?;
    let takeovers = batch.iter().filter(|work| work.takeover_changed).map(|work| &work.loaded.client);
    let takeovers: Vec<(&str, Option<&Takeover>)> =
        takeovers.map(|client| (client.id.as_str(), client.takeover.as_ref())).collect();
    clients::save_takeovers(conn, &takeovers).await?;

    let choices = batch.iter().filter_map(ClientWork::text_back_choice);
    text_back::save(conn, &choices.collect::<Vec<_>>(), now).await?;

    // What the conversation said before waits no longer when an operator speaks.
    let taken_over = batch.iter().filter(|work| work.was_taken_over).map(|work| work.loaded.client.id.as_str());
    outbox::drop_automatic_to(conn, &taken_over.collect::<Vec<_>>(), now).await?;
    // A second try is dropped if the client has moved on or gets another text that matters. A reminder does not repeat the text.
    let goes_on = |work: &&ClientWork| work.went_on || work.texts.iter().any(|text| text.text.kind.matters());
    let went_on = batch.iter().filter(goes_on);
    let went_on: Vec<&str> = went_on.map(|work| work.loaded.client.id.as_str()).collect();
    outbox::drop_second_tries_to(conn, &went_on, now).await?;
    let texts: Vec<NewMessage> = batch.iter().flat_map(|work| work.texts.clone()).collect();
    outbox::insert(conn, &texts, now).await?;
    let counted =
        batch.iter().flat_map(|work| work.calls.counted.iter().map(|call| (work.loaded.client.id.as_str(), call)));
    calls::insert(conn, &counted.collect::<Vec<_>>()).await?;
    voicemails::insert(conn, &new_voicemails(batch, now), now).await?;
    let look_at = now + LOOK_AGAIN_AFTER;
    let silent = batch.iter().filter_map(|work| Some((work.begins_a_silence(look_at)?, Some(look_at))));
    reminders::save_next(conn, &silent.collect::<Vec<_>>()).await?;
    save_phone_steps(conn, batch, now).await?;
    let tests: Vec<TestChange<'_>> = batch.iter().filter_map(ClientWork::test_change).collect();
    forwarding_checks::save_tests(conn, &tests).await?;
    let first_look = now + FIRST_LOOK_AFTER;
    let live = batch.iter().filter_map(|work| work.goes_live(first_look));
    let live: Vec<NextLook<'_>> =
        live.map(|client_id| NextLook { client_id, at: Some(first_look), told_at: None }).collect();
    forwarding_checks::save_next(conn, &live).await?;
    let follow_ups: Vec<NewEvent> = batch.iter().flat_map(|work| work.follow_ups.clone()).collect();
    inbox::insert(conn, &follow_ups, now).await?;

    let outcomes: Vec<Outcome> = batch.iter().flat_map(|work| work.outcomes.clone()).collect();
    inbox::mark_processed(conn, &outcomes, now).await?;
    tracing::debug!(clients = batch.len(), events = outcomes.len(), texts = texts.len(), "saved a batch");
    let cleared = clear_alerts(conn, batch, now).await?;
    // Alerts are locked before cases, as by operators who close one.
    let new = alerts::raise(conn, &raised, now).await?;
    save_cases(conn, batch, &cleared, now).await?;
    Ok((new, cleared))
}

/// Clears the alerts that end now. Hardly any client has one, so the causes are only written out for those who do.
async fn clear_alerts(
    conn: &mut PgConnection,
    batch: &[ClientWork],
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    let resolve = batch.iter().filter(|work| work.resolved_causes().next().is_some());
    let ids: Vec<&str> = resolve.map(|work| work.loaded.client.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let concerned = alerts::list_open_subjects(conn, &ids).await?;
    let concerned = batch.iter().filter(|work| concerned.contains(&work.loaded.client.id));
    alerts::clear(conn, &concerned.flat_map(ClientWork::resolved_causes).collect::<Vec<_>>(), now).await
}

/// Finds out about the phones of clients who need a person, because they may be reporting a theft: see
/// [`ClientWork::add_old_phone`]. Does not query if there are none, as is usual.
async fn find_old_phones(
    conn: &mut PgConnection,
    batch: &mut [ClientWork],
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    let mut need: Vec<&mut ClientWork> = batch.iter_mut().filter(|work| work.person_wanted).collect();
    if need.is_empty() {
        return Ok(());
    }
    let phones: Vec<&str> = need.iter().map(|work| work.loaded.client.owner_phone.digits()).collect();
    let mut old = phone_changes::list_of_old_phones(conn, &phones, now - OLD_PHONE_HEARD_FOR).await?;
    for work in &mut need {
        if let Some(found) = old.remove(work.loaded.client.owner_phone.digits()) {
            work.add_old_phone(found);
        }
    }
    Ok(())
}

/// Closes the cases whose alerts have ended, and those of clients that were handed back. Then opens new ones.
async fn save_cases(
    conn: &mut PgConnection,
    batch: &[ClientWork],
    cleared: &[String],
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    for work in batch {
        if let Some(by) = &work.handed_back_by {
            cases::close_answered(conn, &work.loaded.client.id, by, now).await?;
        }
    }
    cases::close_kinds(conn, &of_causes(cleared), "the conversation", now).await?;
    let mut opened = Vec::new();
    for work in batch {
        let mut last_misfits = work.last_misfits.iter();
        for mut case in work.new_cases() {
            // A misunderstanding is known by the whole row of texts, which only the events have.
            if case.kind == Concern::Stuck.case()
                && let Some(last) = last_misfits.next()
            {
                case.said = misfits_up_to(conn, &case.client_id, *last).await?;
            }
            opened.push(case);
        }
    }
    cases::open(conn, &opened, now).await
}

/// Returns the row of texts that were not understood, with the event `last` at its end, each in one line. All of them fit into a case.
async fn misfits_up_to(conn: &mut PgConnection, client_id: &str, last: i64) -> Result<Vec<String>, db::Error> {
    let bodies = inbox::list_not_understood(conn, client_id, last, i64::from(MISFITS_MAX)).await?;
    let chars_max = cases::SAID_CHARS_MAX as usize / MISFITS_MAX as usize - 1;
    let in_a_line = |body: &String| body.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(bodies.iter().map(|body| in_a_line(body).chars().take(chars_max).collect()).collect())
}

/// Saves what became of requests for a change of phone. They are locked.
async fn save_phone_steps(conn: &mut PgConnection, batch: &[ClientWork], now: DateTime<Utc>) -> Result<(), db::Error> {
    for (id, step) in batch.iter().flat_map(|work| &work.phone_steps) {
        match step {
            PhoneChangeStep::WrongTry => phone_changes::count_wrong(conn, *id).await?,
            PhoneChangeStep::Proved => phone_changes::save_proved(conn, *id, now).await?,
            PhoneChangeStep::Over => phone_changes::end(conn, *id, "no_right_code", now).await?,
            PhoneChangeStep::Asked(_) => {}
        }
    }
    Ok(())
}

/// Returns the digest of the secret at the end of a link.
fn digest_of_link(link: &str) -> Vec<u8> {
    jobrun_credentials::digest(link.rsplit('/').next().unwrap_or_default())
}

/// Returns the messages that callers left. Only the digest of the secret in a link is stored.
fn new_voicemails(batch: &[ClientWork], now: DateTime<Utc>) -> Vec<NewVoicemail> {
    let of_client = |work: &ClientWork| {
        let client_id = work.loaded.client.id.clone();
        let of_recording = move |kept: &KeptRecording| NewVoicemail {
            client_id: Some(client_id.clone()),
            recording_sid: kept.recording.clone(),
            token_sha256: kept.link.as_deref().map(digest_of_link),
            expires_at: if kept.link.is_some() { now + LINK_LASTS } else { now },
        };
        work.recordings.iter().map(of_recording).collect::<Vec<_>>()
    };
    batch.iter().flat_map(of_client).collect()
}

/// Drops texts that are sent only once and were sent already, so that the loop guard does not count them.
async fn drop_texts_sent_before(conn: &mut PgConnection, batch: &mut [ClientWork]) -> Result<(), db::Error> {
    let texts = batch.iter().flat_map(|work| &work.texts);
    let keys: Vec<&str> = texts.filter_map(|text| text.text.once_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut known_keys = outbox::list_known_keys(conn, &keys).await?;
    for work in batch {
        work.texts.retain(|text| text.text.once_key.as_ref().is_none_or(|key| known_keys.insert(key.clone())));
    }
    Ok(())
}

/// Marks the texts beyond the limits of the loop guard: those that matter are deferred, the others held back. Replies that were sent
/// before a restore of the database have no limit, because they are not sent again. Returns the alerts about them.
async fn apply_loop_guard(
    conn: &mut PgConnection,
    batch: &mut [ClientWork],
    now: DateTime<Utc>,
) -> Result<Vec<NewAlert>, db::Error> {
    let phones: Vec<&E164> = batch.iter().flat_map(|work| &work.texts).map(|text| &text.to).collect();
    if phones.is_empty() {
        return Ok(Vec::new());
    }
    let repeats_replies = batch.iter().flat_map(|work| &work.texts).any(|text| text.answered_before);
    let (mut guard, mut unpaired) = outbox::loop_guard(conn, &phones, repeats_replies, now).await?;
    let mut alerts = Vec::new();
    for work in batch {
        let client_id = &work.loaded.client.id;
        // The call of which the owner is not told: the text to it comes before that to the caller.
        let mut untold = None;
        for text in &mut work.texts {
            let (to, from, body) = (text.to.as_str(), text.from.as_str(), text.text.body.as_str());
            if text.answered_before && unpaired.take(to, from, body, text.event_id) {
                continue;
            }
            let mut admission = guard.admit(&text.to, &text.text, now);
            // An owner who is not told of a call rings nobody back.
            if text.text.kind == TextKind::TextBack && text.event_id.is_some() && text.event_id == untold {
                admission = Admission::HeldBack;
            }
            if text.text.kind == TextKind::MissedCall && admission == Admission::HeldBack {
                untold = text.event_id;
            }
            text.admit_as(admission);
            // Repeated calls are no loop.
            let is_of_calls = matches!(text.text.kind, TextKind::MissedCall | TextKind::Voicemail | TextKind::TextBack);
            if admission != Admission::Now && !is_of_calls {
                alerts.push(texts::too_many(client_id));
            }
        }
    }
    Ok(alerts)
}

/// Saves opt-outs and whether texts reach clients, and drops the queued texts that they forbid.
async fn save_reachability(conn: &mut PgConnection, batch: &[ClientWork], now: DateTime<Utc>) -> Result<(), db::Error> {
    if batch.iter().all(|work| work.opt_changes.is_empty() && !work.reach_changed) {
        return Ok(());
    }
    let opt_changes: Vec<OptChangeRecord> = batch.iter().flat_map(|work| work.opt_changes.clone()).collect();
    clients::insert_opt_changes(conn, &opt_changes, now).await?;
    let client = |work: &ClientWork| work.loaded.client.clone();
    let opted: Vec<Client> = batch.iter().filter(|work| !work.opt_changes.is_empty()).map(client).collect();
    let opted_out: Vec<(&str, bool)> = opted.iter().map(|client| (client.id.as_str(), client.opted_out)).collect();
    clients::save_opted_out(conn, &opted_out, now).await?;
    let phones: Vec<&E164> = opted.iter().filter(|it| it.opted_out).map(|client| &client.owner_phone).collect();
    outbox::drop_queued_to(conn, &phones, "the recipient opted out", now).await?;

    let reached: Vec<Client> = batch.iter().filter(|work| work.reach_changed).map(client).collect();
    let unreachable: Vec<(&str, bool)> =
        reached.iter().map(|client| (client.id.as_str(), client.unreachable)).collect();
    clients::save_unreachable(conn, &unreachable, now).await?;
    let phones: Vec<&E164> = reached.iter().filter(|it| it.unreachable).map(|client| &client.owner_phone).collect();
    outbox::drop_queued_to(conn, &phones, "texts do not reach the recipient", now).await
}
