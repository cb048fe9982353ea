//! Logging in and out, and attempts to do so in another's place.

use jobrun::commands::console::{Change, apply};
use jobrun_shared::clock;
use jobrun_shared::db::console::Role;
use jobrun_tests::{count, texts};
use reqwest::{Method, StatusCode};

use super::{Console, PASSWORD, actor};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_and_out_and_the_log_says_so() {
    let console = Console::start(&[]).await;
    let response = console.get("/texts?status=failed", None).await;
    assert_eq!(response.location(), "/login?next=%2Ftexts%3Fstatus%3Dfailed");
    let form = [("name", " VI "), ("password", PASSWORD), ("next", "/texts?status=failed")];
    let response = console.post("/login", None, &form).await;
    assert_eq!((response.status, response.location()), (StatusCode::SEE_OTHER, "/texts?status=failed"));
    let set = response.headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = response.cookie().unwrap();
    let secret = cookie.split('=').nth(1).unwrap();
    assert_eq!(secret.len(), 43, "256 bits");
    let stored = "SELECT encode(token_sha256, 'hex') FROM console_sessions";
    assert_eq!(texts(&console.pool, stored).await.len(), 1);
    assert_eq!(console.get("/texts", Some(&cookie)).await.status, StatusCode::OK);

    assert_eq!(console.post("/logout", Some(&cookie), &[]).await.location(), "/login");
    assert!(console.get("/texts", Some(&cookie)).await.location().starts_with("/login"), "the session has ended");
    let log = "SELECT who || ' ' || via || ' ' || action || ' ' || subject FROM audit_log ORDER BY id DESC LIMIT 1";
    assert_eq!(texts(&console.pool, log).await, ["vi console session.began vi"]);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_session_is_not_taken_over() {
    let console = Console::start(&[]).await;
    // An attacker's own session, and a secret that is no session.
    let planted = console.log_in("vi").await;
    let made_up = format!("jobrun-console={}", "x".repeat(43));
    for before in [planted.as_str(), &made_up] {
        let form = [("name", "ad"), ("password", PASSWORD)];
        let response = console.post("/login", Some(before), &form).await;
        let after = response.cookie().unwrap();
        assert_ne!(after, before, "the session is a new one");
        assert!(console.get("/people", Some(before)).await.location().starts_with("/login"));
        assert_eq!(console.get("/people", Some(&after)).await.status, StatusCode::OK);
    }
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_from_another_site_changes_nothing() {
    let console = Console::start(&[]).await;
    let cookie = console.log_in("ad").await;
    let ours = console.url.clone();
    let refused: [&[(&str, &str)]; 7] = [
        &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", ours.as_str()), ("sec-fetch-site", "cross-site")],
        &[("origin", "http://127.0.0.1:1")],
        &[],
    ];
    for headers in refused {
        for (path, cookie) in
            [("/logout", Some(cookie.as_str())), ("/account/password", Some(&cookie)), ("/login", None)]
        {
            let response = console.send_with(Method::POST, path, cookie, &[], headers).await;
            assert_eq!(response.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert!(response.cookie().is_none());
        }
    }
    assert_eq!(console.get("/people", Some(&cookie)).await.status, StatusCode::OK, "the session goes on");
    for headers in [&[("origin", ours.as_str())][..], &[("sec-fetch-site", "same-origin")]] {
        let form = [("name", "vi"), ("password", PASSWORD)];
        let response = console.send_with(Method::POST, "/login", None, &form, headers).await;
        assert_eq!(response.status, StatusCode::SEE_OTHER, "{headers:?}");
    }
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_cannot_be_guessed_for_long() {
    let console = Console::start(&[]).await;
    let guess = async |name: &str, password: &str| {
        console.post("/login", None, &[("name", name), ("password", password)]).await.status
    };
    for _ in 0..10 {
        assert_eq!(guess("ad", "a wrong password").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(guess("ad", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS, "even with the right password");
    assert_eq!(guess("vi", PASSWORD).await, StatusCode::SEE_OTHER, "another person");
    // A name that nobody has is answered alike.
    for _ in 0..10 {
        assert_eq!(guess("nobody", "a wrong password").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(guess("nobody", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    // The address has used its attempts up as well.
    for number in 0..9 {
        guess(&format!("name{number}"), "a wrong password").await;
    }
    assert_eq!(guess("vi", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    // A quarter of an hour later, the counts begin anew.
    console.run("UPDATE console_login_failures SET since = since - INTERVAL '16 minutes'").await;
    assert_eq!(guess("ad", PASSWORD).await, StatusCode::SEE_OTHER);
    assert_eq!(count(&console.pool, "SELECT count(*) FROM console_login_failures WHERE subject = 'name:ad'").await, 0);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_disabled_person_end_and_a_role_counts_at_once() {
    let console = Console::start(&[]).await;
    let cookie = console.log_in("op").await;
    assert_eq!(console.get("/audit", Some(&cookie)).await.status, StatusCode::OK);
    let change = async |change: Change| {
        apply(&console.pool, &actor(), "op", &change, None, clock::now()).await.unwrap();
    };
    change(Change::Role(Role::Viewer)).await;
    assert_eq!(console.get("/audit", Some(&cookie)).await.status, StatusCode::FORBIDDEN);
    change(Change::Disable).await;
    assert!(console.get("/", Some(&cookie)).await.location().starts_with("/login"));
    let form = [("name", "op"), ("password", PASSWORD)];
    assert_eq!(console.post("/login", None, &form).await.status, StatusCode::UNAUTHORIZED);
    // A session that was begun at the same moment does not count either.
    change(Change::Enable).await;
    let cookie = console.log_in("op").await;
    console.run("UPDATE console_people SET disabled_at = now() WHERE name = 'op'").await;
    assert!(console.get("/", Some(&cookie)).await.location().starts_with("/login"));
    console.run("UPDATE console_people SET disabled_at = NULL WHERE name = 'op'").await;
    console.run("UPDATE console_sessions SET expires_at = now()").await;
    assert!(console.get("/", Some(&cookie)).await.location().starts_with("/login"), "it has expired");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let console = Console::start(&[]).await;
    let (one, other) = (console.log_in("vi").await, console.log_in("vi").await);
    let change = async |current: &str, new: &str, again: &str| {
        let form = [("current", current), ("new", new), ("again", again)];
        console.post("/account/password", Some(&one), &form).await.status
    };
    let new = "another long password";
    assert_eq!(change("not the password", new, new).await, StatusCode::FORBIDDEN);
    assert_eq!(change(PASSWORD, new, "not the same twice").await, StatusCode::BAD_REQUEST);
    assert_eq!(change(PASSWORD, "short", "short").await, StatusCode::BAD_REQUEST);
    assert_eq!(change(PASSWORD, new, new).await, StatusCode::OK);
    assert_eq!(console.get("/", Some(&one)).await.status, StatusCode::OK);
    assert!(console.get("/", Some(&other)).await.location().starts_with("/login"));
    let form = [("name", "vi"), ("password", new)];
    assert_eq!(console.post("/login", None, &form).await.status, StatusCode::SEE_OTHER);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_logs_a_person_in_once() {
    let console = Console::start(&[]).await;
    let link = async || apply(&console.pool, &actor(), "op", &Change::Link, None, clock::now()).await.unwrap().unwrap();
    let (first, secret) = (link().await, link().await);
    let shown = console.get(&format!("/login?token={secret}"), None).await;
    assert!(shown.status == StatusCode::OK && shown.cookie().is_none(), "looking at the link does not use it up");
    let follow = async |secret: &str| console.post("/login/link", None, &[("token", secret)]).await;
    assert_eq!(follow(&first).await.status, StatusCode::UNAUTHORIZED, "a later link replaces it");
    let cookie = follow(&secret).await.cookie().unwrap();
    assert_eq!(console.get("/audit", Some(&cookie)).await.status, StatusCode::OK);
    assert_eq!(follow(&secret).await.status, StatusCode::UNAUTHORIZED, "it is used up");
    let late = link().await;
    console.run("UPDATE console_login_links SET expires_at = now()").await;
    assert_eq!(follow(&late).await.status, StatusCode::UNAUTHORIZED, "it has expired");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_proxy_gives_counts_only_from_a_trusted_proxy() {
    let trusted = [("CONSOLE_TRUSTED_PROXIES", "127.0.0.1"), ("CONSOLE_PROXY_HEADER", "X-Forwarded-Email")];
    let console = Console::start(&trusted).await;
    let get = async |headers: &[(&str, &str)]| console.send_with(Method::GET, "/audit", None, &[], headers).await;
    assert_eq!(get(&[("x-forwarded-email", "Op")]).await.status, StatusCode::OK);
    assert_eq!(get(&[("x-forwarded-email", "vi")]).await.status, StatusCode::FORBIDDEN);
    assert!(get(&[("x-forwarded-email", "stranger")]).await.location().starts_with("/login"));
    assert!(get(&[("x-forwarded-email", "op"), ("x-forwarded-email", "ad")]).await.location().starts_with("/login"));
    assert!(get(&[]).await.location().starts_with("/login"));
    let form = [("name", "ad"), ("password", PASSWORD)];
    assert_eq!(console.post("/login", None, &form).await.status, StatusCode::FORBIDDEN, "the proxy logs people in");
    console.stop().await;

    let elsewhere = [("CONSOLE_TRUSTED_PROXIES", "192.0.2.1"), ("CONSOLE_PROXY_HEADER", "X-Forwarded-Email")];
    let console = Console::start(&elsewhere).await;
    let headers = [("x-forwarded-email", "ad"), ("x-forwarded-for", "192.0.2.1")];
    let response = console.send_with(Method::GET, "/people", None, &[], &headers).await;
    assert!(response.location().starts_with("/login"), "this connection does not come from the proxy");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_https_the_cookie_is_for_this_host_only_and_the_origin_is_the_public_one() {
    let console = Console::start(&[("CONSOLE_PUBLIC_URL", "https://console.example.com")]).await;
    let form = [("name", "ad"), ("password", PASSWORD)];
    let response = console.post("/login", None, &form).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN, "the origin is not the public one");
    let headers = [("origin", "https://console.example.com")];
    let response = console.send_with(Method::POST, "/login", None, &form, &headers).await;
    let set = response.headers["set-cookie"].to_str().unwrap();
    assert!(set.starts_with("__Host-jobrun-console=") && set.ends_with("; Secure"), "{set}");
    assert!(response.headers.contains_key("strict-transport-security"));
    console.stop().await;
}
