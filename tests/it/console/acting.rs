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
async fn the_forms_to_move_a_client_and_to_take_its_number_name_what_the_page_showed() {
    let console = Console::start(&[]).await;
    console.run(ANN).await;
    console.run(r#"UPDATE clients SET "twilioNumber" = '+447100000001'"#).await;
    let cookie = console.log_in("op").await;
    let page = console.get("/clients/ann", Some(&cookie)).await.body;
    let shown = [
        r#"<input type="hidden" name="from_state" value="S1_BUSINESS_TYPE_LOCATION">"#,
        r#"<input type="hidden" name="number" value="+447100000001">"#,
    ];
    for field in shown {
        assert!(page.replace("&#43;", "+").contains(field), "{field} is not in\n{page}");
    }
    let (name, why) = (("name", "0123456789abcdef"), ("why", "x"));
    let of_an_old_page = [("action", "take_number"), name, why];
    let sent = console.post("/clients/ann/actions", Some(&cookie), &of_an_old_page).await;
    assert_eq!(sent.status, StatusCode::BAD_REQUEST, "{}", sent.body);
    assert!(sent.body.contains("Load the page again"));
    let take = [("action", "take_number"), name, why, ("number", "+447100000001")];
    assert_eq!(console.post("/clients/ann/actions", Some(&cookie), &take).await.status, StatusCode::SEE_OTHER);
    let name = ("name", "0123456789abcdeg");
    let (state, from) = (("state", "S5_CONFIRM_LIVE"), ("from_state", "S1_BUSINESS_TYPE_LOCATION"));
    let move_to = [("action", "move_to"), name, why, state, from];
    assert_eq!(console.post("/clients/ann/actions", Some(&cookie), &move_to).await.status, StatusCode::SEE_OTHER);
    let seen =
        "SELECT concat_ws(' ', payload #>> '{action,number}', payload #>> '{action,from}') FROM events ORDER BY id";
    assert_eq!(jobrun_tests::texts(&console.pool, seen).await, ["+447100000001", "S1_BUSINESS_TYPE_LOCATION"]);
    // The page names what became of it, in words, once it is decided.
    console.run("UPDATE events SET processed_at = now(), outcome = 'refused_number_changed', state = 'S1_BUSINESS_TYPE_LOCATION',
                 client_id = 'ann' WHERE payload #>> '{action,action}' = 'take_number'").await;
    let page = console.get("/clients/ann", Some(&cookie)).await.body.replace("&#39;", "'");
    assert!(page.contains("refused: the client's number has changed since the operator looked"), "{page}");
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
