//! Callers of live numbers: they ring again and again, withhold their numbers, and leave messages.

use chrono::{DateTime, TimeDelta, Utc};

use super::month::Month;
use super::people::{Client, Person};

/// One of them withholds its number.
const CALLERS: [&str; 4] = ["+447700900123", "+447700900124", "+447700900125", "anonymous"];

const SOUND: &[u8] = b"ID3: Hello, my boiler leaks. Please ring me back.";

/// The calls of one caller in a day that are told of, if none was told of just before.
const TOLD: [usize; 8] = [1, 2, 3, 5, 10, 20, 50, 100];

/// The most texts about callers that a person has had in a few minutes before it is called again. Beyond twenty, they are delayed.
const TEXTS_MAX: i64 = 12;

impl Month {
    /// A caller rings several times, and the owner is told of as many of the calls as it should be.
    pub(super) async fn a_caller_rings_often(&mut self) {
        let Some((place, client, caller)) = self.choose_called().await else { return };
        let Some(number) = &client.number else { return };
        let (counted, last_told_at) = self.calls_today(&client, &caller).await;
        let times = 1 + self.random.below(6);
        let told_before = self.texts_about_calls(&client).await;
        for _ in 0..times {
            self.system.stand_in.call(&caller, number).await.unwrap();
        }
        self.settle().await;
        let is_told = caller != self.people[place].phone && client.can_be_texted;
        let was_told = last_told_at.is_some_and(|at| jobrun_shared::clock::now() - at < TimeDelta::hours(2));
        let told_now = |nth: &usize| TOLD.contains(nth) || (*nth == counted + 1 && !was_told);
        let expected = if is_told { (counted + 1..=counted + times).filter(told_now).count() } else { 0 };
        let told = self.texts_about_calls(&client).await - told_before;
        assert_eq!(told, expected, "texts about {times} calls after {counted} of {caller:?} to {client:?}");
        let now = self.calls_today(&client, &caller).await.0;
        assert_eq!(now, counted + times, "calls of {caller:?} to {client:?}");
    }

    /// The recording of a message that its owner cannot be told of is deleted at once.
    pub(super) async fn a_caller_leaves_a_message(&mut self) {
        let Some((place, client, caller)) = self.choose_called().await else { return };
        let Some(number) = &client.number else { return };
        let left = self.system.stand_in.leave_message(&caller, number, SOUND).await.unwrap();
        assert_eq!(left.is_some(), client.can_be_texted, "whether a message is taken for {client:?}");
        let Some(left) = left else { return };
        // Now and then the report of it comes again.
        if self.random.chance(30) {
            assert_eq!(self.system.stand_in.report(&left.report).await.unwrap().status, 204);
        }
        self.settle().await;
        let told = "SELECT count(*) FROM messages WHERE client_id = $1 AND once_key = 'recording:' || $2";
        let told = sqlx::query_scalar(told).bind(&client.id).bind(&left.sid);
        let told: i64 = told.fetch_one(&self.system.pool).await.unwrap();
        assert_eq!(told, i64::from(caller != self.people[place].phone), "texts about a message for {client:?}");
        self.people[place].recordings.push(left.sid);
    }

    /// Chooses a live client and a caller: another phone, a withheld one, or the client's own.
    async fn choose_called(&mut self) -> Option<(usize, Client, String)> {
        self.settle().await;
        let is_live =
            |_: &Person, client: &Client| client.number.is_some() && client.is_at(&["COMPLETE"]) && !client.is_testing;
        let place = self.choose(is_live).await?;
        let client = self.client(place).await?;
        let lately = "SELECT count(*) FROM messages
                      WHERE to_phone = $1 AND kind IN ('missed_call', 'voicemail') AND created_at > now() - INTERVAL '6 minutes'";
        let lately = sqlx::query_scalar(lately).bind(&self.people[place].phone);
        let lately: i64 = lately.fetch_one(&self.system.pool).await.unwrap();
        let caller = match self.random.below(CALLERS.len() + 1) {
            4 => self.people[place].phone.clone(),
            nth => CALLERS[nth].to_owned(),
        };
        (lately <= TEXTS_MAX).then_some((place, client, caller))
    }

    /// Returns how often a caller has rung today, and when the owner was last told of it.
    async fn calls_today(&self, client: &Client, caller: &str) -> (usize, Option<DateTime<Utc>>) {
        let calls = "SELECT count(*), max(called_at) FILTER (WHERE told) FROM calls
                     WHERE client_id = $1 AND caller = $2
                       AND called_at >= date_trunc('day', now() AT TIME ZONE 'Europe/London') AT TIME ZONE 'Europe/London'";
        let stored = if caller.starts_with('+') { caller } else { "" };
        let calls = sqlx::query_as(calls).bind(&client.id).bind(stored);
        let (calls, last_told_at): (i64, Option<DateTime<Utc>>) = calls.fetch_one(&self.system.pool).await.unwrap();
        (usize::try_from(calls).unwrap(), last_told_at)
    }

    async fn texts_about_calls(&self, client: &Client) -> usize {
        let texts = "SELECT count(*) FROM messages WHERE client_id = $1 AND once_key LIKE 'call:%'";
        let texts: i64 = sqlx::query_scalar(texts).bind(&client.id).fetch_one(&self.system.pool).await.unwrap();
        usize::try_from(texts).unwrap()
    }
}
