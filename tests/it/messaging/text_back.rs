//! Callers of a live number are texted back, once a day, if its owner wants that and TEXT_BACK is on.

use std::time::Duration;

use chrono::{TimeDelta, Timelike};
use futures::future::join_all;
use jobrun::demo::TestSystem;
use jobrun_onboarding::E164;
use jobrun_shared::clock;
use jobrun_shared::numbers::seed_release;
use jobrun_shared::phone_digest::PhoneKey;
use jobrun_tests::{PATIENCE, count, eventually, numbers, say, sweep_twice, test_system, test_system_with, texts};
use serde_json::Value;

use super::{ANN, ANOTHERS, HERS, ann_at, count_to};

const CALLER: &str = "+447700900123";

const TEXT: &str =
    "Sorry we missed you! ABC Plumbing will ring you back. There's no need to reply: this number takes calls only.";

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// As in the tests of kills: exceeds the time in which the texts of a killed worker are recovered.
const RECOVERY: Duration = Duration::from_secs(240);

/// Starts a system, and makes Ann, who is live and wants her callers texted back.
async fn system_of_ann(workers: usize, settings: &[(&str, &str)]) -> TestSystem {
    // A day of Ann's ends at midnight in London.
    let ends_soon = || {
        let now = clock::now();
        [22, 23].contains(&now.hour()) && now.minute() >= 57
    };
    eventually(Duration::from_secs(300), "the day does not end during the test", async || !ends_soon()).await;
    let system = test_system_with(workers, settings).await;
    ann_at(&system, "COMPLETE").await;
    sqlx::raw_sql(
        r#"UPDATE clients SET "businessName" = 'ABC Plumbing', "textBack" = TRUE, "textBackAskedAt" = now()"#,
    )
    .execute(&system.pool)
    .await
    .unwrap();
    system
}

async fn rings(system: &TestSystem, from: &str) {
    system.stand_in.call(from, HERS).await.unwrap();
    system.settle().await.unwrap();
}

const TEXTED: &str = "SELECT count(*) FROM messages WHERE kind = 'text_back'";

#[tokio::test(flavor = "multi_thread")]
async fn a_mobile_caller_is_texted_once_a_day_although_it_rings_five_times_and_two_workers_run() {
    let system = system_of_ann(2, &[("TEXT_BACK", "on")]).await;
    join_all((0..5).map(async |_| system.stand_in.call(CALLER, HERS).await.unwrap())).await;
    system.settle().await.unwrap();
    rings(&system, CALLER).await;
    assert_eq!(system.stand_in.bodies_to(CALLER), [TEXT]);
    let sent = system.stand_in.messages().into_iter().find(|text| text.to == CALLER).unwrap();
    assert_eq!(sent.from, HERS);
    assert_eq!(count(&system.pool, TEXTED).await, 1);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM calls WHERE texted_back").await, 1);
    let told = system.stand_in.bodies_to(ANN);
    assert!(told[0] == format!("Missed call: {CALLER} rang your JobRun number.") && told.len() == 4, "{told:?}");

    // Another caller is another text, and the next day another one too.
    rings(&system, "+447700900124").await;
    sqlx::raw_sql(
        "UPDATE calls SET called_at = called_at - INTERVAL '25 hours'; UPDATE messages SET once_key = once_key || '-'",
    )
    .execute(&system.pool)
    .await
    .unwrap();
    rings(&system, CALLER).await;
    assert_eq!((count_to(&system, "+447700900124"), count_to(&system, CALLER)), (1, 2));

    // A reply to the client's number begins no sign-up, and is answered once.
    for _ in 0..2 {
        system.stand_in.text_to(CALLER, HERS, "Thanks, after six please").await.unwrap();
        system.settle().await.unwrap();
    }
    let received = system.stand_in.bodies_to(CALLER);
    assert!(received.len() == 3 && received[2].starts_with("This number takes calls only."), "{received:?}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM clients").await, 1);
    system.shut_down().await.unwrap();
}

