//! Pages of long lists: the rows that matter come first, and none is left out or shown twice.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::bulk_actions;
use jobrun_shared::db::bulk_actions::{CHOSEN_MAX, Kind, Selection};
use jobrun_shared::db::history::{self, Before, EntryKind, TimelineEntry};
use jobrun_shared::db::listing::{self, ClientFilter, LOOKED_THROUGH, PAGE_ROWS, StuckReason, TextFilter};
use jobrun_shared::{clock, words};
use jobrun_tests::{count, migrated_database};
use sqlx::{AssertSqlSafe, PgPool};

async fn run(pool: &PgPool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(pool).await.unwrap();
}

/// Makes clients `first` to `last`, each a minute younger than the one before, with a business of this name.
async fn make_clients(pool: &PgPool, first: usize, last: usize, name: &str) {
    let make = format!(
        r#"INSERT INTO clients (id, "businessName", "phoneNumber", "createdAt")
           SELECT 'client-' || n, '{name} ' || n, (447900000000 + n)::TEXT, now() - (20000 - n) * INTERVAL '1 minute'
           FROM generate_series({first}, {last}) AS n;
           INSERT INTO onboarding_states (client_id, current_state, updated_at)
           SELECT 'client-' || n, 'S5_CONFIRM_LIVE', now() - INTERVAL '2 days' - n * INTERVAL '1 second'
           FROM generate_series({first}, {last}) AS n"#
    );
    run(pool, &make).await;
}

