//! Twilio as it really behaves: it refuses, fails, forgets and repeats itself. Nothing is lost, and nothing is said twice.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use jobrun::demo::Stage;
use jobrun_shared::db::messages;
use jobrun_shared::{clock, operator};
use jobrun_stand_in::{Fate, Fault, Misbehaviour, Reports};
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, say, stage, stage_with, texts,
};

const ANN: &str = "+447900000001";

/// The number of Ann's business, in tests where she has one.
const HERS: &str = "+447100000001";

/// The number of somebody else's business.
const ANOTHERS: &str = "+447100000002";

/// Longer than one text after another of unknown outcome is looked for, each of them several times over.
const LONG: Duration = Duration::from_secs(1200);

/// Ann, who has paid, and stands in the given state with a number of her own.
async fn ann_at(stage: &Stage, state: &'static str) {
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
           VALUES ('ann', '447900000001', TRUE, '+447100000001');
           UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'ann';"#,
    )
    .execute(&stage.pool)
    .await
    .unwrap();
    let stands = "INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', $1)";
    sqlx::query(stands).bind(state).execute(&stage.pool).await.unwrap();
}

/// Somebody texts, and nobody waits for what it causes.
async fn texts_in(stage: &Stage, phone: &str, body: &str) {
    assert_eq!(stage.stand_in.text(phone, body).await.unwrap().status, 200);
}

async fn rows(stage: &Stage, expected: i64, statement: &'static str) {
    eventually(PATIENCE, statement, async || count(&stage.pool, statement).await == expected).await;
}

/// What the workers have printed, those that are gone excepted.
fn printed(stage: &Stage, text: &str) -> usize {
    stage.workers.iter().flat_map(|worker| worker.lines()).filter(|line| line.contains(text)).count()
}

/// The seed is printed, and can be given: `SEED=8 cargo test -p jobrun-tests --test it thirty_percent`.
fn seed() -> u64 {
    option_env!("SEED").and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_thirty_percent_failing_and_workers_dying_every_text_is_sent_once_and_in_order() {
    const PEOPLE: usize = 400;
    const SAID: [&str; 5] = ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "Not yet"];
    let mut stage = stage(2).await;
    let misbehaviour = Misbehaviour { seed: seed(), percent: 30 };
    eprintln!("{misbehaviour}");
    stage.stand_in.misbehave(misbehaviour);
    let everybody = (1..=PEOPLE).map(|n| {
        let stand_in = &stage.stand_in;
        async move {
            for body in SAID {
                assert_eq!(stand_in.text(&phone(n), body).await.unwrap().status, 200);
            }
        }
    });
    stream::iter(everybody).buffer_unordered(20).collect::<Vec<()>>().await;

    kill_workers_until_all_is_sent(&mut stage, PEOPLE * SAID.len()).await;
    every_text_was_taken_once_and_in_order(&stage).await;
    eventually(LONG, "every row says what is true", async || untrue_rows(&stage).await.is_empty()).await;
    for fault in [
        "429-retry-after",
        "429",
        "500-before",
        "500-after",
        "503",
        "late",
        "dropped-before",
        "dropped-after",
        "unreadable",
    ] {
        assert!(stage.stand_in.count(fault) > 0, "{fault} never happened");
    }
    stage.strike().await.unwrap();
}

/// One of two workers at a time, every few seconds.
async fn kill_workers_until_all_is_sent(stage: &mut Stage, expected: usize) {
    let mut kills = tokio::time::interval(Duration::from_secs(4));
    let deadline = tokio::time::Instant::now() + LONG;
    let open = "SELECT (SELECT count(*) FROM messages WHERE status IN ('queued', 'sending', 'unknown'))
                     + (SELECT count(*) FROM events WHERE processed_at IS NULL AND kind = 'text')";
    while count(&stage.pool, open).await > 0
        || count(&stage.pool, "SELECT count(*) FROM messages").await < expected as i64
    {
        assert!(tokio::time::Instant::now() < deadline, "not all is sent: {}", stage.last_lines());
        kills.tick().await;
        stage.workers[0].kill().await.unwrap();
        stage.workers.remove(0);
        stage.start_worker().unwrap();
    }
}

async fn every_text_was_taken_once_and_in_order(stage: &Stage) {
    let owed: Vec<(String, String)> =
        sqlx::query_as("SELECT to_phone, body FROM messages ORDER BY id").fetch_all(&stage.pool).await.unwrap();
    let taken = stage.stand_in.messages().into_iter().map(|it| (it.to, it.body));
    let by_person = |texts: &mut dyn Iterator<Item = (String, String)>| {
        texts.fold(HashMap::<String, Vec<String>>::new(), |mut people, (person, body)| {
            people.entry(person).or_default().push(body);
            people
        })
    };
    assert_eq!(by_person(&mut taken.into_iter()), by_person(&mut owed.into_iter()));
}

