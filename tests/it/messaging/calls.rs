//! Calls to a live number reach its owner as texts.

use std::time::Duration;

use jobrun::demo::TestSystem;
use jobrun_shared::clock;
use jobrun_shared::numbers::seed_release;
use jobrun_tests::{PATIENCE, count, eventually, numbers, test_system, texts};

use super::{ANN, HERS, ann_at, count_to};

/// Moves Ann to a region whose local time is not known, so that no test depends on the time of the day.
async fn lives_nowhere(system: &TestSystem) {
    sqlx::raw_sql("UPDATE clients SET region = 'ZZ' WHERE id = 'ann'").execute(&system.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_live_number_is_told_of_each_call_once_and_how_often_its_caller_rang() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    lives_nowhere(&system).await;
    for _ in 0..2 {
        system.stand_in.call("+447700900123", HERS).await.unwrap();
        system.settle().await.unwrap();
    }
    for withheld in ["anonymous", "+266696687", "Restricted", "+86282452253", ANN] {
        system.stand_in.call(withheld, HERS).await.unwrap();
    }
    // The end of a call is reported before its arrival.
    let sid = system.stand_in.new_sid("CA");
    for (path, status) in [("voice/status", "no-answer"), ("voice", "ringing")] {
        let form = system.stand_in.call_form(&sid, "+447700900124", HERS, status);
        system.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
    }
    system.settle().await.unwrap();
    let mut received = system.stand_in.bodies_to(ANN);
    // The four withheld calls may be decided in one batch or in several.
    let withheld = received.extract_if(2.., |body| body.contains("withheld")).collect::<Vec<_>>();
    assert_eq!(
        withheld,
        [
            "Missed call: a withheld number rang your JobRun number.",
            "Missed calls: 2 calls in 24 hours from withheld numbers.",
            "Missed calls: 3 calls in 24 hours from withheld numbers.",
        ]
    );
    assert_eq!(
        received,
        [
            "Missed call: +447700900123 rang your JobRun number.",
            "Missed call: +447700900123 rang again: twice in 24 hours.",
            "Missed call: +447700900124 rang your JobRun number.",
        ]
    );
    let counted = "SELECT concat_ws(' ', caller, told) FROM calls ORDER BY called_at";
    let callers = ["+447700900123 t", "+447700900123 t", " t", " t", " t", " f", "+447900000001 f", "+447700900124 t"];
    assert_eq!(texts(&system.pool, counted).await, callers);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts").await, 0, "calls do not count as a loop");
    system.shut_down().await.unwrap();
}

/// Networks write numbers in many ways. A call is recorded and answered in every case.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_of_every_caller_whose_number_can_be_read_in_any_notation() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    let written = [
        "+447700900101",
        "07700900102",
        "07700 900 103",
        "00447700900104",
        "+4407700900105",
        "447700900106",
        "+07700900107",
        "+00447700900108",
    ];
    for from in written.into_iter().chain(["", "anonymous", "0", "sip:anonymous@anonymous.invalid"]) {
        let (arrived, ended) = system.stand_in.call(from, HERS).await.unwrap();
        let answered = (arrived.status, arrived.content_type.as_str(), ended.status);
        assert_eq!(answered, (200, "text/xml", 204), "{from:?}");
        assert!(arrived.body.contains("Thank you for calling"), "{from:?}");
    }
    // The form names no caller.
    let mut form = system.stand_in.call_form(&system.stand_in.new_sid("CA"), "", HERS, "ringing");
    form.retain(|(name, _)| name != "From" && name != "Caller");
    assert_eq!(system.stand_in.post("/webhooks/twilio/voice", &form).await.unwrap().status, 200);
    system.settle().await.unwrap();
    let expected: Vec<String> =
        (101..=108).map(|n| format!("Missed call: +447700900{n} rang your JobRun number.")).collect();
    let received = system.stand_in.bodies_to(ANN);
    assert_eq!(received[..8], expected);
    // Five callers without a number that can be read: the first, the second, the third and the fifth are told of.
    assert!(received.len() == 12 && received[8..].iter().all(|body| body.contains("withheld")), "{received:?}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'call_arrived'").await, 13);
    let as_given = "SELECT payload->>'from' FROM events WHERE kind = 'call_arrived' ORDER BY id LIMIT 8";
    assert_eq!(texts(&system.pool, as_given).await, written);
    system.shut_down().await.unwrap();
}

