//! Texts that reached Twilio while the ingress was down.

use jobrun_tests::{count, phone, say, test_system};

use super::rows;

#[tokio::test(flavor = "multi_thread")]
async fn texts_sent_while_the_ingress_was_down_are_fetched_once_and_in_order() {
    const PEOPLE: usize = 30;
    let mut system = test_system(2).await;
    say(&system, &phone(1), "Plumber from London").await;
    system.ingress.stop().await.unwrap();
    for body in ["ABC Plumbing", "John Smith"] {
        assert!(system.stand_in.text(&phone(1), body).await.is_err(), "the ingress is down");
    }
    for n in 2..=PEOPLE {
        for body in ["Plumber from London", "ABC Plumbing"] {
            assert!(system.stand_in.text(&phone(n), body).await.is_err(), "the ingress is down");
        }
    }
    // Another number of the same account, which JobRun does not use.
    assert!(system.stand_in.text_to("+447700900123", "+447199999999", "Is the flat still free?").await.is_err());
    system.start_ingress().await.unwrap();
    rows(&system, 2 * PEOPLE as i64 + 1, "SELECT count(*) FROM events WHERE kind = 'text'").await;
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(&phone(1))[2].contains("Reply SMS"), "in order");
    assert!((2..=PEOPLE).all(|n| system.stand_in.bodies_to(&phone(n)).len() == 2));
    assert!((2..=PEOPLE).all(|n| system.stand_in.bodies_to(&phone(n))[1].contains("your own name")));
    assert!(say(&system, &phone(2), "John Smith").await[0].contains("Reply SMS"), "the conversation goes on");

    // The alert is raised, and cleared by the next comparison, which finds nothing more.
    rows(&system, 1, "SELECT count(*) FROM alerts WHERE cause = 'texts-missed' AND cleared_at IS NOT NULL").await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'text'").await, 2 * PEOPLE as i64 + 2);
    system.shut_down().await.unwrap();
}
