//! Every route, tried as nobody, viewer, operator and admin.

use jobrun_console::guard::Access;
use jobrun_console::routes;
use jobrun_shared::db::console::Role;
use reqwest::{Method, StatusCode};

use super::Console;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    Everyone,
    Viewers,
    Operators,
    Admins,
}
use For::{Admins, Everyone, Operators, Viewers};

/// Every route of the console, and an address of it.
const ROUTES: [(&str, &str, For, &str); 31] = [
    ("GET", "/healthz", Everyone, "/healthz"),
    ("GET", "/assets/{digest}/{name}", Everyone, "/assets/0/console.css"),
    ("GET", "/login", Everyone, "/login"),
    ("POST", "/login", Everyone, "/login"),
    ("POST", "/login/link", Everyone, "/login/link"),
    ("POST", "/logout", Viewers, "/logout"),
    ("GET", "/account", Viewers, "/account"),
    ("POST", "/account/password", Viewers, "/account/password"),
    ("GET", "/live", Viewers, "/live"),
    ("GET", "/", Viewers, "/"),
    ("GET", "/clients", Viewers, "/clients"),
    ("GET", "/clients/{id}", Viewers, "/clients/ann"),
    ("POST", "/clients/{id}/actions", Operators, "/clients/ann/actions"),
    ("GET", "/waiting", Viewers, "/waiting"),
    ("GET", "/numbers", Viewers, "/numbers"),
    ("GET", "/numbers/check", Viewers, "/numbers/check"),
    ("GET", "/numbers/{number}", Operators, "/numbers/+447100000001"),
    ("GET", "/purchases", Viewers, "/purchases"),
    ("GET", "/payments", Viewers, "/payments"),
    ("GET", "/texts", Viewers, "/texts"),
    ("GET", "/texts/bulk", Operators, "/texts/bulk?action=replay&which=all"),
    ("POST", "/texts/bulk", Operators, "/texts/bulk"),
    ("GET", "/texts/bulk/{id}", Operators, "/texts/bulk/1"),
    ("GET", "/events", Viewers, "/events"),
    ("GET", "/alerts", Viewers, "/alerts"),
    ("GET", "/cases", Viewers, "/cases"),
    ("POST", "/cases/{id}/close", Operators, "/cases/1/close"),
    ("GET", "/stops", Viewers, "/stops"),
    ("POST", "/stops", Operators, "/stops"),
    ("GET", "/audit", Operators, "/audit"),
    ("GET", "/people", Admins, "/people"),
];

fn needs(access: Access) -> For {
    match access {
        Access::Public => Everyone,
        Access::Role(Role::Viewer) => Viewers,
        Access::Role(Role::Operator) => Operators,
        Access::Role(Role::Admin) => Admins,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_right_is_had_without_its_role() {
    let console = Console::start(&[]).await;
    let routes: Vec<(&str, &str, For)> =
        routes::all(console.app()).into_iter().map(|route| (route.method, route.path, needs(route.access))).collect();
    let expected: Vec<(&str, &str, For)> = ROUTES.iter().map(|(method, path, who, _)| (*method, *path, *who)).collect();
    assert_eq!(routes, expected, "a route is missing here, or needs another role");

    console
        .run(
            r#"INSERT INTO clients (id, "phoneNumber") VALUES ('ann', '447900000001');
               INSERT INTO twilio_number_pool (phone_e164) VALUES ('+447100000001');
               INSERT INTO bulk_actions (action, who, via, why, filter, begun_at, chosen)
               VALUES ('replay', 'op', 'console', 'an outage', '{}', now(), 1)"#,
        )
        .await;
    for (name, has) in [("", Everyone), ("vi", Viewers), ("op", Operators), ("ad", Admins)] {
        for (method, _, needed, address) in ROUTES {
            // Logging out ends the session, so each request has one of its own.
            let cookie = if name.is_empty() { None } else { Some(console.log_in(name).await) };
            let method: Method = method.parse().unwrap();
            let form =
                [("current", "x"), ("new", "x"), ("again", "y"), ("name", "x"), ("password", "x"), ("token", "x")];
            let response = console.send(method.clone(), address, cookie.as_deref(), &form).await;
            let what = format!("{name:?} {method} {address}: {} {}", response.status, response.location());
            if needed <= has {
                let is_refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&response.status)
                    || response.status.is_server_error()
                    || (response.location().starts_with("/login") && address != "/logout");
                assert!(!is_refused, "{what} {}", response.body);
            } else if !name.is_empty() {
                assert_eq!(response.status, StatusCode::FORBIDDEN, "{what}");
            } else if method == Method::GET && address != "/live" {
                assert!(response.location().starts_with("/login?next="), "{what}");
            } else {
                assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{what}");
            }
        }
        console.run("DELETE FROM console_login_failures").await;
    }
    let missing = console.get("/nothing", None).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_has_a_strict_policy_and_pages_are_not_kept() {
    let console = Console::start(&[]).await;
    let cookie = console.log_in("ad").await;
    for (method, _, _, address) in ROUTES.iter().filter(|route| route.0 == "GET") {
        let response = console.get(address, Some(&cookie)).await;
        let header = |name: &str| response.headers.get(name).map(|it| it.to_str().unwrap()).unwrap_or_default();
        assert_eq!(header("content-security-policy"), routes::POLICY, "{method} {address}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        let kept = header("cache-control");
        assert!(kept == "no-store" || address.starts_with("/assets") || *address == "/live", "{address}: {kept}");
        for forbidden in [" style=", " onclick=", "<script>", "javascript:", "https://", "http://"] {
            let is_page = header("content-type").starts_with("text/html");
            assert!(!is_page || !response.body.contains(forbidden), "{address} contains {forbidden}");
        }
    }
    console.stop().await;
}
