//! Changes of phone: by a code to the old phone, and by an operator. Number, state, payment and history follow.

use jobrun_tests::count;

use super::month::Month;
use super::people::{Client, LeftPhone, Person};

/// The most codes for a phone, and of a phone, in a day.
const CODES_A_DAY: i64 = 3;

impl Month {
    /// A person texts from a new phone, and calls the phone of a client its old one. It gives the code that the old phone gets, or a
    /// wrong one, or none.
    pub(super) async fn a_person_has_a_new_phone(&mut self) {
        self.settle().await;
        let Some(old) = self.choose_old_phone().await else { return };
        let newcomer = self.newcomer().await;
        let (new, taken_over) = (self.people[newcomer].phone.clone(), self.people[newcomer].taken_over_after.is_some());
        if new == old {
            return;
        }
        let (before, asker) = (self.client_of(&old).await, self.client(newcomer).await);
        let asks = asker.as_ref().is_none_or(|it| !it.has_service) && self.people[newcomer].opted_out_after.is_none();
        let is_sent = asks && !taken_over && self.may_be_sent_a_code(before.as_ref(), &old, &new).await;
        let history = self.history_of(&[&before, &asker]).await;
        let last = count(&self.system.pool, "SELECT coalesce(max(id), 0) FROM messages").await;
        self.people[newcomer].named_phones.push(old.clone());
        let number = old.replacen("+44", "0", 1);
        self.texts_in(newcomer, &format!("I've got a new phone, my old number is {number}")).await;
        self.settle().await;
        let code = self.code_after(last, &old).await;
        assert_eq!(code.is_some(), is_sent, "a code for {before:?}, asked for by {asker:?}");

        let wrong = if code.as_deref() == Some("111111") { "222222" } else { "111111" };
        if asks && !taken_over && self.random.chance(40) {
            for _ in 0..=self.random.below(2) {
                self.texts_in(newcomer, wrong).await;
                self.settle().await;
            }
        }
        let Some((code, before)) = code.zip(before).filter(|_| self.random.chance(70)) else {
            assert!(
                self.client(newcomer).await.is_some_and(|client| client.phone != old),
                "{new} moves without a code"
            );
            return;
        };
        self.texts_in(newcomer, &code).await;
        self.settle().await;
        let newcomer = self.people.remove(newcomer);
        self.has_moved(&old, &before, newcomer, asker, history).await;
    }

    /// An operator moves a client to a phone that has never texted, that was left by its client, or that is a client.
    pub(super) async fn an_operator_changes_a_phone(&mut self) {
        self.settle().await;
        let Some(place) = self.choose(|_, _| true).await else { return };
        let old = self.people[place].phone.clone();
        let left = if self.random.chance(30) { self.person_with_a_left_phone() } else { None };
        let newcomer = match (left, self.random.chance(40)) {
            (Some(person), _) => person,
            (None, true) => {
                let Some(other) = self.choose(|person, _| person.phone != old).await else { return };
                self.people.remove(other)
            }
            (None, false) => self.new_person(),
        };
        let (before, asker) = (self.client_of(&old).await.unwrap(), self.client_of(&newcomer.phone).await);
        let history = self.history_of(&[&Some(before.clone()), &asker]).await;
        let is_refused = asker.as_ref().is_some_and(|client| client.has_service);
        let why = format!("{} has a new SIM", newcomer.owner);
        let command = ["client", "change-phone", &old, &newcomer.phone, "--yes", "--why", &why];
        let (code, stdout, stderr) = self.operator(&command).await;
        self.settle().await;
        let said = if is_refused { "pays or holds a number itself" } else { ": done" };
        assert_eq!((code == 0, stdout.contains(said)), (!is_refused, true), "{command:?}: {stdout}{stderr}");
        if is_refused {
            self.people.push(newcomer);
        } else {
            self.has_moved(&old, &before, newcomer, asker, history).await;
        }
    }

    /// Returns the phone of a client, or now and then one that is no client's.
    async fn choose_old_phone(&mut self) -> Option<String> {
        if !self.left_phones.is_empty() && self.random.chance(10) {
            let chosen = self.random.below(self.left_phones.len());
            return Some(self.left_phones[chosen].phone.clone());
        }
        let signed_up = self.random.chance(85);
        let place = self.choose(|_, client| client.is_signed_up || !signed_up).await?;
        Some(self.people[place].phone.clone())
    }

    /// Returns the place of a person who texts from a new phone: most have not texted before.
    async fn newcomer(&mut self) -> usize {
        if self.random.chance(40)
            && let Some(place) = self.choose(|_, client| !client.has_service).await
        {
            return place;
        }
        if self.random.chance(30)
            && let Some(place) = self.choose(|_, _| true).await
        {
            return place;
        }
        let person = self.new_person();
        self.people.push(person);
        self.people.len() - 1
    }

    fn new_person(&mut self) -> Person {
        self.phones += 1;
        Person::new(self.phones, self.next_life())
    }

