//! The six scenarios of `jobrun demo`, with their texts to the letter.

use jobrun::demo::{Report, play};
use jobrun_tests::{programs, test_system, test_system_with};

#[tokio::test(flavor = "multi_thread")]
async fn jobrun_demo_plays_the_scenarios_and_reports_that_every_check_holds() {
    let mut command = tokio::process::Command::new(programs().join("jobrun"));
    let output = command.arg("demo").env_remove("DATABASE_URL").output().await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("checks hold.") && !shown.contains('✘'), "{shown}");
    for scenario in 1..=6 {
        assert!(shown.contains(&format!("\nScenario {scenario}: ")), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_hold_with_three_workers() {
    let system = test_system(3).await;
    let mut shown = Vec::new();
    let mut report = Report::new(&mut shown, false);
    play(&system, &mut report).await.unwrap();
    assert!(report.failures().is_empty(), "{:#?}", report.failures());
    assert!(report.checks().len() > 50);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_differs_in_one_place_fails_its_check() {
    let system = test_system_with(1, &[("PAYMENT_LINK_URL", "https://buy.stripe.com/another")]).await;
    let mut shown = Vec::new();
    let mut report = Report::new(&mut shown, false);
    play(&system, &mut report).await.unwrap();
    let failures: Vec<&str> = report.failures().iter().map(|check| check.title.as_str()).collect();
    assert_eq!(failures, ["the text"]);
    system.shut_down().await.unwrap();
}
