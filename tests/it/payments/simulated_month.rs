//! A simulated month: clients join, pay, lapse, return, opt out and ignore offers; operators interfere; workers die. The rules hold
//! at the end of each day.
//!
//! A seed decides the course of the month. It is printed and can be set: `SEED=8 cargo test -p jobrun-tests --test it month`.
//!
//! A day passes by moving every time in the database back, so no program waits for it.

use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{count, numbers, phone, test_system_with, texts};
use serde_json::Value;

const DAYS: usize = 30;

const NUMBERS: usize = 8;

/// The cooling time is short enough for numbers to return to the pool within the month.
const SETTINGS: [(&str, &str); 3] =
    [("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link"), ("NUMBER_COOLING", "5d"), ("HOLD_DURATION", "48h")];

/// A pseudo-random generator (SplitMix64). The same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The expected state of a client: its payments, and whether it wants texts.
struct Person {
    sale: Option<Sale>,
    is_served: bool,
    /// Whether its renewal has failed and Stripe retries it.
    is_late: bool,
    /// The number of texts that the client had received when it opted out.
    opted_out_after: Option<usize>,
}

struct Month {
    system: TestSystem,
    random: Random,
    people: Vec<Person>,
    /// Stripe's clock, in Unix seconds.
    stripe_s: i64,
}

impl Month {
    async fn texts_in(&self, n: usize, body: &str) {
        assert_eq!(self.system.stand_in.text(&phone(n), body).await.unwrap().status, 200);
    }

    /// Delivers Stripe's events in random order, sometimes one of them twice.
    async fn deliver(&mut self, mut events: Vec<Value>) {
        if self.random.chance(30) {
            events.push(events[self.random.below(events.len())].clone());
        }
        self.random.shuffle(&mut events);
        for event in events {
            assert_eq!(self.system.stand_in.stripe(&event).await.unwrap().status, 200);
        }
    }

    /// A new client has answered the questions and is sent the payment link.
    async fn a_client_joins(&mut self) {
        self.people.push(Person { sale: None, is_served: false, is_late: false, opted_out_after: None });
        let n = self.people.len();
        let joins = r#"WITH joined AS (INSERT INTO clients (id, "phoneNumber") VALUES ($1, $2) RETURNING id)
                       INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'S5_CONFIRM_LIVE' FROM joined"#;
        let phone = phone(n).trim_start_matches('+').to_owned();
        sqlx::query(joins).bind(format!("client-{n}")).bind(phone).execute(&self.system.pool).await.unwrap();
        self.texts_in(n, "YES").await;
    }