/// Not even if the earlier calls are gone: the text itself is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_was_texted_today_is_not_texted_again_when_its_calls_are_forgotten() {
    let system = system_of_ann(1, &[("TEXT_BACK", "on")]).await;
    rings(&system, CALLER).await;
    sqlx::raw_sql("DELETE FROM calls").execute(&system.pool).await.unwrap();
    rings(&system, CALLER).await;
    assert_eq!(system.stand_in.bodies_to(CALLER), [TEXT]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_strangers_with_a_mobile_who_have_not_opted_out_are_texted() {
    let system = system_of_ann(1, &[("TEXT_BACK", "on"), ("ERASURE_KEY", KEY)]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let (client, out, erased) = ("+447900000002", "+447700900201", "+447700900202");
    sqlx::raw_sql(r#"INSERT INTO clients ("phoneNumber") VALUES ('447900000002')"#)
        .execute(&system.pool)
        .await
        .unwrap();
    system.stand_in.text_to(out, HERS, "STOP").await.unwrap();
    let digest = PhoneKey::new(KEY.into()).digest(&E164::parse(erased).unwrap());
    let insert = sqlx::query("INSERT INTO erased_opt_outs (phone_hmac, opted_out_at) VALUES ($1, now())").bind(digest);
    insert.execute(&system.pool).await.unwrap();
    system.settle().await.unwrap();
    let onboarding = system.account.onboarding_number.clone();
    let others = [ANN, client, out, erased, ANOTHERS, HERS, &onboarding];
    let nowhere = ["+442079460000", "+447012345678", "+353851234567", "+14158675309", "anonymous", "Restricted", ""];
    for from in others.into_iter().chain(nowhere) {
        rings(&system, from).await;
    }
    // A text that was written before its recipient opted out.
    sqlx::query(
        "INSERT INTO messages (client_id, kind, to_phone, from_number, body, expires_at, created_at, updated_at)
         VALUES ('ann', 'text_back', $1, $2, 'Sorry', now() + INTERVAL '3 seconds', now(), now())",
    )
    .bind(out)
    .bind(HERS)
    .execute(&system.pool)
    .await
    .unwrap();
    // It is settled only when it is too late for it.
    rings(&system, CALLER).await;
    assert_eq!(count_to(&system, CALLER), 1);
    let texted: Vec<String> =
        system.stand_in.messages().into_iter().map(|text| text.to).filter(|to| to != ANN && to != CALLER).collect();
    assert_eq!(texted, Vec::<String>::new());
    assert_eq!(count(&system.pool, TEXTED).await, 2, "the text to the caller, and that of this test");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_asked_once_when_it_goes_live_and_chooses_by_text_at_any_time() {
    let system = test_system_with(1, &[("TEXT_BACK", "on")]).await;
    ann_at(&system, "S8_FWD_CONFIRM").await;
    sqlx::raw_sql(r#"UPDATE clients SET "businessName" = 'ABC Plumbing'"#).execute(&system.pool).await.unwrap();
    rings(&system, CALLER).await;
    let received = system.stand_in.bodies_to(ANN);
    assert!(received.len() == 2 && received[0].starts_with("You're live!"), "{received:?}");
    assert!(received[1].ends_with("To switch that on, reply TEXT BACK."), "{received:?}");
    rings(&system, CALLER).await;
    assert_eq!(count(&system.pool, TEXTED).await, 0, "neither after the test call nor before she says yes");
    let (code, shown, _) = system.operator(&["client", ANN]).await.unwrap();
    assert!(code == 0 && !shown.contains("text back "), "{shown}");

    assert!(say(&system, ANN, "Text back please").await[0].contains("reply TEXT BACK OFF"));
    rings(&system, CALLER).await;
    assert_eq!(system.stand_in.bodies_to(CALLER), [TEXT]);
    let (code, shown, _) = system.operator(&["client", ANN]).await.unwrap();
    assert!(code == 0 && shown.contains("the client wants its mobile callers texted"), "{shown}");
    assert!(shown.contains(&format!("text_back to {CALLER}")), "{shown}");

    // The call of a test may be her own, or a friend's.
    say(&system, ANN, "TEST").await;
    rings(&system, "+447700900125").await;
    assert_eq!(count_to(&system, "+447700900125"), 0);

    assert_eq!(
        say(&system, ANN, "TEXT BACK OFF").await,
        ["Done: we don't text your callers. To switch it on again, reply TEXT BACK."]
    );
    rings(&system, "+447700900124").await;
    assert_eq!(count(&system.pool, TEXTED).await, 1);

    sqlx::raw_sql("UPDATE onboarding_states SET current_state = 'S8_FWD_CONFIRM'").execute(&system.pool).await.unwrap();
    rings(&system, CALLER).await;
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().starts_with("You're live!"), "she is not asked again");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_it_is_switched_on_nobody_is_asked_or_texted() {
    let system = test_system(1).await;
    ann_at(&system, "S8_FWD_CONFIRM").await;
    sqlx::raw_sql(r#"UPDATE clients SET "businessName" = 'ABC Plumbing', "textBack" = TRUE"#)
        .execute(&system.pool)
        .await
        .unwrap();
    for _ in 0..2 {
        rings(&system, CALLER).await;
    }
    say(&system, ANN, "TEXT BACK OFF").await;
    let kinds = texts(&system.pool, "SELECT kind FROM messages ORDER BY id").await;
    assert_eq!(kinds, ["live", "missed_call", "already_live"]);
    assert_eq!(
        count(&system.pool, r#"SELECT count(*) FROM clients WHERE "textBack" AND "textBackAskedAt" IS NULL"#).await,
        1
    );
    // The rows that it would ask about are not looked at: an index that is never read tells that.
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&system.pool).await.unwrap();
    let read =
        "SELECT COALESCE(sum(idx_scan), 0)::BIGINT FROM pg_stat_user_indexes WHERE indexrelname = 'calls_texted_back'";
    assert_eq!(count(&system.pool, read).await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_is_texted_in_the_quiet_hours_or_long_after_its_call() {
    // Three hours on each side of now, wherever the clocks stand.
    let hour = |hours| (clock::now() + TimeDelta::hours(hours)).format("%H:%M");
    let quiet = format!("{}-{}", hour(-3), hour(3));
    let mut system = system_of_ann(1, &[("TEXT_BACK", "on"), ("QUIET_HOURS", &quiet)]).await;
    rings(&system, CALLER).await;
    assert_eq!((count(&system.pool, TEXTED).await, count_to(&system, ANN)), (0, 1));
    system.workers[0].stop().await.unwrap();
    system.workers.remove(0);

    system.environment.insert("QUIET_HOURS".to_owned(), "off".to_owned());
    system.stand_in.call("+447700900124", HERS).await.unwrap();
    sqlx::raw_sql("UPDATE events SET received_at = received_at - INTERVAL '4 minutes' WHERE processed_at IS NULL")
        .execute(&system.pool)
        .await
        .unwrap();
    system.start_worker().unwrap();
    rings(&system, CALLER).await;
    assert_eq!((count_to(&system, "+447700900124"), count_to(&system, CALLER)), (0, 1));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_texted_once_although_the_worker_is_killed_while_it_sends() {
    let mut system = system_of_ann(1, &[("TEXT_BACK", "on")]).await;
    system.stand_in.answer_after(Duration::from_secs(3600));
    system.stand_in.call(CALLER, HERS).await.unwrap();
    eventually(PATIENCE, "the text is taken", async || count_to(&system, CALLER) == 1).await;
    system.workers[0].kill().await.unwrap();
    system.workers.remove(0);
    system.stand_in.answer_after(Duration::ZERO);
    system.start_worker().unwrap();
    system.settle_within(RECOVERY).await.unwrap();
    rings(&system, CALLER).await;
    assert_eq!(system.stand_in.bodies_to(CALLER), [TEXT]);
    let settled = "SELECT count(*) FROM messages WHERE kind = 'text_back' AND status IN ('sent', 'delivered')";
    assert_eq!(count(&system.pool, settled).await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_to_callers_are_exported_and_erased_with_their_client() {
    let system = system_of_ann(1, &[("TEXT_BACK", "on"), ("ERASURE_KEY", KEY)]).await;
    rings(&system, CALLER).await;
    let (code, shown, _) = system.operator(&["client", "export", ANN, "--json", "--why", "she asked"]).await.unwrap();
    let export: Value = serde_json::from_str(&shown).unwrap();
    let messages = export["tables"]["messages"].as_array().unwrap();
    assert_eq!((code, messages.iter().filter(|text| text["to_phone"] == CALLER).count()), (0, 1), "{shown}");
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = FALSE"#).execute(&system.pool).await.unwrap();
    let (code, shown, error) = system.operator(&["client", "erase", ANN, "--yes", "--why", "she asked"]).await.unwrap();
    assert_eq!(code, 0, "{shown}{error}");
    let left = "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM calls)
                + (SELECT count(*) FROM events WHERE payload::TEXT LIKE '%7700900123%')";
    assert_eq!(count(&system.pool, left).await, 0);
    assert_eq!(system.stand_in.bodies_to(CALLER), [""], "redacted at Twilio");
    system.shut_down().await.unwrap();
}

/// What fails on its way to a stranger says nothing of the client, and is not sent to it instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_does_not_reach_its_caller_changes_nothing_for_the_client() {
    use jobrun_stand_in::DeliveryOutcome;
    for code in [21610, 30005, 30003] {
        let system = system_of_ann(1, &[("TEXT_BACK", "on")]).await;
        // No text about the call is delivered, and the news for Ann is not tried again either.
        system.stand_in.set_delivery_outcome(DeliveryOutcome::Failed(code));
        sqlx::raw_sql(r#"INSERT INTO calls (client_id, sid, caller, called_at, told) SELECT 'ann', 'CA' || n, '+447700900123', now(), TRUE FROM generate_series(1, 3) AS n"#)
            .execute(&system.pool)
            .await
            .unwrap();
        rings(&system, CALLER).await;
        assert_eq!((count_to(&system, CALLER), count_to(&system, ANN)), (1, 0), "the fourth call is not told");
        let failed = "SELECT count(*) FROM messages WHERE kind = 'text_back' AND status IN ('undelivered', 'failed')";
        eventually(PATIENCE, "its report is processed", async || count(&system.pool, failed).await == 1).await;
        sweep_twice(&system).await;
        let touched = r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL OR "unreachableAt" IS NOT NULL"#;
        assert_eq!(count(&system.pool, touched).await, 0, "{code}");
        assert_eq!(count(&system.pool, "SELECT count(*) FROM messages").await, 1, "{code}");
        assert_eq!(
            count(&system.pool, "SELECT count(*) FROM events WHERE kind IN ('opted_out', 'unreachable')").await,
            0
        );
        system.shut_down().await.unwrap();
    }
}