/// The test call is not a missed call, even when its arrival is reported after its end.
#[tokio::test(flavor = "multi_thread")]
async fn the_test_call_makes_the_number_live_and_is_no_missed_call() {
    let system = test_system(1).await;
    ann_at(&system, "S8_FWD_CONFIRM").await;
    let sid = system.stand_in.new_sid("CA");
    for (path, status) in [("voice/status", "completed"), ("voice", "ringing"), ("voice", "ringing")] {
        let form = system.stand_in.call_form(&sid, "+447700900123", HERS, status);
        system.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
        system.settle().await.unwrap();
    }
    let received = system.stand_in.bodies_to(ANN);
    assert!(received.len() == 1 && received[0].starts_with("You're live!"), "{received:?}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM calls").await, 0, "it does not count");
    system.stand_in.call("+447700900123", HERS).await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(ANN)[1], "Missed call: +447700900123 rang your JobRun number.");
    system.shut_down().await.unwrap();
}

/// Missed-call texts have a limit of their own, so that they displace no text of the conversation.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_calls_displaces_no_important_text() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    for n in 0..25 {
        system.stand_in.call(&format!("+4477009001{n:02}"), HERS).await.unwrap();
    }
    system.settle().await.unwrap();
    assert_eq!(count_to(&system, ANN), 20);
    // Ann is given the other number.
    seed_release::drain(&system.pool, HERS, false, clock::now(), None).await.unwrap();
    seed_release::release(&system.pool, HERS, Duration::ZERO, clock::now(), None).await.unwrap();
    let was_told = async || system.stand_in.bodies_to(ANN).last().unwrap().contains("number had to change");
    eventually(PATIENCE, "she is told of her new number", was_told).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cause LIKE 'loop:%'").await, 0);
    system.shut_down().await.unwrap();
}

/// However often a caller rings, few texts tell of it: more than the loop guard, which lets different words through, would hold back.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_rings_fifty_times_causes_seven_texts() {
    let system = test_system(2).await;
    ann_at(&system, "COMPLETE").await;
    lives_nowhere(&system).await;
    for _ in 0..50 {
        system.stand_in.call("+447700900123", HERS).await.unwrap();
    }
    system.settle().await.unwrap();
    let received = system.stand_in.bodies_to(ANN);
    assert_eq!(received.len(), 7, "{received:?}");
    assert_eq!(received[6], "Missed call: +447700900123 rang again: 50 times in 24 hours.");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages").await, 7, "none is held back");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM calls").await, 50);
    system.shut_down().await.unwrap();
}

/// The day is that of the client: calls of the days before do not count, and are soon forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_for_a_day_and_forgotten_after_two() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    lives_nowhere(&system).await;
    sqlx::raw_sql(
        "INSERT INTO calls (client_id, sid, caller, called_at, told)
         VALUES ('ann', 'CA1', '+447700900123', now() - INTERVAL '23 hours', TRUE),
                ('ann', 'CA2', '+447700900124', now() - INTERVAL '25 hours', TRUE),
                ('ann', 'CA3', '+447700900123', now() - INTERVAL '49 hours', TRUE)",
    )
    .execute(&system.pool)
    .await
    .unwrap();
    let forgotten = async || count(&system.pool, "SELECT count(*) FROM calls").await == 2;
    eventually(PATIENCE, "the oldest is forgotten", forgotten).await;
    for caller in ["+447700900123", "+447700900124"] {
        system.stand_in.call(caller, HERS).await.unwrap();
    }
    system.settle().await.unwrap();
    assert_eq!(
        system.stand_in.bodies_to(ANN),
        [
            "Missed call: +447700900123 rang again: twice in 24 hours.",
            "Missed call: +447700900124 rang your JobRun number."
        ]
    );
    system.shut_down().await.unwrap();
}
