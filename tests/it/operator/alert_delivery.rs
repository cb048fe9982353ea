//! Alerts and all-clears are delivered to where the operator looks.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jobrun_shared::alerts::operation;
use jobrun_shared::clock;
use jobrun_shared::db::alerts;
use jobrun_stripe::signature;
use jobrun_tests::{PATIENCE, count, eventually, test_system_with};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;

const SECRET: &str = "a secret";

const LEFT: &str = "SELECT count(*) FROM alert_deliveries";

/// A receiver that refuses the first request.
#[derive(Clone, Default)]
struct Receiver {
    taken: Arc<Mutex<Vec<(String, Value)>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn taken(&self) -> Vec<(String, Value)> {
        self.taken.lock().unwrap().clone()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).map(|it| it.to_str().unwrap().to_owned());
    let secrets = [SecretString::from(SECRET)];
    signature::verify(&secrets, header("jobrun-signature").as_deref(), &body, clock::now()).expect("it is signed");
    let id = header("jobrun-notice-id").unwrap();
    if receiver.refused.lock().unwrap().is_empty() {
        receiver.refused.lock().unwrap().push(id);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    receiver.taken.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
    StatusCode::OK
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_and_its_end_are_each_delivered_once_however_many_workers_run() {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let router = Router::new().route("/alerts", post(receive)).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let system = test_system_with(2, &[("ALERT_WEBHOOK_URL", &url), ("ALERT_WEBHOOK_SECRET", SECRET)]).await;

    let alert = operation::signatures_not_enforced();
    let mut conn = system.pool.acquire().await.unwrap();
    alerts::raise(&mut conn, std::slice::from_ref(&alert), clock::now()).await.unwrap();
    eventually(PATIENCE, "the alert is delivered", async || !receiver.taken().is_empty()).await;
    alerts::raise(&mut conn, std::slice::from_ref(&alert), clock::now()).await.unwrap();
    alerts::clear(&mut conn, std::slice::from_ref(&alert.cause), clock::now()).await.unwrap();
    eventually(PATIENCE, "its end is delivered", async || receiver.taken().len() > 1).await;

    let refused: Vec<String> = std::mem::take(&mut *receiver.refused.lock().unwrap());
    // An alert that is over before it could be delivered is not worth a message. One whose delivery may have succeeded is told to
    // be over.
    sqlx::raw_sql(
        "INSERT INTO alerts (cause, about, raised_at, last_seen_at, cleared_at) VALUES ('short', 'x', now(), now(), now());
         INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES ('doubtful', 'x', now(), now())",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    eventually(PATIENCE, "it is refused", async || !receiver.refused.lock().unwrap().is_empty()).await;
    alerts::clear(&mut conn, &["doubtful".to_owned()], clock::now()).await.unwrap();
    eventually(PATIENCE, "its end is delivered", async || receiver.taken().len() > 2).await;

    let taken = receiver.taken();
    let events: Vec<(&str, &str)> =
        taken.iter().map(|(_, body)| (body["event"].as_str().unwrap(), body["cause"].as_str().unwrap())).collect();
    let cause = alert.cause.as_str();
    assert_eq!(events, [("raised", cause), ("cleared", cause), ("cleared", "doubtful")]);
    assert_eq!(taken[0].1["about"], alert.about);
    assert_eq!(refused, [taken[0].0.clone()], "the refused one was tried again");
    eventually(PATIENCE, "no delivery is left", async || count(&system.pool, LEFT).await == 0).await;
    drop(conn);
    system.shut_down().await.unwrap();
}
