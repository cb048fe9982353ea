//! The lifecycle of a number: it is assigned, cools down once its client has left, and is assigned again.
//!
//! The tests end a service with `numbers::end_service`, in a transaction that has locked the clients, as the conversation does.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::try_join_all;
use jobrun_ingress::group_commit::RECORD_TIMEOUT;
use jobrun_ingress::twilio::{CALL_TWIML, UNUSED_NUMBER_TWIML};
use jobrun_onboarding::{Allocation, E164, Wordings};
use jobrun_shared::clock;
use jobrun_shared::db::numbers::{Loss, LossReason, NumberRequest};
use jobrun_shared::db::{self, clients};
use jobrun_shared::numbers::{allocate, offer, seed_release, status};
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, test_system_with, texts,
};
use sqlx::PgPool;

const COOLING: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const AT_ONCE: Duration = Duration::ZERO;
const HOLD: Duration = Duration::from_secs(48 * 60 * 60);
const FIRST: &str = "+447100000001";
const SECOND: &str = "+447100000002";

/// Selects the steps of every number's history, in order.
const LIVES: &str =
    "SELECT concat_ws('|', number, change, client_id, why) FROM number_changes ORDER BY number, number_changes.id";

/// Selects contradictions: the pool and the clients disagree, or a client both holds a number and waits.
const AT_ODDS: &str = r#"
    SELECT concat_ws(' ', coalesce(phone_e164, "twilioNumber"), status, pool.client_id, clients.id)
    FROM clients FULL JOIN twilio_number_pool AS pool ON phone_e164 = "twilioNumber"
    WHERE ("twilioNumber" IS NOT NULL OR clients.id IS NULL)
      AND CASE status WHEN 'ASSIGNED' THEN pool.client_id IS DISTINCT FROM clients.id OR assigned_at IS NULL
                                           OR cools_until IS NOT NULL
               WHEN 'COOLING_DOWN' THEN clients.id IS NOT NULL OR pool.client_id IS NOT NULL OR cools_until IS NULL
               ELSE clients.id IS NOT NULL OR pool.client_id IS NOT NULL END
    UNION ALL
    SELECT id || ' waits' FROM clients JOIN waiting_list ON client_id = id WHERE "twilioNumber" IS NOT NULL"#;

/// Selects steps of a number's history that the step before does not allow.
const OUT_OF_ORDER: &str = r#"
    SELECT concat_ws(' ', number, was, was_of, was_why, 'then', change, client_id, why) FROM (
        SELECT *, lag(change) OVER life AS was, lag(client_id) OVER life AS was_of, lag(why) OVER life AS was_why
        FROM number_changes WINDOW life AS (PARTITION BY number ORDER BY id)) AS step
    WHERE NOT coalesce(CASE
        WHEN change = 'added' THEN was IS NULL
        WHEN change = 'released' THEN was = 'assigned' AND was_of = client_id
        WHEN change = 'cooled_down' THEN was = 'released' AND was_why = 'the service ended'
        WHEN why = 'the client returned' THEN
            was = 'released' AND was_why = 'the service ended' AND was_of = client_id
        WHEN why = 'allocated' THEN was IN ('added', 'cooled_down') OR was_why = 'released by hand' END, FALSE)"#;

async fn allocate(pool: &PgPool, id: &str) -> Option<String> {
    allocate::allocate(pool, id, clock::now(), None).await.unwrap().phone_e164
}

async fn sweep(pool: &PgPool, now: DateTime<Utc>) -> Result<Vec<String>, db::Error> {
    offer::offer_free(pool, &E164::parse("+447476955179").unwrap(), Wordings::built_in(), HOLD, now).await
}

