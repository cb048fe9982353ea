//! The six scenarios, step by step.
//!
//! Texts go through the stand-in's signed webhooks, allocations through the operator's command, and SQL statements are the plan's
//! own. Expected results are read from the plan; only those that it gives in prose are written out here.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Column, Row, ValueRef};

use super::plan;
use super::report::Report;
use super::test_system::{ONBOARDING_NUMBER, TestSystem};
use crate::commands::up::TEN_NUMBERS;

const ONE: &str = "Test Scenario 1";
const TWO: &str = "Test Scenario 2";
const THREE: &str = "Test Scenario 3";
const FOUR: &str = "Test Scenario 4";
const FIVE: &str = "Test Scenario 5";
const SIX: &str = "Test Scenario 6";

const CLIENT_1: &str = "+447900000001";
const CLIENT_2: &str = "+447900000002";
const CLIENT_WITHOUT_NUMBER: &str = "+447900000999";

/// How long a log line may take to be printed after its commit, and the next sweep to run.
const SOON: Duration = Duration::from_secs(20);

/// Plays every scenario in order, and reports on each result that the plan expects.
///
/// # Errors
/// When the system fails, so that further steps make no sense. A result that differs from the plan is in the report instead.
pub async fn play(system: &TestSystem, report: &mut Report<'_>) -> anyhow::Result<()> {
    let mut player = Player { system, report };
    player.setup().await?;
    player.payment_inactive().await?;
    player.payment_active().await?;
    player.pool_empty().await?;
    player.idempotency().await?;
    player.concurrent_allocation().await?;
    player.forwarding_without_number().await?;
    player.promises_kept().await?;
    player.monitoring().await?;
    Ok(player.report.end()?)
}

struct Player<'s, 'r, 'w> {
    system: &'s TestSystem,
    report: &'r mut Report<'w>,
}