/// Returns the ids of the clients found, and whether there are more.
async fn find(pool: &PgPool, words: &str) -> (Vec<String>, bool) {
    let mut conn = pool.acquire().await.unwrap();
    let found = listing::search_clients(&mut conn, words, true, clock::now() + TimeDelta::days(1)).await.unwrap();
    (found.clients.into_iter().map(|client| client.id).collect(), found.are_more)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_shows_the_newest_of_many_hits() {
    let pool = migrated_database(2).await;
    let newest = |last: usize| (0..PAGE_ROWS).map(|n| format!("client-{}", last - n)).collect::<Vec<_>>();
    make_clients(&pool, 1, 200, "Smith Plumbing").await;
    make_clients(&pool, 201, 300, "Jones Roofing").await;
    assert_eq!(find(&pool, "plumb").await, (newest(200), true));
    assert_eq!(
        find(&pool, "smith plumbing 7").await.0,
        ["7", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79"]
            .map(|n| format!("client-{n}"))
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );

    // A word of which the index finds more than are read.
    make_clients(&pool, 301, 400 + LOOKED_THROUGH, "Smith Plumbing").await;
    assert_eq!(find(&pool, "plumb").await, (newest(400 + LOOKED_THROUGH), true));
    // The other word is rare, and its clients are older than those that are looked through.
    assert_eq!(find(&pool, "jones").await, (newest(300), true));
    // An owner is found among the newest.
    run(
        &pool,
        r#"UPDATE onboarding_states SET collected_fields = '{"ownerName": "Priya"}' WHERE client_id = 'client-5000'"#,
    )
    .await;
    assert_eq!(find(&pool, "priya").await, (vec!["client-5000".to_owned()], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_page_looks_as_far_as_it_says() {
    let pool = migrated_database(2).await;
    make_clients(&pool, 1, LOOKED_THROUGH + 10, "Smith Plumbing").await;
    let paid = |ids: &str| format!(r#"UPDATE clients SET "paymentActive" = id = ANY('{{{ids}}}')"#);
    let filter = ClientFilter { flag: Some("paid".to_owned()), ..ClientFilter::default() };
    let mut conn = pool.acquire().await.unwrap();
    let start = (clock::now() + TimeDelta::days(1), String::new());
    // The eleventh is the last that is looked at. The tenth is on the next page.
    run(&pool, &paid("client-11,client-10,client-5000")).await;
    let page = listing::list_clients(&mut conn, &filter, &start).await.unwrap();
    let ids = |rows: &[listing::ClientRow]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&page.rows), page.is_cut), (vec!["client-5000".to_owned(), "client-11".to_owned()], true));
    let page = listing::list_clients(&mut conn, &filter, &page.next.unwrap()).await.unwrap();
    assert_eq!((ids(&page.rows), page.next, page.is_cut), (vec!["client-10".to_owned()], None, false));
    // Where nearly all fit, a page is full, and the next goes on behind its last row.
    run(&pool, r#"UPDATE clients SET "paymentActive" = TRUE"#).await;
    let page = listing::list_clients(&mut conn, &filter, &start).await.unwrap();
    assert_eq!((page.rows.len(), page.is_cut), (PAGE_ROWS, false));
    assert_eq!(page.next.unwrap().1, page.rows.last().unwrap().id);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reason_to_be_stuck_hides_another() {
    let pool = migrated_database(2).await;
    make_clients(&pool, 1, 320, "Smith").await;
    // 150 have not confirmed, 100 have not paid; a few texts do not arrive. The number of one is late, who began a year ago.
    let stuck = r#"UPDATE clients SET "paymentActive" = TRUE WHERE split_part(id, '-', 2)::INT <= 150;
                   DELETE FROM clients WHERE split_part(id, '-', 2)::INT BETWEEN 251 AND 310;
                   UPDATE clients SET "paymentActive" = TRUE, "unreachableAt" = now() WHERE split_part(id, '-', 2)::INT BETWEEN 311 AND 317;
                   UPDATE clients SET "paymentActive" = TRUE, "createdAt" = now() - INTERVAL '1 year' WHERE id = 'client-318';
                   INSERT INTO waiting_list (client_id, region, joined_at, promised_by)
                       VALUES ('client-318', 'GB', now() - INTERVAL '300 days', now() - INTERVAL '299 days');
                   DELETE FROM clients WHERE id IN ('client-319', 'client-320')"#;
    run(&pool, stuck).await;
    let listed = listing::list_stuck(&mut pool.acquire().await.unwrap(), clock::now()).await.unwrap();
    let of = |reason: StuckReason| {
        let of: Vec<&listing::StuckClient> = listed.iter().filter(|it| it.reason == reason).collect();
        (of.len(), of.first().map_or(0, |it| it.alike))
    };
    assert_eq!(of(StuckReason::NumberLate), (1, 1));
    assert_eq!(of(StuckReason::Unreachable), (5, 7));
    assert_eq!(of(StuckReason::NotConfirmed), (5, 100), "150, which is said as 100 or more");
    assert_eq!(of(StuckReason::NotPaid), (5, 100));
    assert_eq!((words::stuck_count(99), words::stuck_count(100)), ("99".to_owned(), "100 or more".to_owned()));
    assert!(listed.is_sorted_by_key(|it| (it.reason as usize, it.since)), "the longest of each reason first");
    let first = listed.iter().find(|it| it.reason == StuckReason::NotConfirmed).unwrap();
    assert_eq!(first.id, "client-150", "the one that has been stuck the longest");
}

/// Two texts a minute from a client, each with a reply; older texts to its phone, before it was a client's; and events that arrived
/// late, so that their times are not in the order of their ids. Some times are equal.
const BUSY: &str = "
    INSERT INTO messages (status, kind, to_phone, from_number, body, created_at, updated_at)
    SELECT 'sent', 'welcome', '+447900000001', '+447476955179', 'to a stranger ' || n, now() - INTERVAL '90 days', now()
    FROM generate_series(1, 30) AS n;
    INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id)
    SELECT 'twilio', 'SM' || n, CASE WHEN n % 7 = 0 THEN 'delivery_report' ELSE 'text' END, 'phone:447900000001',
           jsonb_build_object('kind', 'text', 'from', '+447900000001', 'to', '+447476955179', 'body', 'text ' || n),
           at - CASE WHEN n % 40 = 0 THEN INTERVAL '1 day' ELSE '0' END, at, 'applied', CASE WHEN n % 9 > 0 THEN 'client-1' END
    FROM (SELECT n, now() - (700 - n / 2) * INTERVAL '1 minute' AS at FROM generate_series(1, 700) AS n) AS texts;
    INSERT INTO messages (status, client_id, event_id, kind, to_phone, from_number, body, created_at, updated_at)
    SELECT 'sent', 'client-1', id, 'welcome', '+447900000001', '+447476955179', 'reply ' || id, processed_at, processed_at
    FROM events WHERE kind = 'text' ORDER BY id;
    INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, created_at, updated_at)
    VALUES ('sent', 'client-1', 'welcome', '+447900000999', '+447476955179', 'to another phone', now() - INTERVAL '500 minutes', now());
    INSERT INTO number_changes (number, change, client_id, why, changed_at)
    SELECT '+447111111111', 'assigned', 'client-1', 'paid', now() - (81 - n) * INTERVAL '8 minutes' FROM generate_series(1, 80) AS n";

fn key(entry: &TimelineEntry) -> (&'static str, i64) {
    let table = match entry.what {
        EntryKind::TextOut(_) => "messages",
        EntryKind::Number { .. } => "number_changes",
        _ => "events",
    };
    (table, entry.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_long_history_show_each_entry_once_and_in_order() {
    let pool = migrated_database(2).await;
    make_clients(&pool, 1, 2, "Smith").await;
    run(&pool, BUSY).await;
    let whole: Vec<_> = history::find(&pool, "client-1").await.unwrap().unwrap().entries.iter().map(key).collect();
    assert_eq!(whole.len(), 600 + 30 + 600 + 1 + 80, "no delivery report");
    for limit in [60, 150, 10_000] {
        let (mut pages, mut before): (Vec<Vec<TimelineEntry>>, _) = (Vec::new(), Before::EVERYTHING);
        loop {
            let page = history::find_recent(&pool, "client-1", before, limit).await.unwrap().unwrap();
            assert!(page.entries.len() <= 4 * limit as usize, "a page is short");
            pages.insert(0, page.entries);
            let Some(earlier) = page.earlier else { break };
            assert!(earlier.at < before.at, "it goes back in time");
            before = earlier;
        }
        let entries: Vec<&TimelineEntry> = pages.iter().flatten().collect();
        let shown: Vec<_> = entries.iter().map(|entry| key(entry)).collect();
        let (unique, all): (BTreeSet<_>, BTreeSet<_>) = (shown.iter().collect(), whole.iter().collect());
        assert_eq!(shown.len(), unique.len(), "none is shown twice");
        assert!(unique.is_subset(&all));
        assert_eq!(all.difference(&unique).collect::<Vec<_>>(), Vec::<&&_>::new(), "none is left out");
        let times: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.at).collect();
        assert!(times.is_sorted());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_line_counts_those_before_it_in_the_region() {
    let pool = migrated_database(2).await;
    make_clients(&pool, 1, 6, "Smith").await;
    // The second has a number by now, the third is of another region, and the fourth let a hold lapse.
    run(
        &pool,
        r#"INSERT INTO waiting_list (client_id, region, joined_at, promised_by, lapsed)
           SELECT 'client-' || n, CASE n WHEN 3 THEN 'IE' ELSE 'GB' END, now() + n * INTERVAL '1 minute', now(), (n = 4)::INT
           FROM generate_series(1, 5) AS n;
           UPDATE clients SET "twilioNumber" = '+447111111111' WHERE id = 'client-2'"#,
    )
    .await;
    let mut places = Vec::new();
    for n in 1..=6 {
        let found = history::find_recent(&pool, &format!("client-{n}"), Before::EVERYTHING, 10).await.unwrap().unwrap();
        places.push(found.client.waiting.map(|it| it.place));
    }
    assert_eq!(places, [Some(1), None, Some(1), Some(3), Some(2), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_about_many_texts_looks_at_the_newest() {
    let pool = migrated_database(2).await;
    run(
        &pool,
        "INSERT INTO messages (status, kind, to_phone, from_number, body, created_at, updated_at)
         SELECT 'queued', 'welcome', '+447900000001', '+447476955179', 'text ' || n, now(), now() FROM generate_series(1, 30) AS n",
    )
    .await;
    let selection = Selection { filter: TextFilter::default(), ids: None, until: clock::now(), limit: CHOSEN_MAX };
    for (look_at, looked_at) in [(10, 10), (30, 30), (31, 30)] {
        let found = bulk_actions::dry_run(&pool, Kind::Drop, &selection, look_at, None, clock::now()).await.unwrap();
        assert_eq!((found.chosen, found.looked_at, found.would_do), (30, looked_at, looked_at));
        assert_eq!(found.alike.iter().map(|it| it.count).sum::<i64>(), 30);
        assert!(found.examples.iter().all(|it| it.id > 30 - looked_at), "examples are among those looked at");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM bulk_actions").await, 0);
}