/// In one transaction, locks the clients `ids` in order, ends the service of those with a number, and allocates to the others.
async fn leave_or_come(pool: &PgPool, ids: &[String], first_leave: bool) -> Result<(), db::Error> {
    let now = clock::now();
    let mut tx = pool.begin().await?;
    for id in ids {
        assert!(clients::lock(&mut tx, id).await?);
    }
    let loaded = clients::load(&mut tx, ids).await?.into_iter().map(|it| it.unwrap().client);
    let (leaving, coming): (Vec<_>, Vec<_>) = loaded.partition(|client| client.number.is_some());
    let leaving: Vec<Loss> = leaving
        .into_iter()
        .map(|it| Loss { client_id: it.id, number: it.number, why: LossReason::ServiceEnded })
        .collect();
    let coming: Vec<NumberRequest> = coming
        .into_iter()
        .map(|it| NumberRequest { client_id: it.id, region: "UK".to_owned(), number: None, since: now })
        .collect();
    if first_leave {
        db::numbers::end_service(&mut tx, &leaving, COOLING, now).await?;
    } else {
        db::numbers::lock_allocation_exclusive(&mut tx).await?;
    }
    db::numbers::allocate(&mut tx, &coming, now).await?;
    if !first_leave {
        db::numbers::end_service(&mut tx, &leaving, COOLING, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn leave(pool: &PgPool, id: &str) {
    leave_for(pool, id, COOLING, clock::now()).await;
}

async fn leave_for(pool: &PgPool, id: &str, cooling: Duration, now: DateTime<Utc>) {
    let mut tx = pool.begin().await.unwrap();
    assert!(clients::lock(&mut tx, id).await.unwrap());
    let client = clients::load(&mut tx, &[id.to_owned()]).await.unwrap().remove(0).unwrap().client;
    let loss = Loss { client_id: client.id, number: client.number, why: LossReason::ServiceEnded };
    db::numbers::end_service(&mut tx, &[loss], cooling, now).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooling_number_is_assigned_after_its_cooling_time_and_not_before() {
    let pool = migrated_database(10).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let ids = paid_clients(&pool, "client", 3).await;
    assert_eq!(allocate(&pool, &ids[0]).await.as_deref(), Some(FIRST));
    let left = clock::now();
    leave_for(&pool, &ids[0], COOLING, left).await;

    assert_eq!(status::pool_status(&pool, clock::now()).await.unwrap().numbers[0].state, "cooling");
    assert_eq!((allocate(&pool, &ids[1]).await, allocate(&pool, &ids[2]).await), (None, None));
    let cool = left + TimeDelta::days(30);
    assert!(sweep(&pool, cool - TimeDelta::microseconds(1)).await.unwrap().is_empty(), "not before its time");
    let offered = try_join_all((0..10).map(|_| sweep(&pool, cool))).await.unwrap().concat();
    assert_eq!(offered, ids[1..2], "the longest waiting is told, once");
    assert_eq!(texts(&pool, "SELECT client_id FROM messages WHERE kind = 'number_ready'").await, ids[1..2]);
    assert_eq!((allocate(&pool, &ids[2]).await, allocate(&pool, &ids[1]).await.as_deref()), (None, Some(FIRST)));
    assert_eq!(
        texts(&pool, LIVES).await,
        [
            "+447100000001|added|seeded",
            "+447100000001|assigned|client-1|allocated",
            "+447100000001|released|client-1|the service ended",
            "+447100000001|cooled_down|client-1|its time was up",
            "+447100000001|assigned|client-2|allocated",
        ]
    );
    assert!(texts(&pool, AT_ODDS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_cools_down_although_no_client_waits_and_not_at_all_if_the_cooling_time_is_zero() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(2)).await.unwrap();
    let ids = paid_clients(&pool, "client", 2).await;
    allocate(&pool, &ids[0]).await;
    allocate(&pool, &ids[1]).await;
    leave(&pool, &ids[0]).await;
    leave_for(&pool, &ids[1], AT_ONCE, clock::now()).await;
    let free = async || {
        let free =
            status::pool_status(&pool, clock::now()).await.unwrap().numbers.into_iter().filter(|it| it.state == "free");
        free.map(|it| it.phone_e164).collect::<Vec<_>>()
    };
    assert_eq!(free().await, [SECOND]);
    sweep(&pool, clock::now() + TimeDelta::days(31)).await.unwrap();
    assert_eq!(free().await, [FIRST, SECOND]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_returns_gets_its_number_back_before_waiting_clients() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(2)).await.unwrap();
    let ids = paid_clients(&pool, "client", 4).await;
    for id in &ids[..3] {
        allocate(&pool, id).await;
    }
    leave(&pool, &ids[0]).await;
    leave(&pool, &ids[1]).await;
    assert_eq!(allocate(&pool, &ids[1]).await.as_deref(), Some(SECOND), "although client-3 waits");

    // Beside a newcomer, for whom no number is free: the whole batch starts over with the exclusive allocation lock.
    let mut tx = pool.begin().await.unwrap();
    let request =
        |id: &String| NumberRequest { client_id: id.clone(), region: "UK".into(), number: None, since: clock::now() };
    for id in [&ids[0], &ids[3]] {
        clients::lock(&mut tx, id).await.unwrap();
    }
    let answers = db::numbers::allocate(&mut tx, &[request(&ids[3]), request(&ids[0])], clock::now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        answers,
        [Allocation::PoolEmpty { told_late: false }, Allocation::Assigned(E164::parse(FIRST).unwrap())]
    );
    assert_eq!(texts(&pool, "SELECT client_id FROM waiting_list ORDER BY joined_at").await, ids[2..]);
    let returns = "SELECT client_id FROM number_changes WHERE why = 'the client returned' ORDER BY id";
    assert_eq!(texts(&pool, returns).await, ["client-2", "client-1"]);
    assert!(texts(&pool, AT_ODDS).await.is_empty() && texts(&pool, OUT_OF_ORDER).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_number_is_assigned_to_no_client_and_its_holder_keeps_it() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let ids = paid_clients(&pool, "client", 2).await;
    allocate(&pool, &ids[0]).await;
    let drain = async |undo| seed_release::drain(&pool, FIRST, undo, clock::now(), None).await.unwrap();
    let drained = drain(false).await;
    assert_eq!((drained.changed, drained.holder.as_deref()), (true, Some("client-1")));
    assert!(!drain(false).await.changed, "a second drain changes nothing");
    assert_eq!(
        allocate::allocate(&pool, "client-1", clock::now(), None).await.unwrap().reason,
        Some("ALREADY_ASSIGNED")
    );

    leave(&pool, &ids[0]).await;
    assert_eq!(allocate(&pool, &ids[0]).await, None, "the returning client does not get it");
    sweep(&pool, clock::now() + TimeDelta::days(31)).await.unwrap();
    assert_eq!(status::pool_status(&pool, clock::now()).await.unwrap().numbers[0].state, "drained");
    assert_eq!(allocate(&pool, &ids[1]).await, None, "and no other client does");
    assert_eq!(count(&pool, "SELECT count(*) FROM messages").await, 0, "the number is not offered");

    assert!(drain(true).await.changed && !drain(true).await.changed);
    assert_eq!(sweep(&pool, clock::now()).await.unwrap(), ids[..1], "the longest waiting is told");
    let kinds = "SELECT change FROM number_changes WHERE change LIKE '%drained' ORDER BY id";
    assert_eq!(texts(&pool, kinds).await, ["drained", "undrained"]);
    let nowhere = seed_release::drain(&pool, "+447100000009", false, clock::now(), None).await.unwrap_err();
    assert!(nowhere.to_string().contains("not in the pool"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_several_cooling_numbers_gets_the_last_one_and_its_hold_passes_on() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(2)).await.unwrap();
    let ids = paid_clients(&pool, "client", 2).await;
    assert_eq!(allocate(&pool, &ids[0]).await.as_deref(), Some(FIRST));
    leave(&pool, &ids[0]).await;
    seed_release::drain(&pool, FIRST, false, clock::now(), None).await.unwrap();
    assert_eq!(allocate(&pool, &ids[0]).await.as_deref(), Some(SECOND));
    leave(&pool, &ids[0]).await;
    seed_release::drain(&pool, SECOND, false, clock::now(), None).await.unwrap();
    assert_eq!((allocate(&pool, &ids[0]).await, allocate(&pool, &ids[1]).await), (None, None));
    seed_release::seed(&pool, &["+447100000003".to_owned()]).await.unwrap();
    assert_eq!(sweep(&pool, clock::now()).await.unwrap(), ids[..1], "the one free number is held for it");

    for number in [FIRST, SECOND] {
        seed_release::drain(&pool, number, true, clock::now(), None).await.unwrap();
    }
    assert_eq!(allocate(&pool, &ids[0]).await.as_deref(), Some(SECOND));
    assert_eq!(
        sweep(&pool, clock::now()).await.unwrap(),
        ids[1..],
        "the next in line is told of the number that was held"
    );
    assert!(texts(&pool, AT_ODDS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_leaves_the_waiting_list_leaves_its_hold_to_the_next() {
    let pool = migrated_database(2).await;
    let ids = paid_clients(&pool, "client", 2).await;
    allocate(&pool, &ids[0]).await;
    allocate(&pool, &ids[1]).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    assert_eq!(sweep(&pool, clock::now()).await.unwrap(), ids[..1]);
    leave(&pool, &ids[0]).await;
    assert_eq!(sweep(&pool, clock::now()).await.unwrap(), ids[1..]);
    assert_eq!(texts(&pool, "SELECT client_id FROM waiting_list").await, ids[1..]);
    assert_eq!(count(&pool, "SELECT count(*) FROM number_changes WHERE change = 'released'").await, 0);
}

/// A number that was entered by hand is not in the pool, and its client loses it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_service_takes_a_number_outside_the_pool_and_refuses_one_that_the_client_does_not_hold() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    paid_clients(&pool, "client", 2).await;
    let by_hand = r#"UPDATE clients SET "twilioNumber" = '+447199999999' WHERE id = 'client-1'"#;
    sqlx::raw_sql(by_hand).execute(&pool).await.unwrap();
    leave(&pool, "client-1").await;
    assert_eq!(count(&pool, r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#).await, 0);
    assert_eq!(texts(&pool, LIVES).await[1], "+447199999999|released|client-1|the service ended");

    let mut tx = pool.begin().await.unwrap();
    let loss = Loss {
        client_id: "client-2".to_owned(),
        number: Some(E164::parse(FIRST).unwrap()),
        why: LossReason::ServiceEnded,
    };
    let refused = db::numbers::end_service(&mut tx, &[loss], COOLING, clock::now()).await.unwrap_err();
    assert_eq!(refused.to_string(), "taking numbers from clients touched 0 rows where 1 were meant");
}

/// In every round each transaction handles four clients, in new combinations: those with a number leave, the others come.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_who_leave_and_return_at_once_get_no_other_client_s_number() {
    const ROUNDS: usize = 6;
    let pool = migrated_database(64).await;
    seed_release::seed(&pool, &numbers(150)).await.unwrap();
    let mut ids = paid_clients(&pool, "client", 200).await;
    let mut slices = async || {
        for round in 0..ROUNDS {
            ids.rotate_left(round);
            let chunks: Vec<Vec<String>> = ids
                .chunks(4)
                .map(|chunk| {
                    let mut chunk = chunk.to_vec();
                    chunk.sort_unstable();
                    chunk
                })
                .collect();
            let both_ways = chunks.iter().flat_map(|chunk| [(chunk, true), (chunk, false)]);
            let turns = both_ways.map(|(chunk, first_leave)| leave_or_come(&pool, chunk, first_leave));
            try_join_all(turns).await.expect("no transaction waits for ever");
        }
    };
    let sweeps = async || {
        for round in 0..40 {
            // Every tenth sweep runs a month later and finds that all numbers have cooled down.
            let a_month_later = TimeDelta::days(if round % 10 == 9 { 31 } else { 0 });
            sweep(&pool, clock::now() + a_month_later).await.expect("a sweep");
        }
    };
    let by_hand = async || {
        for (n, number) in numbers(190).iter().enumerate().skip(120) {
            seed_release::seed(&pool, std::slice::from_ref(number)).await.expect("a seed");
            seed_release::release(&pool, &numbers(150)[n - 120], AT_ONCE, clock::now(), None).await.expect("a release");
        }
    };
    futures::join!(slices(), sweeps(), sweeps(), by_hand());

    assert_eq!(texts(&pool, OUT_OF_ORDER).await, [""; 0]);
    assert_eq!(texts(&pool, AT_ODDS).await, [""; 0]);
    let returns = count(&pool, "SELECT count(*) FROM number_changes WHERE why = 'the client returned'").await;
    let cooled = count(&pool, "SELECT count(*) FROM number_changes WHERE change = 'cooled_down'").await;
    let by_hand = count(&pool, "SELECT count(*) FROM number_changes WHERE why = 'released by hand'").await;
    assert!(returns > 0 && cooled > 0 && by_hand > 0, "{returns} returned, {cooled} cooled down, {by_hand} by hand");
    let held = r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#;
    let balance = "SELECT count(*) FILTER (WHERE change = 'assigned') - count(*) FILTER (WHERE change = 'released')
                   FROM number_changes";
    assert_eq!(count(&pool, held).await, count(&pool, balance).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_s_reset_frees_cooling_numbers_and_leaves_a_pool_that_works() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(2)).await.unwrap();
    let ids = paid_clients(&pool, "client", 3).await;
    allocate(&pool, &ids[0]).await;
    allocate(&pool, &ids[1]).await;
    leave(&pool, &ids[0]).await;
    let reset = r#"UPDATE twilio_number_pool SET status = 'AVAILABLE', "client_id" = NULL, "assigned_at" = NULL;"#;
    sqlx::raw_sql(reset).execute(&pool).await.unwrap();
    assert_eq!(status::pool_status(&pool, clock::now()).await.unwrap().free, 1);
    sweep(&pool, clock::now() + TimeDelta::days(31)).await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM number_changes WHERE change = 'cooled_down'").await, 0);
    assert_eq!(allocate(&pool, &ids[2]).await.as_deref(), Some(FIRST));
    assert_eq!(allocate::allocate(&pool, &ids[1], clock::now(), None).await.unwrap().reason, Some("ALREADY_ASSIGNED"));
    assert!(texts(&pool, AT_ODDS).await.is_empty());
    leave(&pool, &ids[2]).await;
    assert_eq!(allocate(&pool, &ids[2]).await.as_deref(), Some(FIRST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_released_by_hand_cools_down_or_is_free_at_once_and_its_client_gets_an_event() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h"), ("NUMBER_COOLING", "1h")]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    paid_clients(&system.pool, "client", 2).await;
    allocate(&system.pool, "client-1").await;
    let run = async |arguments: &[&str]| {
        let (code, stdout, stderr) = system.operator(arguments).await.unwrap();
        (code, format!("{stdout}{stderr}"))
    };
    let (code, said) = run(&["pool", "release", FIRST, "--yes"]).await;
    let until = texts(
        &system.pool,
        "SELECT to_char(cools_until, 'YYYY-MM-DD HH24:MI') FROM twilio_number_pool
                                    WHERE cools_until > now() + INTERVAL '50 minutes'",
    )
    .await
    .concat();
    assert_eq!((code, said), (0, format!("{FIRST} cools down until {until} UTC; it was held by client client-1\n")));
    let loss_events = "SELECT payload ->> 'client_id' FROM events WHERE kind = 'number_lost' ORDER BY id";
    assert_eq!(texts(&system.pool, loss_events).await, ["client-1"]);
    let another = allocate(&system.pool, "client-1").await;
    assert_eq!(another.as_deref(), Some("+447100000002"), "there was a reason to take the first");

    for again in [&["pool", "release", FIRST][..], &["pool", "release", FIRST, "--yes"]] {
        let (code, said) = run(again).await;
        let refused = format!("no client holds the number, and it cools down until {until} UTC. With --now");
        assert!(code == 1 && said.contains(&refused), "{said}");
    }
    let risk = "jobrun: it has not cooled down: the former client's phone may still forward its calls to it, and the next \
                client would answer them\n";
    let (_, said) = run(&["pool", "release", FIRST, "--now"]).await;
    assert_eq!(said, format!("+447100000001 is available; it was held by nobody\n{risk}"));
    let (_, said) = run(&["pool", "release", FIRST]).await;
    assert_eq!(said, "+447100000001 is available; it was held by nobody\n", "and nothing is left to warn of");
    assert_eq!(texts(&system.pool, loss_events).await, ["client-1"], "each loss is one event");
    assert_eq!(allocate(&system.pool, "client-2").await.as_deref(), Some(FIRST));
    let (_, said) = run(&["pool", "release", FIRST, "--yes", "--now"]).await;
    assert_eq!(said, format!("+447100000001 is available; it was held by client client-2\n{risk}"));
    let steps = texts(&system.pool, LIVES).await;
    assert_eq!(
        steps[3..6],
        [
            "+447100000001|cooled_down|released by hand",
            "+447100000001|assigned|client-2|allocated",
            "+447100000001|released|client-2|released by hand",
        ]
    );
    system.settle().await.unwrap();
    system.shut_down().await.unwrap();
}

/// Puts every client at COMPLETE: they are live.
async fn live(pool: &PgPool) {
    let live = "INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'COMPLETE' FROM clients";
    sqlx::raw_sql(live).execute(pool).await.unwrap();
}

const STATES: &str = "SELECT current_state FROM onboarding_states ORDER BY client_id";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_number_is_taken_is_given_another_and_told_so() {
    let system = test_system_with(1, &[]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    paid_clients(&system.pool, "client", 1).await;
    allocate(&system.pool, "client-1").await;
    live(&system.pool).await;
    system.operator(&["pool", "release", FIRST, "--yes"]).await.unwrap();
    system.settle().await.unwrap();
    let said = system.stand_in.bodies_to(&phone(1));
    assert!(said.len() == 1 && said[0].contains("had to change. It's now +447100000002"), "{said:?}");
    assert_eq!(texts(&system.pool, STATES).await, ["S6_PHONE_TYPE"]);
    system.shut_down().await.unwrap();
}

/// The beginning of the text to a client whose number is taken while no other is free.
const TAKEN_BACK: &str = "We've had to take your JobRun number back.";

#[tokio::test(flavor = "multi_thread")]
async fn a_live_client_s_number_is_not_taken_without_the_option_yes() {
    let system = test_system_with(1, &[]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    paid_clients(&system.pool, "client", 1).await;
    allocate(&system.pool, "client-1").await;
    live(&system.pool).await;
    let rows = r#"SELECT concat_ws('|', p.*, c."twilioNumber") FROM twilio_number_pool p LEFT JOIN clients c ON c.id = client_id
                  UNION ALL SELECT concat_ws('|', n.*) FROM number_changes n UNION ALL SELECT concat_ws('|', e.*) FROM events e"#;
    let before = texts(&system.pool, rows).await;
    for arguments in [&["pool", "release", FIRST][..], &["pool", "release", "07100 000001", "--now"]] {
        let (code, stdout, stderr) = system.operator(arguments).await.unwrap();
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}");
        let says = ["client client-1 holds the number, and is at COMPLETE.", "With --yes", "`jobrun pool drain`"];
        assert!(says.iter().all(|it| stderr.contains(it)), "{stderr}");
    }
    assert_eq!(texts(&system.pool, rows).await, before, "and nothing is changed");

    let (code, stdout, _) = system.operator(&["pool", "release", "07100 000001", "--yes", "--now"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "+447100000001 is available; it was held by client client-1\n"));
    system.settle().await.unwrap();
    assert_eq!(
        texts(&system.pool, r#"SELECT "twilioNumber" FROM clients"#).await,
        [SECOND],
        "although the first is free"
    );
    let said = system.stand_in.bodies_to(&phone(1));
    assert!(said.len() == 1 && said[0].contains("had to change. It's now +447100000002"), "{said:?}");
    assert_eq!(system.operator(&["pool", "release", FIRST]).await.unwrap().0, 0, "no client holds it any more");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_number_is_taken_waits_for_another_and_does_not_get_it_back() {
    let system = test_system_with(1, &[]).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    paid_clients(&system.pool, "client", 2).await;
    allocate(&system.pool, "client-1").await;
    live(&system.pool).await;
    system.operator(&["pool", "release", FIRST, "--yes", "--now"]).await.unwrap();
    system.settle().await.unwrap();
    let received = || system.stand_in.bodies_to(&phone(1));
    assert!(received().len() == 1 && received()[0].starts_with(TAKEN_BACK), "{:?}", received());
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#).await, 0);
    assert_eq!(sweep(&system.pool, clock::now()).await.unwrap(), [""; 0], "the number is not offered to it");
    assert_eq!(allocate(&system.pool, "client-1").await, None);
    assert_eq!(received().len(), 1);

    assert_eq!(allocate(&system.pool, "client-2").await.as_deref(), Some(FIRST), "any other client may have it");
    system.operator(&["pool", "seed", SECOND]).await.unwrap();
    eventually(PATIENCE, "another one is offered", async || received().len() == 2).await;
    assert_eq!(allocate(&system.pool, "client-1").await.as_deref(), Some(SECOND));
    assert!(texts(&system.pool, AT_ODDS).await.is_empty() && texts(&system.pool, OUT_OF_ORDER).await.is_empty());
    system.shut_down().await.unwrap();
}

/// The reason for taking a number ends when another client has held it or the operator releases it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_taken_from_a_client_may_return_to_it_once_it_is_released_again() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let ids = paid_clients(&pool, "client", 2).await;
    allocate(&pool, &ids[0]).await;
    seed_release::release(&pool, FIRST, AT_ONCE, clock::now(), None).await.unwrap();
    assert_eq!(allocate(&pool, &ids[0]).await, None);
    seed_release::release_unheld(&pool, FIRST, AT_ONCE, clock::now(), None).await.unwrap();
    assert_eq!(sweep(&pool, clock::now()).await.unwrap(), ids[..1]);
    assert_eq!(allocate(&pool, &ids[0]).await.as_deref(), Some(FIRST));

    seed_release::release(&pool, FIRST, AT_ONCE, clock::now(), None).await.unwrap();
    assert_eq!(allocate(&pool, &ids[1]).await.as_deref(), Some(FIRST));
    leave_for(&pool, &ids[1], AT_ONCE, clock::now()).await;
    assert_eq!(allocate(&pool, &ids[0]).await.as_deref(), Some(FIRST));
}

/// An alert is raised for a client who takes no texts: the operator has to tell it in another way.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_number_is_taken_and_not_replaced_is_told_to_switch_off_forwarding() {
    let system = test_system_with(1, &[]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    paid_clients(&system.pool, "client", 2).await;
    for id in ["client-1", "client-2"] {
        allocate(&system.pool, id).await;
    }
    live(&system.pool).await;
    sqlx::raw_sql(r#"UPDATE clients SET "optedOutAt" = now() WHERE id = 'client-2'"#)
        .execute(&system.pool)
        .await
        .unwrap();
    for number in [FIRST, "+447100000002"] {
        system.operator(&["pool", "drain", number]).await.unwrap();
        system.operator(&["pool", "release", number, "--yes", "--now"]).await.unwrap();
        system.settle().await.unwrap();
    }
    let said = system.stand_in.bodies_to(&phone(1));
    assert!(said.len() == 1 && said[0].starts_with(TAKEN_BACK), "{said:?}");
    assert!(system.stand_in.bodies_to(&phone(2)).is_empty());
    assert_eq!(texts(&system.pool, STATES).await, ["S5_CONFIRM_LIVE", "S5_CONFIRM_LIVE"]);
    let open = texts(&system.pool, "SELECT cause FROM alerts WHERE cleared_at IS NULL ORDER BY cause").await;
    assert_eq!(open, ["pool-empty:GB", "untold:client-2"]);

    // The clients stay on the waiting list.
    system.operator(&["pool", "seed", "+447100000003"]).await.unwrap();
    let ready = async || system.stand_in.bodies_to(&phone(1)).len() == 2;
    eventually(PATIENCE, "the first is told that a number is ready", ready).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_drains_a_number_and_is_told_who_holds_it() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    paid_clients(&system.pool, "client", 2).await;
    allocate(&system.pool, "client-1").await;
    allocate(&system.pool, "client-2").await;
    let run = async |arguments: &[&str]| {
        let (code, stdout, stderr) = system.operator(arguments).await.unwrap();
        (code, format!("{stdout}{stderr}"))
    };
    let said = |words: &str| (0, format!("{FIRST} {words}\n"));
    let drained = "is drained: no client will be given it; client client-1 holds it";
    assert_eq!(run(&["pool", "drain", FIRST]).await, said(drained));
    let again = "was drained already: no client will be given it; client client-1 holds it";
    assert_eq!(run(&["pool", "drain", FIRST]).await, said(again));
    let released = "is back in the pool, but drained; it was held by client client-1";
    assert_eq!(run(&["pool", "release", FIRST, "--yes", "--now"]).await, said(released));
    let undone = "is drained no more: clients may be given it; nobody holds it";
    assert_eq!(run(&["pool", "drain", FIRST, "--undo"]).await, said(undone));
    let was_told = async || system.stand_in.bodies_to(&phone(2)).len() == 1;
    eventually(PATIENCE, "the waiting client is told at once", was_told).await;
    let again = "was not drained: clients may be given it; nobody holds it";
    assert_eq!(run(&["pool", "drain", FIRST, "--undo"]).await, said(again));
    let (code, words) = run(&["pool", "drain", "+447100000009"]).await;
    assert!(code == 1 && words.contains("not in the pool"), "{words}");
    assert_eq!(run(&["pool", "drain", "07100"]).await.0, 2);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_a_number_that_no_client_holds_is_told_so_and_never_kept_waiting() {
    let system = test_system_with(1, &[]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    paid_clients(&system.pool, "client", 1).await;
    allocate(&system.pool, "client-1").await;
    let call_answer = async |number: &str| {
        let (arrived, ended) = system.stand_in.call("+447700900123", number).await.unwrap();
        assert_eq!((arrived.status, ended.status), (200, 204));
        arrived.body
    };
    assert_eq!(call_answer(FIRST).await, CALL_TWIML, "client-1 holds it");
    assert_eq!(call_answer(SECOND).await, UNUSED_NUMBER_TWIML, "no client has it yet");
    assert_eq!(call_answer(&system.account.onboarding_number).await, CALL_TWIML, "it is not in the pool");
    leave(&system.pool, "client-1").await;
    assert_eq!(call_answer(FIRST).await, UNUSED_NUMBER_TWIML, "it cools down");
    system.settle().await.unwrap();

    // The pool is locked, but the inbox accepts the call.
    let mut locked = system.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE twilio_number_pool IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let calls = || count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'call_arrived'");
    let before = calls().await;
    let form = system.stand_in.call_form(&system.stand_in.new_sid("CA"), "+447700900123", FIRST, "ringing");
    let asked = tokio::time::Instant::now();
    let answer = system.stand_in.post("/webhooks/twilio/voice", &form).await.unwrap();
    assert!(asked.elapsed() < RECORD_TIMEOUT + Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((answer.status, answer.body.as_str()), (200, CALL_TWIML));
    assert_eq!(calls().await, before + 1);
    locked.rollback().await.unwrap();
    assert_eq!(call_answer(FIRST).await, UNUSED_NUMBER_TWIML);
    system.shut_down().await.unwrap();
}