impl Player<'_, '_, '_> {
    async fn setup(&mut self) -> anyhow::Result<()> {
        self.report.begin("Setup: ten numbers")?;
        let (code, stdout, stderr) = self.system.operator(&["pool", "seed", &TEN_NUMBERS.join(",")]).await?;
        self.report.check("jobrun pool seed", "10 new", stdout.trim(), code == 0 && stdout.contains("10 new"))?;
        ensure!(code == 0, "seeding failed: {stderr}");
        let rows: Vec<String> = TEN_NUMBERS.iter().map(|number| format!("{number} | AVAILABLE | NULL")).collect();
        self.facts("Setup", "", &[&rows.join("\n")]).await
    }

    async fn payment_inactive(&mut self) -> anyhow::Result<()> {
        self.report.begin("Scenario 1: payment inactive, no allocation")?;
        self.statement(ONE, "Steps", 0).await?;
        let before = self.mark();
        self.answer_questions(CLIENT_1, ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"]).await?;
        let reply = self.say(CLIENT_1, "YES").await?;
        self.journal(&before, plan::block(ONE, "Expected Logs")).await?;
        self.report.equal("the text", plan::block(ONE, "Expected SMS"), &reply)?;
        self.facts(ONE, "Expected DB", &["test-client-1 | NULL | f", "test-client-1 | S5_CONFIRM_LIVE", "10"]).await
    }

    async fn payment_active(&mut self) -> anyhow::Result<()> {
        self.report.begin("Scenario 2: payment active, successful allocation")?;
        self.statement(TWO, "Steps", 0).await?;
        let before = self.mark();
        let reply = self.say(CLIENT_1, "READY").await?;
        self.journal(&before, plan::block(TWO, "Expected Logs (Payment Gate)")).await?;
        self.report.check(
            "the next question",
            "1 iPhone\n2 Android\n3 Landline",
            &reply,
            reply.contains("1 iPhone"),
        )?;
        let database = [
            "test-client-1 | +447111111111 | t",
            "ASSIGNED | 1\nAVAILABLE | 9",
            "+447111111111 | ASSIGNED | test-client-1",
            "test-client-1 | S6_PHONE_TYPE",
        ];
        self.facts(TWO, "Expected DB", &database).await?;

        let before = self.mark();
        let reply = self.say(CLIENT_1, "1").await?;
        self.journal(&before, plan::block(TWO, "Expected Logs (Forwarding")).await?;
        self.report.equal("the text", plan::block(TWO, "Expected SMS"), &reply)?;
        self.state("test-client-1", "S7_FWD_SENT").await?;
        self.say(CLIENT_1, "DONE").await?;
        self.state("test-client-1", "S8_FWD_CONFIRM").await?;
        self.test_call("+447111111111").await
    }

    /// Plays a test call. Its arrival moves the client to S9, and its end to COMPLETE.
    async fn test_call(&mut self, number: &str) -> anyhow::Result<()> {
        let sid = self.system.stand_in.new_sid("CA");
        for (status, path, state) in [("ringing", "voice", "S9_TEST_CALL"), ("completed", "voice/status", "COMPLETE")] {
            let form = self.system.stand_in.call_form(&sid, "+447700900123", number, status);
            let answer = self.system.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await?;
            ensure!((200..300).contains(&answer.status), "the call was answered {answer:?}");
            self.report.note(&format!("☎  a call to {number}: {status}"))?;
            self.system.settle().await?;
            self.state("test-client-1", state).await?;
        }
        Ok(())
    }

    async fn pool_empty(&mut self) -> anyhow::Result<()> {
        self.report.begin("Scenario 3: pool empty")?;
        self.statement(THREE, "Steps", 0).await?;
        self.statement(THREE, "Steps", 1).await?;
        self.answer_questions(CLIENT_2, ["Electrician in Leeds", "Bright Sparks", "Ann Jones", "SMS"]).await?;
        let before = self.mark();
        let reply = self.say(CLIENT_2, "YES").await?;
        self.journal(&before, plan::block(THREE, "Expected Logs")).await?;
        self.report.equal("the text", plan::block(THREE, "Expected SMS"), &reply)?;
        self.facts(THREE, "Expected DB", &["test-client-2 | NULL | t", "test-client-2 | S5_CONFIRM_LIVE", "0"]).await
    }

    async fn idempotency(&mut self) -> anyhow::Result<()> {
        self.report.begin("Scenario 4: idempotency")?;
        self.statement(FOUR, "Steps", 0).await?;
        self.fact(plan::statements(FOUR, "Steps").get(1).copied(), "test-client-1 | +447111111111").await?;
        let (code, stdout, stderr) = self.system.operator(&["pool", "allocate", "test-client-1"]).await?;
        self.report.note("$ jobrun pool allocate test-client-1")?;
        let logs = plan::block(FOUR, "Expected Logs");
        self.report.check("journal", logs, stderr.trim_end(), same_lines(logs, stderr.trim_end()))?;
        let expected =
            r#"{"success":true,"phoneE164":"+447111111111","reason":"ALREADY_ASSIGNED","clientId":"test-client-1"}"#;
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let holds = code == 0 && parsed(expected).is_some() && parsed(expected) == parsed(&stdout);
        self.report.check("the answer", expected, stdout.trim(), holds)?;
        self.facts(FOUR, "Expected DB", &["test-client-1 | +447111111111", "1"]).await
    }

    async fn concurrent_allocation(&mut self) -> anyhow::Result<()> {
        self.report.begin("Scenario 5: concurrent allocation")?;
        self.statement(FIVE, "Steps", 0).await?;
        self.statement(FIVE, "Steps", 1).await?;
        let (one, two, three) = tokio::try_join!(
            self.system.operator(&["pool", "allocate", "race-client-1"]),
            self.system.operator(&["pool", "allocate", "race-client-2"]),
            self.system.operator(&["pool", "allocate", "race-client-3"]),
        )?;
        let codes = format!("{} {} {}", one.0, two.0, three.0);
        self.report.equal("exit codes of three allocations at once", "0 0 0", &codes)?;
        let statements = plan::statements(FIVE, "Expected DB");
        let rows = self.rows(statements.first().copied().context("the plan's first statement")?).await?;
        let mut numbers: Vec<&str> = rows.lines().filter_map(|row| row.split(" | ").nth(1)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let different = numbers.len() == 3 && !numbers.contains(&"NULL") && !numbers.contains(&"+447111111111");
        self.report.check("three different numbers, none of them test-client-1's", "3 rows", &rows, different)?;
        self.fact(statements.get(1).copied(), "3").await?;
        self.fact(statements.get(2).copied(), "").await?;
        let pool = "SELECT status, count(*) FROM twilio_number_pool GROUP BY status ORDER BY status;";
        self.fact(Some(pool), "ASSIGNED | 3\nAVAILABLE | 7").await
    }

    async fn forwarding_without_number(&mut self) -> anyhow::Result<()> {
        self.report.begin("Scenario 6: forwarding instructions without a number")?;
        self.statement(SIX, "Steps", 0).await?;
        self.statement(SIX, "Steps", 1).await?;
        let before = self.mark();
        let reply = self.say(CLIENT_WITHOUT_NUMBER, "1").await?;
        self.journal(&before, plan::block(SIX, "Expected Logs")).await?;
        self.report.equal("the text", plan::block(SIX, "Expected SMS"), &reply)?;
        self.facts(SIX, "Expected DB", &["test-client-no-number | S6_PHONE_TYPE"]).await
    }

    /// Checks the promises that the texts make, and that the plan does not check.
    async fn promises_kept(&mut self) -> anyhow::Result<()> {
        self.report.begin("The promises kept")?;
        let reply = self.say(CLIENT_WITHOUT_NUMBER, "READY").await?;
        let holds = reply.starts_with("📱 iPhone Setup (30 seconds)") && reply.contains("+447111111");
        self.report.check("READY continues with the phone given before", "📱 iPhone Setup …", &reply, holds)?;
        self.state("test-client-no-number", "S7_FWD_SENT").await?;

        let ready = "Good news! Your JobRun number is ready for you.\n\nReply READY to continue.";
        let count_ready_texts =
            || self.system.stand_in.bodies_to(CLIENT_2).iter().filter(|body| *body == ready).count();
        let _ = within(SOON, || count_ready_texts() > 0).await;
        self.report.equal(
            "the waiting client was told, once, that a number is ready",
            "1",
            &count_ready_texts().to_string(),
        )?;
        let reply = self.say(CLIENT_2, "READY").await?;
        self.report.check("READY turns the hold into a number", "1 iPhone …", &reply, reply.contains("1 iPhone"))?;
        self.state("test-client-2", "S6_PHONE_TYPE").await
    }

    async fn monitoring(&mut self) -> anyhow::Result<()> {
        self.report.begin("Monitoring queries")?;
        for statement in plan::statements("Monitoring", "") {
            let rows = self.rows(statement).await?;
            let first = statement.lines().nth(1).unwrap_or_default().trim().to_owned();
            self.report.check(&format!("runs: SELECT {first} …"), "runs as printed", &rows, true)?;
        }
        Ok(())
    }

    // Steps.

    /// Sends a text through the webhook, waits until everything that it causes is done, and returns the replies.
    async fn say(&mut self, phone: &str, body: &str) -> anyhow::Result<String> {
        let before = self.system.stand_in.bodies_to(phone).len();
        self.report.note(&format!("✉  {phone} → {ONBOARDING_NUMBER}: {body}"))?;
        let answer = self.system.stand_in.text(phone, body).await?;
        ensure!(answer.status == 200 && answer.body == "<Response/>", "the webhook was answered {answer:?}");
        self.system.settle().await?;
        let replies = self.system.stand_in.bodies_to(phone);
        Ok(replies.get(before..).unwrap_or_default().join("\n--- and ---\n"))
    }

    /// Plays S1 to S4. The reply to each text is the next question.
    async fn answer_questions(&mut self, phone: &str, answers: [&str; 4]) -> anyhow::Result<()> {
        let client = if phone == CLIENT_1 { "test-client-1" } else { "test-client-2" };
        let states = ["S2_BUSINESS_NAME", "S3_OWNER_NAME", "S4_NOTIFICATION_PREF", "S5_CONFIRM_LIVE"];
        for (answer, state) in answers.into_iter().zip(states) {
            let reply = self.say(phone, answer).await?;
            self.report.check(
                "is asked the next question",
                "one text",
                &reply,
                !reply.is_empty() && !reply.contains("--- and"),
            )?;
            self.state(client, state).await?;
        }
        Ok(())
    }

    /// Returns how many lines each worker has printed.
    fn mark(&self) -> Vec<usize> {
        self.system.workers.iter().map(|worker| worker.lines().len()).collect()
    }

    /// Checks that a worker has printed these lines, one after the other, since `before`.
    async fn journal(&mut self, before: &[usize], expected: &str) -> anyhow::Result<()> {
        let printed = || -> Vec<Vec<String>> {
            let workers = self.system.workers.iter().zip(before);
            workers.map(|(worker, before)| worker.lines().split_off(*before)).collect()
        };
        let block = || printed().iter().find_map(|lines| find_block(expected, lines));
        // The lines are printed after the commit, so perhaps a moment after the rows have changed.
        let _ = within(SOON, || block().is_some()).await;
        let found = block();
        let shown = found.clone().unwrap_or_else(|| printed().concat().join("\n"));
        Ok(self.report.check("journal", expected, &shown, found.is_some())?)
    }

    async fn state(&mut self, client: &str, expected: &str) -> anyhow::Result<()> {
        let query = sqlx::query_scalar("SELECT current_state FROM onboarding_states WHERE client_id = $1").bind(client);
        let found: Option<String> = query.fetch_optional(&self.system.pool).await?;
        Ok(self.report.equal("state", expected, &found.unwrap_or_default())?)
    }

    /// Runs one of the plan's statements that change something.
    async fn statement(&mut self, section: &str, part: &str, place: usize) -> anyhow::Result<()> {
        let statements = plan::statements(section, part);
        let statement = *statements.get(place).with_context(|| format!("{section} has no statement {place}"))?;
        self.report.note(&statement.replace('\n', " "))?;
        sqlx::raw_sql(statement).execute(&self.system.pool).await.with_context(|| statement.to_owned())?;
        Ok(())
    }

    /// Runs every statement under a heading, and compares the rows of each.
    async fn facts(&mut self, section: &str, part: &str, expected: &[&str]) -> anyhow::Result<()> {
        let statements = plan::statements(section, part);
        ensure!(statements.len() == expected.len(), "{section} has {} statements", statements.len());
        for (statement, expected) in statements.into_iter().zip(expected) {
            self.fact(Some(statement), expected).await?;
        }
        Ok(())
    }

    async fn fact(&mut self, statement: Option<&str>, expected: &str) -> anyhow::Result<()> {
        let statement = statement.context("the plan lacks a statement")?;
        let found = self.rows(statement).await?;
        let holds = sorted(expected) == sorted(&found);
        Ok(self.report.check(&statement.replace('\n', " "), expected, &found, holds)?)
    }

    /// Returns the rows of a statement as psql prints them: a line each, columns between bars.
    async fn rows(&self, statement: &str) -> anyhow::Result<String> {
        let rows = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch_all(&self.system.pool).await;
        let rows = rows.with_context(|| statement.to_owned())?;
        let cells = |row: &sqlx::postgres::PgRow| -> anyhow::Result<String> {
            let cell = |column: &sqlx::postgres::PgColumn| -> anyhow::Result<String> {
                let value = row.try_get_raw(column.ordinal())?;
                if value.is_null() { Ok("NULL".to_owned()) } else { text_of(&value) }
            };
            Ok(row.columns().iter().map(cell).collect::<anyhow::Result<Vec<_>>>()?.join(" | "))
        };
        Ok(rows.iter().map(cells).collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
    }
}

/// Returns a value as the server printed it: results of unprepared statements are in text format.
fn text_of(value: &sqlx::postgres::PgValueRef<'_>) -> anyhow::Result<String> {
    match value.as_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => anyhow::bail!("a value cannot be read: {error}"),
    }
}

/// Sorts the rows, because the plan gives no order for them.
fn sorted(rows: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    rows
}

/// Returns the lines of `expected`, if they stand one after the other somewhere in `lines`.
fn find_block(expected: &str, lines: &[String]) -> Option<String> {
    let expected: Vec<&str> = expected.lines().collect();
    lines
        .windows(expected.len())
        .find(|window| window.iter().zip(&expected).all(|(found, expected)| is_line(expected, found)))
        .map(|window| window.join("\n"))
}

fn same_lines(expected: &str, found: &str) -> bool {
    let found: Vec<String> = found.lines().map(str::to_owned).collect();
    found.len() == expected.lines().count() && find_block(expected, &found).is_some()
}

/// Returns whether a line is exactly the expected one. `timestamp: '...'` stands for any time in the documented form.
fn is_line(expected: &str, found: &str) -> bool {
    let Some((before, after)) = expected.split_once("'...'") else {
        return expected == found;
    };
    let time = found.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let time = time.and_then(|quoted| quoted.strip_prefix('\'')?.strip_suffix('\''));
    time.is_some_and(|time| {
        const FORM: &str = "0000-00-00T00:00:00.000Z";
        let digit_or_same =
            |(form, found): (char, char)| if form == '0' { found.is_ascii_digit() } else { form == found };
        time.len() == FORM.len() && FORM.chars().zip(time.chars()).all(digit_or_same)
    })
}

/// Waits until `condition` holds. Returns whether it did before `timeout`.
async fn within(timeout: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + timeout;
    while !condition() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_exactly_except_for_their_times() {
        let line = "POOL_EMPTY { clientId: 'a', timestamp: '...' }";
        assert!(is_line(line, "POOL_EMPTY { clientId: 'a', timestamp: '2026-11-22T10:00:00.123Z' }"));
        assert!(!is_line(line, "POOL_EMPTY { clientId: 'a', timestamp: '2026-11-22T10:00:00Z' }"));
        assert!(!is_line(line, "POOL_EMPTY { clientId: 'b', timestamp: '2026-11-22T10:00:00.123Z' }"));
        assert!(!is_line("a", "a "));
    }

    #[test]
    fn a_block_is_found_only_whole_and_uninterrupted() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(find_block("b\nc", &lines("a b c d")).is_some());
        assert!(find_block("b\nc", &lines("a b x c")).is_none());
        assert!(find_block("b\nc", &lines("a b")).is_none());
    }
}