/// Moves the clock of the texts that nothing final is known of, and answers those that do not say what Twilio knows.
async fn untrue_rows(stage: &Stage) -> Vec<String> {
    let rows: Vec<(String, String, Option<i32>)> =
        sqlx::query_as("SELECT twilio_sid, status, error_code FROM messages").fetch_all(&stage.pool).await.unwrap();
    let known: HashMap<String, (String, Option<i32>)> =
        rows.into_iter().map(|(sid, status, code)| (sid, (status, code))).collect();
    let untrue: Vec<String> = stage
        .stand_in
        .messages()
        .into_iter()
        .filter(|it| known.get(&it.sid) != Some(&(it.status.name().to_owned(), it.error_code.map(|code| code as i32))))
        .map(|it| it.sid)
        .collect();
    let later = "UPDATE messages SET check_at = now(), checks = 0
                 WHERE id IN (SELECT id FROM messages WHERE twilio_sid = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED)";
    sqlx::query(later).bind(&untrue).execute(&stage.pool).await.unwrap();
    untrue
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_account_is_refused_nothing_is_lost_and_one_alert_says_so() {
    const PEOPLE: usize = 30;
    let stage = stage(2).await;
    stage.stand_in.always(Some(Fault::Unauthorised));
    join_all((1..=PEOPLE).map(async |n| texts_in(&stage, &phone(n), "Plumber from London").await)).await;
    let a_minute = "SELECT count(*) FROM sending WHERE parked_at < now() - INTERVAL '1 minute'";
    eventually(LONG, "a minute has passed", async || count(&stage.pool, a_minute).await == 1).await;
    rows(&stage, PEOPLE as i64, "SELECT count(*) FROM messages WHERE status = 'queued' AND attempts = 0").await;
    let attempts = count(&stage.pool, "SELECT sum(claims) FROM messages").await;
    assert!(attempts < 2 * PEOPLE as i64, "{attempts} attempts in a minute is no parking");
    let (code, open, _) = stage.operator(&["alerts"]).await.unwrap();
    assert!(code == 1 && open.contains("account:20003"), "{open}");

    stage.stand_in.always(None);
    stage.settle().await.unwrap();
    every_text_was_taken_once_and_in_order(&stage).await;
    assert_eq!(stage.stand_in.messages().len(), PEOPLE);
    assert_eq!(
        count(&stage.pool, "SELECT count(*) FROM messages WHERE attempts <> 1").await,
        0,
        "no attempt was burned"
    );
    assert_eq!((printed(&stage, "ALERT"), printed(&stage, "ALL CLEAR")), (1, 1));
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await, 1);
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts").await, 1);
    assert_eq!(stage.operator(&["alerts"]).await.unwrap().0, 0);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_texted_while_the_ingress_was_down_is_fetched_once_and_in_order() {
    const PEOPLE: usize = 30;
    let mut stage = stage(2).await;
    say(&stage, &phone(1), "Plumber from London").await;
    stage.ingress.stop().await.unwrap();
    for body in ["ABC Plumbing", "John Smith"] {
        assert!(stage.stand_in.text(&phone(1), body).await.is_err(), "nobody is there");
    }
    for n in 2..=PEOPLE {
        for body in ["Plumber from London", "ABC Plumbing"] {
            assert!(stage.stand_in.text(&phone(n), body).await.is_err(), "nobody is there");
        }
    }
    // Another number of the same account, which is none of ours.
    assert!(stage.stand_in.text_to("+447700900123", "+447199999999", "Is the flat still free?").await.is_err());
    stage.start_ingress().await.unwrap();
    rows(&stage, 2 * PEOPLE as i64 + 1, "SELECT count(*) FROM events WHERE kind = 'text'").await;
    stage.settle().await.unwrap();
    assert!(stage.stand_in.bodies_to(&phone(1))[2].contains("Reply SMS"), "in order");
    assert!((2..=PEOPLE).all(|n| stage.stand_in.bodies_to(&phone(n)).len() == 2));
    assert!((2..=PEOPLE).all(|n| stage.stand_in.bodies_to(&phone(n))[1].contains("your own name")));
    assert!(say(&stage, &phone(2), "John Smith").await[0].contains("Reply SMS"), "the conversation goes on");

    // The alert is raised, and cleared by the next comparison, which finds nothing more.
    rows(&stage, 1, "SELECT count(*) FROM alerts WHERE cause = 'texts-missed' AND cleared_at IS NOT NULL").await;
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM events WHERE kind = 'text'").await, 2 * PEOPLE as i64 + 2);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_behind_our_back_is_left_alone_until_they_come_back() {
    let stage = stage(1).await;
    // At once, in the answer to the request.
    stage.stand_in.fail_next(Fault::Refused(21610));
    assert!(say(&stage, ANN, "Plumber from London").await.is_empty());
    assert!(say(&stage, ANN, "ABC Plumbing").await.is_empty());
    assert!(say(&stage, ANN, "START").await[0].contains("name of your business"));
    // And later, in a delivery report.
    stage.stand_in.end_as(Fate::Failed(21610));
    say(&stage, ANN, "ABC Plumbing").await;
    rows(&stage, 1, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await;
    stage.stand_in.end_as(Fate::Delivered);
    assert!(say(&stage, ANN, "John Smith").await.is_empty());
    assert!(say(&stage, ANN, "yes").await[0].contains("your own name"), "YES from somebody who opted out opts in");
    say(&stage, ANN, "Stop").await;
    let record = texts(&stage.pool, "SELECT change FROM opt_changes ORDER BY id").await;
    assert_eq!(record, ["out", "in", "out", "in", "out"]);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_took_for_an_opt_out_is_one_and_a_yes_is_still_an_answer() {
    let stage = stage(1).await;
    for (body, taken_for) in [("ARRET", "STOP"), ("Plumber from London", ""), ("REPRENDRE", "START"), ("AIDE", "HELP")]
    {
        let mut form = stage.stand_in.text_form(ANN, &stage.account.onboarding_number, body);
        if !taken_for.is_empty() {
            form.push(("OptOutType".to_owned(), taken_for.to_owned()));
        }
        assert_eq!(stage.stand_in.post("/webhooks/twilio/sms", &form).await.unwrap().status, 200);
        stage.settle().await.unwrap();
    }
    let answers = stage.stand_in.bodies_to(ANN);
    assert!(answers.len() == 1 && answers[0].contains("What's your trade"), "{answers:?}");
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        say(&stage, ANN, body).await;
    }
    let mut yes = stage.stand_in.text_form(ANN, &stage.account.onboarding_number, "YES");
    yes.push(("OptOutType".to_owned(), "START".to_owned()));
    stage.stand_in.post("/webhooks/twilio/sms", &yes).await.unwrap();
    stage.settle().await.unwrap();
    assert!(stage.stand_in.bodies_to(ANN).last().unwrap().contains("confirm payment here"));
    stage.strike().await.unwrap();
}

/// A client's wish about texts is the person's, whichever of our numbers hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn stop_and_start_to_any_number_of_ours_count() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    let texts_another = async |body: &str| {
        stage.stand_in.text_to(ANN, ANOTHERS, body).await.unwrap();
        stage.settle().await.unwrap();
    };
    texts_another("STOP").await;
    let out = r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#;
    assert_eq!(count(&stage.pool, out).await, 1);
    assert!(say(&stage, ANN, "2").await.is_empty(), "opted out on our own number as well");
    texts_another("Are you free on Monday?").await;
    assert!(stage.stand_in.messages().is_empty());

    texts_another("Start").await;
    assert_eq!(count(&stage.pool, out).await, 0);
    let answers = stage.stand_in.bodies_to(ANN);
    assert!(answers.len() == 1 && answers[0].contains("1 iPhone"), "{answers:?}");
    texts_another("START").await;
    assert_eq!(stage.stand_in.bodies_to(ANN).len(), 1, "from a client that takes texts it is no concern of ours");
    texts_another("Please stop texting me").await;
    assert_eq!(count(&stage.pool, out).await, 1, "in words that Twilio does not know");
    assert_eq!(texts(&stage.pool, "SELECT change FROM opt_changes ORDER BY id").await, ["out", "in", "out"]);
    stage.strike().await.unwrap();
}

