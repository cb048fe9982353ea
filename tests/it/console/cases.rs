//! Cases in the console: everyone sees them, and operators close them.

use jobrun_tests::{count, texts};
use reqwest::StatusCode;

use super::Console;

const OPEN: &str = r#"
INSERT INTO clients (id, "phoneNumber", "businessName") VALUES ('ann', '447911123456', 'Ann <b>');
INSERT INTO cases (client_id, kind, said, state, opened_at, last_said_at)
VALUES ('ann', 'question', 'Is it <script>alert(1)</script> safe?', 'S3_OWNER_NAME', now(), now());
INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES ('person-wanted:ann', 'x', now(), now());
"#;

#[tokio::test(flavor = "multi_thread")]
async fn operators_close_a_case_once_and_viewers_only_see_it() {
    let console = Console::start(&[]).await;
    console.run(OPEN).await;
    let (viewer, operator) = (console.log_in("vi").await, console.log_in("op").await);
    let id = &texts(&console.pool, "SELECT id::TEXT FROM cases").await[0];
    let path = format!("/cases/{id}/close");
    let shown = console.get("/cases", Some(&viewer)).await.body;
    assert!(shown.contains("asks a question") && shown.contains("&#60;script&#62;"), "{shown}");
    assert!(!shown.contains("<script>alert") && !shown.contains(&path), "{shown}");
    assert!(console.get("/cases", Some(&operator)).await.body.contains(&path));
    assert_eq!(console.post(&path, Some(&viewer), &[("why", "x")]).await.status, StatusCode::FORBIDDEN);

    let without = console.post(&path, Some(&operator), &[("why", " ")]).await;
    assert_eq!(
        (without.status, without.body.contains("say how the case was answered")),
        (StatusCode::BAD_REQUEST, true)
    );
    assert_eq!(count(&console.pool, "SELECT count(*) FROM cases WHERE closed_at IS NULL").await, 1);
    let more = console.post(&path, Some(&operator), &[("why", "told her"), ("seen", "2")]).await;
    assert_eq!((more.status, more.body.contains("has said more")), (StatusCode::CONFLICT, true), "{}", more.body);
    let closed = console.post(&path, Some(&operator), &[("why", "told her"), ("seen", "1")]).await;
    assert_eq!((closed.status, closed.location()), (StatusCode::SEE_OTHER, "/cases"), "{}", closed.body);
    let again = console.post(&path, Some(&operator), &[("why", "me too")]).await;
    assert_eq!((again.status, again.body.contains("closed already")), (StatusCode::CONFLICT, true), "{}", again.body);
    assert_eq!(texts(&console.pool, "SELECT concat_ws('|', closed_by, why) FROM cases").await, ["op|told her"]);
    assert_eq!(count(&console.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 0);
    let log = "SELECT concat_ws('|', who, via, action, subject, why) FROM audit_log WHERE action = 'case.closed'";
    assert_eq!(texts(&console.pool, log).await, ["op|console|case.closed|ann|told her"]);
    assert!(console.get("/cases", Some(&viewer)).await.body.contains("No case is open."));
    console.stop().await;
}