    async fn may_be_sent_a_code(&self, client: Option<&Client>, old: &str, new: &str) -> bool {
        let asked = "SELECT count(*) FILTER (WHERE old_phone = $1 AND client_id IS NOT NULL), count(*) FILTER (WHERE new_phone = $2)
                     FROM phone_changes WHERE asked_at > now() - INTERVAL '1 day' AND operator IS NULL";
        let asked = sqlx::query_as(asked).bind(old.trim_start_matches('+')).bind(new.trim_start_matches('+'));
        let (for_old, by_new): (i64, i64) = asked.fetch_one(&self.system.pool).await.unwrap();
        let is_in_reach = client.is_some_and(|client| client.is_signed_up && client.can_be_texted);
        is_in_reach && for_old < CODES_A_DAY && by_new < CODES_A_DAY
    }

    /// Returns the code in the text to a phone that was written since, if there is one.
    async fn code_after(&self, last: i64, to: &str) -> Option<String> {
        let written = "SELECT count(*) FROM messages WHERE id > $1 AND to_phone = $2 AND kind = 'phone_code'";
        let written = sqlx::query_scalar(written).bind(last).bind(to);
        let written: i64 = written.fetch_one(&self.system.pool).await.unwrap();
        assert!(written <= 1, "{written} codes to {to}");
        let body = self.system.stand_in.bodies_to(to).into_iter().rev().find(|body| body.contains("JobRun code is"));
        body.filter(|_| written == 1).map(|body| body.split(' ').nth(4).unwrap()[..6].to_owned())
    }

    async fn client_of(&self, phone: &str) -> Option<Client> {
        self.clients().await.remove(phone.trim_start_matches('+'))
    }

    /// Returns how many rows of the past there are of these clients.
    async fn history_of(&self, clients: &[&Option<Client>]) -> i64 {
        let ids: Vec<&str> =
            clients.iter().filter_map(|client| client.as_ref()).map(|client| client.id.as_str()).collect();
        let rows = "SELECT (SELECT count(*) FROM events WHERE client_id = ANY($1)) + (SELECT count(*) FROM messages WHERE client_id = ANY($1))
                         + (SELECT count(*) FROM subscriptions WHERE client_id = ANY($1)) + (SELECT count(*) FROM number_changes WHERE client_id = ANY($1))
                         + (SELECT count(*) FROM voicemails WHERE client_id = ANY($1))";
        sqlx::query_scalar(rows).bind(ids).fetch_one(&self.system.pool).await.unwrap()
    }

    /// A client has moved from the phone `old` to that of `newcomer`, which was the client `asker`, if it was one. The two had
    /// `history` rows of the past.
    async fn has_moved(&mut self, old: &str, before: &Client, newcomer: Person, asker: Option<Client>, history: i64) {
        let after = self.client_of(&newcomer.phone).await;
        let kept = |it: &Client| (it.id.clone(), it.reference.clone(), it.state.clone(), it.number.clone(), it.is_paid);
        if after.as_ref().map(kept) != Some(kept(before)) || self.history_of(&[&after]).await < history {
            self.explain(&[old.to_owned(), newcomer.phone.clone()]).await;
            panic!("{old} moves to {}: {before:?} and {asker:?} with {history} rows are {after:?}", newcomer.phone);
        }
        assert!(self.client_of(old).await.is_none(), "{old} is still a client");
        if let Some(asker) = asker {
            self.assert_nothing_is_of(&asker.id).await;
        }
        let place = self.people.iter().position(|person| person.phone == old).unwrap();
        let moved = &mut self.people[place];
        let opted_out = moved.opted_out_after.is_some();
        moved.former_words.extend(newcomer.words());
        moved.former_phones.extend([old.to_owned()].into_iter().chain(newcomer.former_phones));
        moved.named_phones.extend(newcomer.named_phones);
        moved.recordings.extend(newcomer.recordings);
        moved.phone = newcomer.phone;
        moved.opted_out_after = newcomer.opted_out_after;
        moved.sale = moved.sale.take().or(newcomer.sale);
        let taken_over = moved.taken_over_after.is_some() || newcomer.taken_over_after.is_some();
        self.left_phones.push(LeftPhone { phone: old.to_owned(), opted_out });
        let written = self.automatic_texts(place).await;
        self.people[place].taken_over_after = taken_over.then_some(written);
    }

    /// The rows of a client that has become one with another are the other's.
    async fn assert_nothing_is_of(&self, id: &str) {
        let columns =
            "SELECT string_agg(format('SELECT %L FROM %I WHERE client_id = $1', table_name, table_name), ' UNION ')
                       FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
                       WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'client_id'";
        let search: String = sqlx::query_scalar(columns).fetch_one(&self.system.pool).await.unwrap();
        let left = sqlx::query_scalar(sqlx::AssertSqlSafe(search)).bind(id);
        let left: Vec<String> = left.fetch_all(&self.system.pool).await.unwrap();
        assert!(left.is_empty(), "{left:?} still have rows of {id}");
    }

    /// Returns whether no person has the phone, had it, or has named it.
    pub(super) fn is_nobodys(&self, phone: &str) -> bool {
        self.people.iter().all(|person| person.phones().all(|it| it != phone))
    }
}