/// A stranger's STOP to a pool number is respected as well, though nobody is a client.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_says_stop_is_not_answered_later() {
    let stage = stage(1).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    for body in ["STOP", "Are you free on Monday?"] {
        stage.stand_in.text_to("+447700900123", HERS, body).await.unwrap();
        stage.settle().await.unwrap();
    }
    assert!(stage.stand_in.messages().is_empty());
    for body in ["START", "Are you free on Monday?"] {
        stage.stand_in.text_to("+447700900123", HERS, body).await.unwrap();
        stage.settle().await.unwrap();
    }
    assert_eq!(stage.stand_in.bodies_to("+447700900123").len(), 1);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_pays_and_opts_out_is_an_alert_until_it_opts_in() {
    let stage = stage(1).await;
    ann_at(&stage, "COMPLETE").await;
    let open = "SELECT cause FROM alerts WHERE cleared_at IS NULL";
    say(&stage, ANN, "STOP").await;
    assert_eq!(texts(&stage.pool, open).await, ["opted-out:ann"]);
    say(&stage, ANN, "START").await;
    assert!(texts(&stage.pool, open).await.is_empty());
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = FALSE"#).execute(&stage.pool).await.unwrap();
    say(&stage, ANN, "STOP").await;
    assert!(texts(&stage.pool, open).await.is_empty(), "from somebody who does not pay it is no alert");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_no_text_reaches_is_left_alone_until_it_texts() {
    let stage = stage(1).await;
    ann_at(&stage, "S8_FWD_CONFIRM").await;
    stage.stand_in.end_as(Fate::Undelivered(30006));
    say(&stage, ANN, "Did it work?").await;
    rows(&stage, 1, r#"SELECT count(*) FROM clients WHERE "unreachableAt" IS NOT NULL"#).await;
    stage.stand_in.end_as(Fate::Delivered);
    stage.stand_in.call("+447700900123", HERS).await.unwrap();
    stage.settle().await.unwrap();
    assert_eq!(stage.stand_in.bodies_to(ANN).len(), 1, "live, without a word");
    assert_eq!(texts(&stage.pool, "SELECT current_state FROM onboarding_states").await, ["COMPLETE"]);
    assert!(say(&stage, ANN, "Hello?").await[0].contains("You're all set"));
    let alerts = "SELECT concat(cause, ' ', cleared_at IS NOT NULL) FROM alerts";
    assert_eq!(
        texts(&stage.pool, alerts).await,
        ["unreachable:ann t"],
        "a client who pays was out of reach for a while"
    );
    stage.strike().await.unwrap();
}

/// The carrier reports on the only text that Ann was sent.
async fn carrier_reports(stage: &Stage, status: &str) {
    let sent = stage.stand_in.messages().remove(0);
    let id = count(&stage.pool, "SELECT min(id) FROM messages").await;
    let account = stage.account.sid.as_str();
    let form = [("AccountSid", account), ("MessageSid", sent.sid.as_str()), ("MessageStatus", status), ("To", ANN)];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let answer = stage.stand_in.post(&format!("/webhooks/twilio/sms/status?m={id}"), &form).await.unwrap();
    assert_eq!(answer.status, 204);
    rows(stage, 0, "SELECT count(*) FROM events WHERE processed_at IS NULL").await;
}

const FIRST_TEXT: &str = "SELECT concat_ws('|', status, error_code, error_message) FROM messages ORDER BY id LIMIT 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_arrives_after_all_puts_right_what_its_loss_had_done() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    stage.stand_in.end_as(Fate::Undelivered(30005));
    say(&stage, ANN, "2").await;
    rows(&stage, 2, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL AND cause LIKE 'un%:ann'").await;
    let unreachable = r#"SELECT count(*) FROM clients WHERE "unreachableAt" IS NOT NULL"#;
    rows(&stage, 1, unreachable).await;

    carrier_reports(&stage, "delivered").await;
    rows(&stage, 0, unreachable).await;
    assert_eq!(texts(&stage.pool, FIRST_TEXT).await, ["delivered"]);
    rows(&stage, 0, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await;
    // The reports may be twisted, and the last word is the first.
    carrier_reports(&stage, "undelivered").await;
    assert_eq!(texts(&stage.pool, FIRST_TEXT).await, ["delivered"]);
    assert_eq!(count(&stage.pool, unreachable).await, 0);
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM messages").await, 1);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_try_of_a_text_that_arrived_after_all_does_not_leave() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    stage.stand_in.end_as(Fate::Undelivered(30003));
    texts_in(&stage, ANN, "2").await;
    rows(&stage, 1, "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued'").await;
    carrier_reports(&stage, "delivered").await;
    assert_eq!(texts(&stage.pool, FIRST_TEXT).await, ["delivered"]);
    let dropped = "SELECT concat_ws('|', status, attempts, error_message) FROM messages WHERE retry_of IS NOT NULL";
    assert_eq!(texts(&stage.pool, dropped).await, ["failed|0|the first one arrived after all"]);
    stage.strike().await.unwrap();
}

/// Payment links, "your number is ready" and instructions are worth a second try, and then the operator's attention.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_matters_is_tried_once_more_and_then_raised() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    stage.stand_in.end_as(Fate::Undelivered(30003));
    assert_eq!(stage.stand_in.text(ANN, "2").await.unwrap().status, 200);
    let second = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued' AND next_attempt_at > now() + INTERVAL '1 hour'";
    rows(&stage, 1, second).await;
    // Hours later.
    sqlx::raw_sql("UPDATE messages SET next_attempt_at = now() WHERE status = 'queued'")
        .execute(&stage.pool)
        .await
        .unwrap();
    rows(&stage, 1, "SELECT count(*) FROM alerts WHERE cause = 'undelivered:forwarding_instructions:ann'").await;
    let bodies = stage.stand_in.bodies_to(ANN);
    assert!(bodies.len() == 2 && bodies[0] == bodies[1], "{bodies:?}");
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM messages").await, 2, "and not a third time");

    // Asked for again, and delivered: the alert is over.
    stage.stand_in.end_as(Fate::Delivered);
    assert!(say(&stage, ANN, "2").await[0].contains("**61*"));
    rows(&stage, 1, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await;
    assert_eq!((printed(&stage, "ALERT"), printed(&stage, "ALL CLEAR")), (1, 1));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_try_is_dropped_when_the_conversation_goes_on_and_holds_nobody_up() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    stage.stand_in.end_as(Fate::Undelivered(30003));
    assert_eq!(stage.stand_in.text(ANN, "2").await.unwrap().status, 200);
    rows(&stage, 1, "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL").await;
    stage.stand_in.end_as(Fate::Delivered);
    texts_in(&stage, ANN, "What do you mean?").await;
    eventually(PATIENCE, "a reminder is sent", async || count_to(&stage, ANN) == 2).await;
    let waits = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued'";
    assert_eq!(count(&stage.pool, waits).await, 1, "a reminder does not repeat the instructions");
    assert!(say(&stage, ANN, "DONE").await[0].contains("let's test it"));
    let dropped = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'failed' AND attempts = 0";
    assert_eq!(count(&stage.pool, dropped).await, 1);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_wait_for_a_setting_are_kept_and_the_operator_hears_of_it_once() {
    let stage = stage(1).await;
    paid_clients(&stage.pool, "client", 3).await;
    stage.stand_in.always(Some(Fault::Refused(21606)));
    for n in 1..=3 {
        texts_in(&stage, &phone(n), "Plumber from London").await;
    }
    rows(&stage, 3, "SELECT count(*) FROM messages WHERE status = 'queued' AND attempts = 0 AND error_code = 21606")
        .await;
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts WHERE cause = 'configuration:21606'").await, 1);
    assert_eq!(printed(&stage, "ALERT"), 1);
    stage.stand_in.always(None);
    sqlx::raw_sql("UPDATE messages SET next_attempt_at = now()").execute(&stage.pool).await.unwrap();
    stage.settle().await.unwrap();
    assert_eq!(stage.stand_in.messages().len(), 3);
    // A day without it, and it counts as over.
    sqlx::raw_sql("UPDATE alerts SET last_seen_at = now() - INTERVAL '25 hours'").execute(&stage.pool).await.unwrap();
    rows(&stage, 1, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await;
    stage.strike().await.unwrap();
}

/// Twilio takes the texts, and says of each afterwards that the account may not send.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_refused_afterwards_is_probed_until_a_report_says_that_a_text_left() {
    let stage = stage(1).await;
    stage.stand_in.end_as(Fate::Failed(30037));
    texts_in(&stage, ANN, "Plumber from London").await;
    rows(&stage, 1, "SELECT count(*) FROM sending WHERE awaits_report").await;
    for n in 2..=5 {
        texts_in(&stage, &phone(n), "Plumber from London").await;
    }
    let probe_now = "UPDATE sending SET probe_at = now() WHERE parked_at IS NOT NULL";
    sqlx::raw_sql(probe_now).execute(&stage.pool).await.unwrap();
    rows(&stage, 2, "SELECT count(*) FROM messages WHERE status = 'failed' AND error_code = 30037").await;
    assert_eq!(stage.stand_in.messages().len(), 2, "one more to see, and the others wait");
    assert_eq!((printed(&stage, "ALERT"), printed(&stage, "ALL CLEAR")), (1, 0));

    stage.stand_in.end_as(Fate::Delivered);
    let soon = "UPDATE messages SET next_attempt_at = now() WHERE status = 'queued'";
    sqlx::raw_sql(soon).execute(&stage.pool).await.unwrap();
    sqlx::raw_sql(probe_now).execute(&stage.pool).await.unwrap();
    stage.settle().await.unwrap();
    // Which of the four was sent to see depends on who was answered first.
    let mut counts: Vec<usize> = (2..=5).map(|n| count_to(&stage, &phone(n))).collect();
    counts.sort_unstable();
    assert_eq!((count_to(&stage, ANN), counts), (2, vec![1, 1, 1, 2]), "what was lost is sent once more");
    rows(&stage, 1, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await;
    assert_eq!((printed(&stage, "ALERT"), printed(&stage, "ALL CLEAR")), (1, 1));
    stage.strike().await.unwrap();
}

fn count_to(stage: &Stage, phone: &str) -> usize {
    stage.stand_in.bodies_to(phone).len()
}

/// A report can be hours late: by then the client has read the text another way, or asked for texts again.
#[tokio::test(flavor = "multi_thread")]
async fn old_news_does_not_undo_what_happened_since() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    stage.stand_in.reports(Reports::Missing);
    stage.stand_in.end_as(Fate::Undelivered(30003));
    say(&stage, ANN, "2").await;
    stage.stand_in.end_as(Fate::Failed(21610));
    say(&stage, &phone(2), "Plumber from London").await;

    stage.stand_in.end_as(Fate::Delivered);
    say(&stage, ANN, "DONE").await;
    for body in ["STOP", "START"] {
        say(&stage, &phone(2), body).await;
    }
    sqlx::raw_sql("UPDATE messages SET check_at = now()").execute(&stage.pool).await.unwrap();
    rows(&stage, 2, "SELECT count(*) FROM messages WHERE error_code IN (30003, 21610)").await;
    stage.settle().await.unwrap();
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL").await, 0);
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts").await, 0);
    assert_eq!(count(&stage.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 0);
    stage.strike().await.unwrap();
}

/// A report about one text, by the name of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_applied_holds_nobody_up() {
    let stage = stage(1).await;
    stage.stand_in.reports(Reports::Missing);
    for n in 1..=2 {
        say(&stage, &phone(n), "Plumber from London").await;
    }
    let sid = stage.stand_in.messages()[0].sid.clone();
    sqlx::raw_sql("UPDATE messages SET twilio_sid = NULL WHERE id = 2").execute(&stage.pool).await.unwrap();
    let report = |sid: &str, status: &str, to: &str| {
        let account = stage.account.sid.as_str();
        let form = [("AccountSid", account), ("MessageSid", sid), ("MessageStatus", status), ("To", to)];
        form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let form = report(&sid, "delivered", "+447900000002");
    assert_eq!(stage.stand_in.post("/webhooks/twilio/sms/status?m=2", &form).await.unwrap().status, 204);
    rows(&stage, 1, "SELECT count(*) FROM events WHERE kind = 'delivery_report' AND due_at > now()").await;
    // Nor is a report believed that is about somebody else's text by the same number.
    let form = report(&stage.stand_in.new_sid("SM"), "failed", "+447900000009");
    assert_eq!(stage.stand_in.post("/webhooks/twilio/sms/status?m=2", &form).await.unwrap().status, 204);
    texts_in(&stage, &phone(1), "ABC Plumbing").await;
    eventually(PATIENCE, "the next answer is sent", async || count_to(&stage, &phone(1)) == 2).await;
    rows(&stage, 1, "SELECT count(*) FROM events WHERE outcome = 'not_our_text'").await;
    assert_eq!(texts(&stage.pool, "SELECT status FROM messages WHERE id = 2").await, ["sent"]);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_too_late_is_not_sent_and_the_operator_hears_of_one_that_matters() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    stage.stand_in.always(Some(Fault::Unauthorised));
    texts_in(&stage, ANN, "2").await;
    texts_in(&stage, &phone(2), "Plumber from London").await;
    rows(&stage, 2, "SELECT count(*) FROM messages").await;
    sqlx::raw_sql("UPDATE messages SET expires_at = now()").execute(&stage.pool).await.unwrap();
    rows(&stage, 2, "SELECT count(*) FROM messages WHERE status = 'failed' AND error_message LIKE 'too late%'").await;
    assert!(stage.stand_in.messages().is_empty());
    let raised = texts(&stage.pool, "SELECT cause FROM alerts WHERE cause LIKE 'undelivered:%'").await;
    assert_eq!(raised, ["undelivered:forwarding_instructions:ann"]);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_tells_twilio_how_long_it_makes_sense_and_what_it_costs_is_written_down() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    say(&stage, ANN, "2").await;
    say(&stage, ANN, "1").await;
    let costs = texts(&stage.pool, "SELECT concat(encoding, ' ', segments) FROM messages ORDER BY id").await;
    assert_eq!(costs, ["gsm7 1", "ucs2 4"], "the iPhone instructions begin with a picture of a phone");
    let periods: Vec<Option<u32>> = stage.stand_in.messages().iter().map(|it| it.validity_period).collect();
    assert!(periods.iter().all(|period| *period == Some(36_000)), "{periods:?}: instructions make sense all day");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_keeps_its_pace_by_segments() {
    let stage = stage_with(2, &[("TWILIO_SEGMENTS_PER_SECOND", "5")]).await;
    join_all((1..=40).map(async |n| texts_in(&stage, &phone(n), "Plumber from London").await)).await;
    stage.settle().await.unwrap();
    let sent = stage.stand_in.messages();
    assert_eq!(sent.len(), 40);
    let took = "SELECT EXTRACT(EPOCH FROM max(attempted_at) - min(attempted_at))::BIGINT FROM messages";
    // 40 segments at 5 a second, less the two seconds that a sender may be ahead.
    assert!(count(&stage.pool, took).await >= 5);
    stage.strike().await.unwrap();
}

/// Whoever finds a sender over its pace sees to it that somebody comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_waits_for_its_sender_s_pace_is_not_forgotten() {
    let stage = stage_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    say(&stage, ANN, "Plumber from London").await;
    sqlx::raw_sql("UPDATE senders SET free_at = now() + INTERVAL '20 seconds'").execute(&stage.pool).await.unwrap();
    texts_in(&stage, &phone(2), "Plumber from London").await;
    eventually(PATIENCE, "it is sent in the end", async || stage.stand_in.messages().len() == 2).await;
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_live_number_hears_of_each_call_once_unless_the_caller_hides() {
    let stage = stage(1).await;
    ann_at(&stage, "COMPLETE").await;
    for _ in 0..2 {
        stage.stand_in.call("+447700900123", HERS).await.unwrap();
        stage.settle().await.unwrap();
    }
    for withheld in ["anonymous", "+266696687", "Restricted", "+86282452253", ANN] {
        stage.stand_in.call(withheld, HERS).await.unwrap();
    }
    // The end of a call is reported, and its arrival never was, or only afterwards.
    let sid = stage.stand_in.new_sid("CA");
    for (path, status) in [("voice/status", "no-answer"), ("voice", "ringing")] {
        let form = stage.stand_in.call_form(&sid, "+447700900124", HERS, status);
        stage.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
    }
    stage.settle().await.unwrap();
    let told = stage.stand_in.bodies_to(ANN);
    assert_eq!(
        told,
        ["+447700900123", "+447700900123", "+447700900124"]
            .map(|caller| format!("Missed call: {caller} rang your JobRun number."))
    );
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts").await, 0, "which is no loop");
    stage.strike().await.unwrap();
}

/// Networks write numbers in many ways, and a call is recorded and answered whatever they write.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_hears_of_every_caller_whose_number_can_be_told_however_it_is_written() {
    let stage = stage(1).await;
    ann_at(&stage, "COMPLETE").await;
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
        let (arrived, ended) = stage.stand_in.call(from, HERS).await.unwrap();
        let answered = (arrived.status, arrived.content_type.as_str(), ended.status);
        assert_eq!(answered, (200, "text/xml", 204), "{from:?}");
        assert!(arrived.body.contains("Thank you for calling"), "{from:?}");
    }
    // And not at all.
    let mut form = stage.stand_in.call_form(&stage.stand_in.new_sid("CA"), "", HERS, "ringing");
    form.retain(|(name, _)| name != "From" && name != "Caller");
    assert_eq!(stage.stand_in.post("/webhooks/twilio/voice", &form).await.unwrap().status, 200);
    stage.settle().await.unwrap();
    let expected: Vec<String> =
        (101..=108).map(|n| format!("Missed call: +447700900{n} rang your JobRun number.")).collect();
    assert_eq!(stage.stand_in.bodies_to(ANN), expected);
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM events WHERE kind = 'call_arrived'").await, 13);
    let as_given = "SELECT payload->>'from' FROM events WHERE kind = 'call_arrived' ORDER BY id LIMIT 8";
    assert_eq!(texts(&stage.pool, as_given).await, written);
    stage.strike().await.unwrap();
}

/// The test call is not a missed call, even when its arrival is reported after its end.
#[tokio::test(flavor = "multi_thread")]
async fn the_test_call_makes_the_number_live_and_is_no_missed_call() {
    let stage = stage(1).await;
    ann_at(&stage, "S8_FWD_CONFIRM").await;
    let sid = stage.stand_in.new_sid("CA");
    for (path, status) in [("voice/status", "completed"), ("voice", "ringing"), ("voice", "ringing")] {
        let form = stage.stand_in.call_form(&sid, "+447700900123", HERS, status);
        stage.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
        stage.settle().await.unwrap();
    }
    let told = stage.stand_in.bodies_to(ANN);
    assert!(told.len() == 1 && told[0].starts_with("You're live!"), "{told:?}");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_that_answer_each_other_are_stopped() {
    let stage = stage(1).await;
    for n in 0..40 {
        texts_in(&stage, ANN, &format!("I am away until Monday. Ref {n}?")).await;
    }
    stage.settle().await.unwrap();
    assert_eq!(stage.stand_in.bodies_to(ANN).len(), 8);
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM messages WHERE held_back AND status = 'failed'").await, 32);
    assert_eq!(printed(&stage, "ALERT"), 1);
    // Minutes later, somebody is there.
    sqlx::raw_sql("UPDATE messages SET created_at = created_at - INTERVAL '6 minutes'")
        .execute(&stage.pool)
        .await
        .unwrap();
    assert!(say(&stage, ANN, "Plumber from London").await[0].contains("name of your business"));
    stage.strike().await.unwrap();
}

/// The callers' news has a budget of its own, so that it costs no text of the conversation.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_calls_does_not_cost_a_text_that_matters() {
    let stage = stage(1).await;
    ann_at(&stage, "COMPLETE").await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    for n in 0..25 {
        stage.stand_in.call(&format!("+4477009001{n:02}"), HERS).await.unwrap();
    }
    stage.settle().await.unwrap();
    assert_eq!(count_to(&stage, ANN), 20);
    // So that she is given the other number.
    operator::drain(&stage.pool, HERS, false, clock::now()).await.unwrap();
    operator::release(&stage.pool, HERS, Duration::ZERO, clock::now()).await.unwrap();
    let told = async || stage.stand_in.bodies_to(ANN).last().unwrap().contains("number had to change");
    eventually(PATIENCE, "she is told of her new number", told).await;
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts WHERE cause LIKE 'loop:%'").await, 0);
    stage.strike().await.unwrap();
}

/// Twenty different texts of the conversation, which Ann was sent a moment ago.
const TWENTY_TEXTS: &str = "
    INSERT INTO messages (client_id, kind, to_phone, from_number, body, status, created_at, updated_at)
    SELECT 'ann', 'no_hurry', '+447900000001', '+447476955179', n::TEXT, 'delivered', now() - INTERVAL '1 minute', now()
    FROM generate_series(1, 20) AS n";

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_matters_and_is_one_too_many_is_sent_later() {
    let stage = stage(1).await;
    ann_at(&stage, "S6_PHONE_TYPE").await;
    sqlx::raw_sql(TWENTY_TEXTS).execute(&stage.pool).await.unwrap();
    texts_in(&stage, ANN, "2").await;
    let deferred = "SELECT count(*) FROM messages WHERE kind = 'forwarding_instructions' AND status = 'queued'
                      AND next_attempt_at BETWEEN now() + INTERVAL '3 minutes' AND now() + INTERVAL '5 minutes'
                      AND expires_at > next_attempt_at + INTERVAL '23 hours'";
    rows(&stage, 1, deferred).await;
    texts_in(&stage, ANN, "What do you mean?").await;
    rows(&stage, 1, "SELECT count(*) FROM messages WHERE kind = 'remind_forwarding' AND held_back").await;
    rows(&stage, 1, "SELECT count(*) FROM alerts WHERE cause = 'loop:ann'").await;
    assert!(stage.stand_in.messages().is_empty());

    // Minutes later.
    let later = "UPDATE messages SET created_at = created_at - INTERVAL '5 minutes',
                                     deferred_until = deferred_until - INTERVAL '5 minutes',
                                     next_attempt_at = next_attempt_at - INTERVAL '5 minutes'";
    sqlx::raw_sql(later).execute(&stage.pool).await.unwrap();
    stage.settle().await.unwrap();
    let told = stage.stand_in.bodies_to(ANN);
    assert!(told.len() == 1 && told[0].contains("**61*"), "{told:?}");
    stage.strike().await.unwrap();
}

/// A deferred text of the conversation, and what was written after it.
const AFTER_A_DEFERRED_TEXT: &str = "
    INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at, deferred_until, next_attempt_at)
    SELECT kind, '+447900000001', '+447476955179', kind, now(), now(), until, until
    FROM (VALUES ('number_changed', now() + INTERVAL '4 minutes'), ('missed_call', NULL), ('live', NULL))
        AS m (kind, until)";

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_text_is_overtaken_by_news_of_callers_and_by_nothing_else() {
    let pool = migrated_database(2).await;
    sqlx::raw_sql(AFTER_A_DEFERRED_TEXT).execute(&pool).await.unwrap();
    let claim = async |at| {
        let claimed = messages::claim(&pool, at, 100, 10).await.unwrap().into_iter();
        sqlx::raw_sql("UPDATE messages SET status = 'sent' WHERE status = 'sending'").execute(&pool).await.unwrap();
        claimed.map(|text| text.kind).collect::<Vec<String>>()
    };
    let now = clock::now();
    assert_eq!(claim(now).await, ["missed_call"]);
    assert!(claim(now + TimeDelta::minutes(3)).await.is_empty());
    assert_eq!(claim(now + TimeDelta::minutes(5)).await, ["number_changed"]);
    assert_eq!(claim(now + TimeDelta::minutes(5)).await, ["live"]);
}

/// Six thousand texts to Ann that are too late, and one that is not.
const EXPIRED_TEXTS: &str = "
    INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at, expires_at)
    SELECT CASE WHEN n > 6000 THEN 'live' ELSE 'missed_call' END, '+447900000001', '+447476955179', n::TEXT,
           now() - INTERVAL '2 hours', now(), now() + CASE WHEN n > 6000 THEN 1 ELSE -1 END * INTERVAL '1 hour'
    FROM generate_series(1, 6001) AS n";

#[tokio::test(flavor = "multi_thread")]
async fn expired_texts_hold_up_nothing() {
    let pool = migrated_database(2).await;
    sqlx::raw_sql(EXPIRED_TEXTS).execute(&pool).await.unwrap();
    let claimed = messages::claim(&pool, clock::now(), 100, 10).await.unwrap();
    assert_eq!(claimed.into_iter().map(|text| text.kind).collect::<Vec<_>>(), ["live"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_settles_every_text_that_is_too_late() {
    let stage = stage_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    sqlx::raw_sql(EXPIRED_TEXTS).execute(&stage.pool).await.unwrap();
    // Adding numbers pushes the job of one sweep.
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    rows(&stage, 6000, "SELECT count(*) FROM messages WHERE status = 'failed' AND error_message LIKE 'too late%'")
        .await;
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_is_asked_about_a_text_that_it_never_reported_on() {
    let stage = stage(1).await;
    stage.stand_in.reports(Reports::Missing);
    stage.stand_in.end_as(Fate::Undelivered(30008));
    say(&stage, ANN, "Plumber from London").await;
    rows(&stage, 1, "SELECT count(*) FROM messages WHERE status = 'sent' AND check_at > now() + INTERVAL '10 minutes'")
        .await;
    sqlx::raw_sql("UPDATE messages SET check_at = now()").execute(&stage.pool).await.unwrap();
    rows(&stage, 1, "SELECT count(*) FROM messages WHERE status = 'undelivered' AND error_code = 30008").await;
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_s_wish_to_wait_is_respected() {
    let stage = stage(1).await;
    stage.stand_in.fail_next(Fault::Refused(21611));
    texts_in(&stage, ANN, "Plumber from London").await;
    // The queue at Twilio is full: minutes, not seconds.
    let waits =
        "SELECT count(*) FROM messages WHERE status = 'queued' AND next_attempt_at > now() + INTERVAL '4 minutes'";
    rows(&stage, 1, waits).await;
    stage.stand_in.fail_next(Fault::RetryAfter);
    texts_in(&stage, &phone(2), "Plumber from London").await;
    eventually(PATIENCE, "the other is sent", async || stage.stand_in.messages().len() == 1).await;
    assert_eq!(count(&stage.pool, "SELECT attempts::BIGINT FROM messages WHERE to_phone = '+447900000002'").await, 2);
    stage.strike().await.unwrap();
}
