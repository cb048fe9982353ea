//! The days of a month, and its time.
//!
//! A day passes by moving every time in the database back, so no program waits for it.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use jobrun::demo::TestSystem;
use jobrun_onboarding::reminders::Schedule;
use jobrun_shared::numbers::seed_release;
use jobrun_shared::{clock, reminders};
use jobrun_tests::{count, numbers, phone, test_system_with};

use super::happenings::HAPPENINGS;
use super::people::{Client, Erased, LeftPhone, Person};
use super::random::Random;

const DAYS: usize = 30;

const HAPPENINGS_A_DAY: usize = 16;

pub(super) const NUMBERS: usize = 8;

/// The people who are at the payment gate when the month begins.
const AT_THE_GATE: usize = 10;

/// The cooling time is short enough for numbers to return to the pool within the month.
const SETTINGS: [(&str, &str); 5] = [
    ("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link"),
    ("NUMBER_COOLING", "5d"),
    ("HOLD_DURATION", "48h"),
    ("ERASURE_KEY", "0123456789abcdef0123456789abcdef"),
    ("VOICEMAIL", "on"),
];

pub(super) struct Month {
    pub(super) system: TestSystem,
    pub(super) random: Random,
    /// Everyone who has texted, and is not erased.
    pub(super) people: Vec<Person>,
    pub(super) erased: Vec<Erased>,
    pub(super) left_phones: Vec<LeftPhone>,
    /// How many phones there are.
    pub(super) phones: usize,
    /// How many people there have been, those that signed up again after an erasure counted again.
    lives: usize,
    /// Stripe's clock, in Unix seconds.
    pub(super) stripe_s: i64,
}

impl Month {
    async fn begin(seed: u64) -> Self {
        let system = test_system_with(2, &SETTINGS).await;
        seed_release::seed(&system.pool, &numbers(NUMBERS)).await.unwrap();
        let mut month = Self {
            system,
            random: Random(seed),
            people: Vec::new(),
            erased: Vec::new(),
            left_phones: Vec::new(),
            phones: 0,
            lives: 0,
            stripe_s: 1_700_000_000,
        };
        for _ in 0..AT_THE_GATE {
            month.a_client_reaches_the_gate().await;
        }
        month
    }

    pub(super) fn next_life(&mut self) -> usize {
        self.lives += 1;
        self.lives
    }

    pub(super) fn nth_of(&self, of: &str) -> usize {
        (1..=self.phones).find(|n| phone(*n) == of).unwrap()
    }

    /// Returns what the database says of a person, if it is a client.
    pub(super) async fn client(&self, place: usize) -> Option<Client> {
        self.clients().await.remove(self.people[place].digits())
    }

    /// Returns what the database says of every client, by phone.
    pub(super) async fn clients(&self) -> BTreeMap<String, Client> {
        let clients: Vec<Client> = sqlx::query_as(Client::SELECT).fetch_all(&self.system.pool).await.unwrap();
        clients.into_iter().map(|client| (client.phone.clone(), client)).collect()
    }

    /// Chooses one of the people whom something fits, by its place.
    pub(super) async fn choose(&mut self, fits: impl Fn(&Person, &Client) -> bool) -> Option<usize> {
        let clients = self.clients().await;
        let is_fit = |person: &Person| clients.get(person.digits()).is_some_and(|client| fits(person, client));
        let fit: Vec<usize> = (0..self.people.len()).filter(|place| is_fit(&self.people[*place])).collect();
        if fit.is_empty() { None } else { Some(fit[self.random.below(fit.len())]) }
    }

    async fn something_happens(&mut self) {
        let mut chosen = self.random.below(HAPPENINGS.iter().map(|(weight, ..)| weight).sum());
        for (weight, name, happening) in HAPPENINGS {
            if chosen < weight {
                eprintln!("  {name}");
                happening(self).await;
                break;
            }
            chosen -= weight;
        }
        self.stripe_s += 100;
    }

