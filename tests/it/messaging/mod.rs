//! Texts to and from Twilio.

mod sending;

mod delivery_reports;

mod opt_outs;

mod calls;

mod limits;

mod missed_texts;

mod replay;

mod text_back;

mod voicemails;
mod wordings;

use std::time::Duration;

use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_tests::{PATIENCE, count, eventually, numbers};

pub(super) const ANN: &str = "+447900000001";

/// The number of Ann's business, in tests where she has one.
pub(super) const HERS: &str = "+447100000001";

/// The number of another client's business.
pub(super) const ANOTHERS: &str = "+447100000002";

/// Exceeds the time in which many texts of unknown outcome are looked up one after the other, each several times.
pub(super) const LONG: Duration = Duration::from_secs(1200);

/// Makes Ann, a client who has paid, holds a number and is in the given state.
pub(super) async fn ann_at(system: &TestSystem, state: &'static str) {
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
           VALUES ('ann', '447900000001', TRUE, '+447100000001');
           UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'ann';"#,
    )
    .execute(&system.pool)
    .await
    .unwrap();
    let stands = "INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', $1)";
    sqlx::query(stands).bind(state).execute(&system.pool).await.unwrap();
}

/// Sends a text without waiting for its effects.
pub(super) async fn texts_in(system: &TestSystem, phone: &str, body: &str) {
    assert_eq!(system.stand_in.text(phone, body).await.unwrap().status, 200);
}

pub(super) async fn rows(system: &TestSystem, expected: i64, statement: &'static str) {
    eventually(PATIENCE, statement, async || count(&system.pool, statement).await == expected).await;
}

/// Returns how many lines of the running workers contain `text`.
pub(super) fn printed(system: &TestSystem, text: &str) -> usize {
    system.workers.iter().flat_map(|worker| worker.lines()).filter(|line| line.contains(text)).count()
}

/// Delivers a carrier's report on the first text that Ann was sent, and waits until it is processed.
pub(super) async fn carrier_reports(system: &TestSystem, status: &str) {
    let sent = system.stand_in.messages().remove(0);
    let id = count(&system.pool, "SELECT min(id) FROM messages").await;
    let account = system.account.sid.as_str();
    let form = [("AccountSid", account), ("MessageSid", sent.sid.as_str()), ("MessageStatus", status), ("To", ANN)];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let answer = system.stand_in.post(&format!("/webhooks/twilio/sms/status?m={id}"), &form).await.unwrap();
    assert_eq!(answer.status, 204);
    rows(system, 0, "SELECT count(*) FROM events WHERE processed_at IS NULL").await;
}

pub(super) const FIRST_TEXT: &str =
    "SELECT concat_ws('|', status, error_code, error_message) FROM messages ORDER BY id LIMIT 1";

pub(super) fn count_to(system: &TestSystem, phone: &str) -> usize {
    system.stand_in.bodies_to(phone).len()
}
