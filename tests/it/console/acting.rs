//! Actions on a client from its page: recorded once, refused to whom they are not for, and lost to nobody.

use reqwest::StatusCode;

use super::Console;

const ANN: &str = r#"INSERT INTO clients (id, "phoneNumber") VALUES ('ann', '447900000001')"#;

fn reply<'a>(name: &'a str, body: &'a str) -> [(&'a str, &'a str); 3] {
    [("action", "reply"), ("name", name), ("body", body)]
}

async fn recorded(console: &Console) -> Vec<String> {
    let events =
        "SELECT concat_ws(' ', payload ->> 'by', payload -> 'action' ->> 'action', payload -> 'action' ->> 'body')
                  FROM events WHERE kind = 'operator_action' AND source = 'operator' ORDER BY id";
    sqlx::query_scalar(events).fetch_all(&console.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_acts_once_and_words_that_were_typed_are_never_lost() {
    let console = Console::start(&[]).await;
    console.run(ANN).await;
    let cookie = console.log_in("op").await;
    let page = console.get("/clients/ann", Some(&cookie)).await;
    assert!(page.body.contains("action=\"/clients/ann/actions\""), "{}", page.body);

    let name = "0123456789abcdef-reply";
    for _ in 0..2 {
        let sent = console.post("/clients/ann/actions", Some(&cookie), &reply(name, "Hi Ann")).await;
        assert_eq!((sent.status, sent.location()), (StatusCode::SEE_OTHER, "/clients/ann#act"), "{}", sent.body);
    }
    assert_eq!(recorded(&console).await, ["op reply Hi Ann"]);
    let actions = "SELECT count(*) FROM audit_log WHERE action = 'client.reply' AND subject = 'ann' AND who = 'op'";
    assert_eq!(jobrun_tests::count(&console.pool, actions).await, 1);

    // Other words with the name of an old page are not taken for the same, and stand in the form again.
    let other = console.post("/clients/ann/actions", Some(&cookie), &reply(name, "And another thing")).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert!(other.body.contains("And another thing") && other.body.contains("Nothing was done"), "{}", other.body);
    assert_eq!(recorded(&console).await.len(), 1);

    let unknown = console.post("/clients/bob/actions", Some(&cookie), &reply("0123456789abcdeg", "Hi")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_told_that_another_has_taken_the_client_over() {
    let console = Console::start(&[]).await;
    console.run(ANN).await;
    let take_over = r#"UPDATE clients SET "takenOverBy" = 'ad', "takenOverAt" = now()"#;
    console.run(take_over).await;
    let cookie = console.log_in("op").await;
    let sent = console.post("/clients/ann/actions", Some(&cookie), &reply("0123456789abcdef", "Hi <b>Ann</b>")).await;
    assert_eq!(sent.status, StatusCode::CONFLICT);
    for shown in ["ad has taken this client over", "Hi &#60;b&#62;Ann&#60;/b&#62;", "Take over from ad"] {
        assert!(sent.body.contains(shown), "{shown} is not in\n{}", sent.body);
    }
    assert_eq!(recorded(&console).await, Vec::<String>::new());
    let form = [("action", "take_over"), ("name", "0123456789abcdeh"), ("from", "ad"), ("silence_minutes", "60")];
    let taken = console.post("/clients/ann/actions", Some(&cookie), &form).await;
    assert_eq!(taken.status, StatusCode::SEE_OTHER, "{}", taken.body);
    assert_eq!(recorded(&console).await, ["op take_over"]);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_reason_is_not_done_without_one_and_viewers_see_no_form() {
    let console = Console::start(&[]).await;
    console.run(ANN).await;
    let cookie = console.log_in("op").await;
    let form = [("action", "mark_paid"), ("name", "0123456789abcdef"), ("why", "  ")];
    let sent = console.post("/clients/ann/actions", Some(&cookie), &form).await;
    assert_eq!(sent.status, StatusCode::BAD_REQUEST);
    assert!(sent.body.contains("Say why"), "{}", sent.body);
    let form = [("action", "mark_paid"), ("name", "0123456789abcdef"), ("why", "paid in cash")];
    assert_eq!(console.post("/clients/ann/actions", Some(&cookie), &form).await.status, StatusCode::SEE_OTHER);
    let page = console.get("/clients/ann", Some(&cookie)).await.body;
    assert!(page.contains("op marked the client as paid, because: paid in cash (not looked at yet)"), "{page}");

    let viewer = console.log_in("vi").await;
    let page = console.get("/clients/ann", Some(&viewer)).await.body;
    assert!(!page.contains("/actions"), "{page}");
    let refused = console.post("/clients/ann/actions", Some(&viewer), &reply("0123456789abcdei", "Hi")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let elsewhere = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let form = reply("0123456789abcdej", "Hi");
    let forged =
        console.send_with(reqwest::Method::POST, "/clients/ann/actions", Some(&cookie), &form, &elsewhere).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert_eq!(recorded(&console).await.len(), 1);
    console.stop().await;
}