    /// Moves the times in the database back by `hours`, except times by Stripe's clock and those that pace audits and sending.
    async fn hours_pass(&self, hours: i32) {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT c.table_name::TEXT, string_agg(format('%I = %I - make_interval(hours => $1)', column_name, column_name), ', ')
             FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
             WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
               AND data_type = 'timestamp with time zone'
               AND c.table_name NOT IN ('audits', 'sending', 'senders', 'payment_events', '_sqlx_migrations')
             GROUP BY c.table_name",
        )
        .fetch_all(&self.system.pool)
        .await
        .unwrap();
        assert!(columns.len() > 8, "{columns:?}");
        // The programs do not expect it: the two can deadlock, and then it is repeated.
        while let Err(error) = self.move_back(&columns, hours).await {
            let is_deadlock = error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("40P01"));
            assert!(is_deadlock, "{error}");
        }
    }

    /// Locks the tables first, so that what a program is just writing has no times from before and after.
    async fn move_back(&self, columns: &[(String, String)], hours: i32) -> Result<(), sqlx::Error> {
        let tables: Vec<&str> = columns.iter().map(|(table, _)| table.as_str()).collect();
        let lock = format!("LOCK TABLE {} IN EXCLUSIVE MODE", tables.join(", "));
        let mut tx = self.system.pool.begin().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut *tx).await?;
        for (table, set) in columns {
            let update = format!("UPDATE {table} SET {set}");
            sqlx::query(sqlx::AssertSqlSafe(update)).bind(hours).execute(&mut *tx).await?;
        }
        tx.commit().await
    }

    /// Waits until all due work is done, the sweep's included.
    async fn finish_the_day(&self) {
        // The work of a killed worker is taken up again after a while.
        self.hours_pass(1).await;
        self.settle().await;
        self.reminders_are_recorded().await;
        let (code, _, stderr) = self.system.operator(&["sweep"]).await.unwrap();
        assert_eq!(code, 0, "{stderr}");
        self.settle().await;
    }

    /// The workers' sweeps do it too, but not at once.
    async fn reminders_are_recorded(&self) {
        let schedule = Schedule {
            after: vec![TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(3)],
            quiet: None,
            has_cases: true,
        };
        reminders::record_due(&self.system.pool, &schedule, clock::now()).await.unwrap();
    }

    /// Plays a month, and goes on until everything has happened that the month is to show.
    async fn play(mut self) {
        for day in 1.. {
            eprintln!("day {day}");
            for _ in 0..HAPPENINGS_A_DAY {
                self.something_happens().await;
            }
            self.finish_the_day().await;
            self.check_the_rules(day).await;
            if day >= DAYS {
                let missing = self.has_not_happened().await;
                if missing.is_empty() {
                    break;
                }
                assert!(day < 2 * DAYS, "these never happened: {missing:#?}");
            }
            self.hours_pass(23).await;
        }
        self.system.shut_down().await.unwrap();
    }

    /// Returns what has not happened yet. A month without these events would prove nothing.
    async fn has_not_happened(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        for happened in [
            "SELECT count(*) FROM number_changes WHERE change = 'released'",
            "SELECT count(*) FROM number_changes WHERE change = 'cooled_down'",
            "SELECT count(*) FROM number_changes WHERE why = 'the client returned'",
            "SELECT count(*) FROM messages WHERE kind = 'number_ready'",
            "SELECT count(*) FROM messages WHERE kind = 'service_ended'",
            "SELECT count(*) FROM messages WHERE kind = 'payment_overdue'",
            "SELECT count(*) FROM messages WHERE kind = 'reminder'",
            "SELECT count(*) FROM messages WHERE kind = 'live'",
            // The texts about calls may all be erased.
            "SELECT count(*) FROM events WHERE kind = 'call_arrived'",
            "SELECT count(*) FROM erasures WHERE finished_at IS NOT NULL",
            "SELECT count(*) FROM events WHERE kind = 'recording_made'",
            "SELECT count(*) FROM voicemails WHERE deleted_at IS NOT NULL",
            "SELECT count(*) FROM events WHERE kind = 'phone_change_due' AND outcome = 'phone_moved'",
            "SELECT count(*) FROM events WHERE kind = 'phone_change_asked' AND outcome = 'no_code'",
        ] {
            if count(&self.system.pool, happened).await == 0 {
                missing.push(happened);
            }
        }
        missing
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_month_of_whole_lives_and_crashes_every_rule_holds_each_day() {
    let seed: u64 = option_env!("SEED").and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let seeds: u64 = option_env!("SEEDS").and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    for seed in seed..seed + seeds {
        let begun = clock::now();
        eprintln!("SEED={seed}");
        Month::begin(seed).await.play().await;
        eprintln!("SEED={seed} took {} s", (clock::now() - begun).num_seconds());
    }
}