    /// A client pays: four times out of five by card, otherwise with a delayed payment.
    async fn pays(&mut self, n: usize) {
        let reference = sqlx::query_scalar(r#"SELECT "paymentReference" FROM clients WHERE id = $1"#);
        let reference: String = reference.bind(format!("client-{n}")).fetch_one(&self.system.pool).await.unwrap();
        let sale = Sale { at: self.stripe_s, ..Sale::new(Some(&reference)) };
        let is_late = self.random.chance(20);
        let mut events = sale.paid_by_card();
        if is_late {
            events = vec![sale.subscription("created", "active", None), sale.checkout_completed("unpaid")];
            events.extend([sale.after(60).delayed_payment(true), sale.after(60).invoice_payment_paid()]);
        }
        self.deliver(events).await;
        self.people[n - 1].sale = Some(sale);
        self.people[n - 1].is_served = true;
    }

    /// A renewal fails, or a failed renewal succeeds. Four times out of seven the service then ends, in one of the possible ways.
    async fn lapses(&mut self, n: usize) {
        let Some(sale) = self.people[n - 1].sale.clone() else { return };
        let (now, was_late) = (Sale { at: self.stripe_s, ..sale }, self.people[n - 1].is_late);
        let mut events = if was_late {
            vec![now.invoice_paid(), now.subscription("updated", "active", Some("past_due"))]
        } else {
            vec![now.invoice_payment_failed(), now.subscription("updated", "past_due", Some("active"))]
        };
        let next = now.after(10);
        let end = match self.random.below(7) {
            0 => Some(next.subscription("updated", "unpaid", None)),
            1 => Some(next.subscription("deleted", "canceled", None)),
            2 => Some(next.refunded()),
            3 => Some(next.subscription("paused", "paused", None)),
            _ => None,
        };
        let person = &mut self.people[n - 1];
        (person.is_served, person.is_late) = (end.is_none(), end.is_none() && !was_late);
        events.extend(end);
        self.deliver(events).await;
    }

    async fn says_stop_or_start(&mut self, n: usize) {
        self.system.settle().await.unwrap();
        let body = if self.people[n - 1].opted_out_after.is_some() { "START" } else { "STOP" };
        self.texts_in(n, body).await;
        self.system.settle().await.unwrap();
        let texts = self.system.stand_in.bodies_to(&phone(n)).len();
        let is_out = &mut self.people[n - 1].opted_out_after;
        *is_out = if is_out.is_some() { None } else { Some(texts) };
    }

    /// Six out of ten clients with a held number text READY; the others let the hold lapse.
    async fn offered_clients_answer(&mut self) {
        let offered = "SELECT client_id FROM waiting_list WHERE held_until IS NOT NULL ORDER BY client_id";
        for id in texts(&self.system.pool, offered).await {
            if self.random.chance(60) {
                let n: usize = id.trim_start_matches("client-").parse().unwrap();
                self.texts_in(n, "READY").await;
            }
        }
    }

    /// A client whose service has ended pays again.
    async fn a_client_returns(&mut self) {
        let ended = |(_, person): &(usize, &Person)| person.sale.is_some() && !person.is_served;
        let ended: Vec<usize> = self.people.iter().enumerate().filter(ended).map(|(place, _)| place + 1).collect();
        if !ended.is_empty() {
            let n = ended[self.random.below(ended.len())];
            self.pays(n).await;
        }
    }

    async fn an_operator_interferes(&mut self) {
        let held = r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL ORDER BY 1"#;
        let held = texts(&self.system.pool, held).await;
        if held.is_empty() {
            return;
        }
        let number = &held[self.random.below(held.len())];
        let any = &numbers(NUMBERS)[self.random.below(NUMBERS)];
        let command: &[&str] = match self.random.below(4) {
            0 => &["pool", "release", number, "--yes"],
            1 => &["pool", "drain", number],
            _ => &["pool", "drain", "--undo", any],
        };
        let (code, _, stderr) = self.system.operator(command).await.unwrap();
        // The client may have left meanwhile.
        assert!(code == 0 || stderr.contains("no client holds the number"), "{command:?}: {stderr}");
    }

    async fn a_worker_dies(&mut self) {
        self.system.workers[0].kill().await.unwrap();
        self.system.workers.remove(0);
        self.system.start_worker().unwrap();
    }

    async fn take_random_action(&mut self) {
        let n = 1 + self.random.below(self.people.len());
        let is_served = self.people[n - 1].is_served;
        match self.random.below(13) {
            0 | 1 => self.a_client_joins().await,
            2..=5 if !is_served => self.pays(n).await,
            2..=5 if self.random.chance(50) => self.lapses(n).await,
            6 | 7 => self.offered_clients_answer().await,
            8 => self.says_stop_or_start(n).await,
            9 => self.an_operator_interferes().await,
            10 if self.random.chance(30) => self.a_worker_dies().await,
            11 => self.a_client_returns().await,
            _ => self.texts_in(n, "Hello?").await,
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
        for (table, set) in columns {
            let update = format!("UPDATE {table} SET {set}");
            // The programs do not expect an update of a whole table: the two can deadlock, and then it is repeated.
            while let Err(error) =
                sqlx::query(sqlx::AssertSqlSafe(update.clone())).bind(hours).execute(&self.system.pool).await
            {
                let is_deadlock =
                    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("40P01"));
                assert!(is_deadlock, "{table}: {error}");
            }
        }
    }

    /// Waits until all due work is done, the sweep's included.
    async fn finish_the_day(&self) {
        // The work of a killed worker is taken up again after a while.
        self.hours_pass(1).await;
        self.system.settle().await.unwrap();
        let (code, _, stderr) = self.system.operator(&["sweep"]).await.unwrap();
        assert_eq!(code, 0, "{stderr}");
        self.system.settle().await.unwrap();
    }

    async fn check_the_rules(&self, day: usize) {
        for (rule, broken) in RULES {
            let found = texts(&self.system.pool, broken).await;
            assert!(found.is_empty(), "day {day}: {rule}: {found:?}");
        }
        for (n, person) in self.people.iter().enumerate().map(|(place, person)| (place + 1, person)) {
            let gate = sqlx::query_scalar(r#"SELECT "paymentActive" FROM clients WHERE id = $1"#);
            let open: bool = gate.bind(format!("client-{n}")).fetch_one(&self.system.pool).await.unwrap();
            assert_eq!(open, person.is_served, "day {day}: whether client-{n} is served");
            let had = self.system.stand_in.bodies_to(&phone(n)).len();
            assert!(person.opted_out_after.is_none_or(|then| then == had), "day {day}: client-{n} wants no texts");
        }
    }
}

/// Each rule with a query for its violations.
const RULES: [(&str, &str); 8] = [
    (
        "a number that a client holds is that client's in the pool",
        r#"SELECT phone_e164 FROM twilio_number_pool p JOIN clients c ON c."twilioNumber" = p.phone_e164
           WHERE p.status <> 'ASSIGNED' OR p.client_id IS DISTINCT FROM c.id"#,
    ),
    (
        "a number that is assigned is held",
        r#"SELECT phone_e164 FROM twilio_number_pool p
           WHERE status = 'ASSIGNED' AND NOT EXISTS (SELECT FROM clients c WHERE c."twilioNumber" = p.phone_e164)"#,
    ),
    (
        "no number goes to another client inside its cooling time",
        "SELECT number FROM (
             SELECT number, change, client_id, changed_at,
                    lag(client_id) OVER steps AS last_client_id, lag(changed_at) OVER steps AS left_at
             FROM number_changes WHERE change IN ('assigned', 'released')
             WINDOW steps AS (PARTITION BY number ORDER BY id)) AS step
         WHERE change = 'assigned' AND last_client_id IS NOT NULL
           AND (client_id <> last_client_id AND changed_at < left_at + INTERVAL '5 days')",
    ),
    (
        "assignments and releases of a number alternate",
        "SELECT number FROM (
             SELECT number, change, lag(change, 1, 'released') OVER (PARTITION BY number ORDER BY id) AS before
             FROM number_changes WHERE change IN ('assigned', 'released')) AS step
         WHERE change = before",
    ),
    (
        "no client who pays and can be texted waits while a number is free",
        r#"SELECT id FROM clients c LEFT JOIN waiting_list w ON w.client_id = c.id
           WHERE "paymentActive" AND "twilioNumber" IS NULL AND "optedOutAt" IS NULL AND w.held_until IS NULL
             AND (SELECT count(*) FROM twilio_number_pool p WHERE status = 'AVAILABLE' AND drained_at IS NULL)
               > (SELECT count(*) FROM waiting_list WHERE held_until IS NOT NULL)"#,
    ),
    (
        "exactly the clients who pay and have no number are on the waiting list",
        r#"SELECT id FROM clients c FULL JOIN waiting_list w ON w.client_id = c.id
           WHERE ("paymentActive" AND "twilioNumber" IS NULL) <> (w.client_id IS NOT NULL)"#,
    ),
    (
        "each client is told once for each number that is held for it",
        "SELECT w.client_id FROM waiting_list w
         WHERE w.lapsed + (w.held_until IS NOT NULL)::INTEGER
            <> (SELECT count(*) FROM messages m
                WHERE m.client_id = w.client_id AND m.kind = 'number_ready' AND m.created_at >= w.joined_at)",
    ),
    (
        "a client without a number is not beyond the payment gate",
        r#"SELECT id FROM clients JOIN onboarding_states ON client_id = id
           WHERE "twilioNumber" IS NULL AND current_state NOT IN ('S5_CONFIRM_LIVE')"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_joins_payments_lapses_releases_and_crashes_keeps_every_promise() {
    let seed = option_env!("SEED").and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    eprintln!("SEED={seed}");
    let system = test_system_with(2, &SETTINGS).await;
    seed_release::seed(&system.pool, &numbers(NUMBERS)).await.unwrap();
    let mut month = Month { system, random: Random(seed), people: Vec::new(), stripe_s: 1_700_000_000 };
    for _ in 0..10 {
        month.a_client_joins().await;
    }
    for day in 1..=DAYS {
        for _ in 0..10 {
            month.take_random_action().await;
        }
        month.finish_the_day().await;
        month.check_the_rules(day).await;
        month.hours_pass(23).await;
    }
    // A month without these events would prove nothing.
    let pool = &month.system.pool;
    for happened in [
        "SELECT count(*) FROM number_changes WHERE change = 'released'",
        "SELECT count(*) FROM number_changes WHERE change = 'cooled_down'",
        "SELECT count(*) FROM number_changes WHERE why = 'the client returned'",
        "SELECT count(*) FROM messages WHERE kind = 'number_ready'",
        "SELECT count(*) FROM messages WHERE kind = 'service_ended'",
        "SELECT count(*) FROM messages WHERE kind = 'payment_overdue'",
    ] {
        assert!(count(pool, happened).await > 0, "{happened}");
    }
    month.system.shut_down().await.unwrap();
}
