//! What people text, and how they go on with their sign-up.

use jobrun_tests::count;

use super::month::Month;
use super::people::{Client, Person};

const CALLER: &str = "+447700900123";

impl Month {
    pub(super) async fn texts_in(&self, place: usize, body: &str) {
        assert_eq!(self.system.stand_in.text(&self.people[place].phone, body).await.unwrap().status, 200);
    }

    pub(super) async fn settle(&self) {
        self.system.settle().await.unwrap();
    }

    pub(super) async fn a_person_goes_on(&mut self) {
        let may_go_on = |person: &Person, client: &Client| {
            person.may_be_texted() && !client.is_at(&["COMPLETE"]) && (person.is_served || !client.is_at(&["S5"]))
        };
        if let Some(place) = self.choose(may_go_on).await {
            let steps = 1 + self.random.below(4);
            self.goes_on(place, steps).await;
        }
    }

    /// A person gives the next answers, and makes the test call at the end.
    pub(super) async fn goes_on(&mut self, place: usize, steps: usize) {
        for _ in 0..steps {
            let client = self.client(place).await;
            let at = client.as_ref().map_or("S1", |client| client.state.as_str()).split('_').next().unwrap();
            let person = &self.people[place];
            let body = match at {
                "S1" => "Plumber from Leeds",
                "S2" => &person.business,
                "S3" => &person.owner,
                "S4" => "SMS",
                "S5" => {
                    if person.is_served {
                        "READY"
                    } else {
                        "YES"
                    }
                }
                "S6" => ["1", "2", "3"][self.random.below(3)],
                "S7" => "DONE",
                _ => {
                    let number = client.and_then(|client| client.number);
                    self.is_called(number.as_deref()).await;
                    return;
                }
            };
            let body = body.to_owned();
            self.texts_in(place, &body).await;
            self.settle().await;
        }
    }

    async fn is_called(&self, number: Option<&str>) {
        if let Some(number) = number {
            self.system.stand_in.call(CALLER, number).await.unwrap();
        }
    }

    pub(super) async fn a_person_is_called(&mut self) {
        let Some(place) = self.choose(|_, client| client.number.is_some()).await else { return };
        let number = self.client(place).await.and_then(|client| client.number);
        self.is_called(number.as_deref()).await;
    }

    pub(super) async fn a_person_says(&mut self, body: &str) {
        if let Some(place) = self.choose(|_, _| true).await {
            self.texts_in(place, body).await;
        }
    }

    pub(super) async fn a_person_says_stop_or_start(&mut self) {
        let Some(place) = self.choose(|_, _| true).await else { return };
        self.settle().await;
        let body = if self.people[place].opted_out_after.is_some() { "START" } else { "STOP" };
        self.texts_in(place, body).await;
        self.settle().await;
        let texts = self.system.stand_in.bodies_to(&self.people[place].phone).len();
        let is_out = &mut self.people[place].opted_out_after;
        *is_out = if is_out.is_some() { None } else { Some(texts) };
    }

    pub(super) async fn a_person_goes_back(&mut self) {
        let can_go_back = |_: &Person, client: &Client| client.is_at(&["S3", "S4", "S7", "S8"]);
        if let Some(place) = self.choose(can_go_back).await {
            self.texts_in(place, "back").await;
        }
    }

    /// The instructions do not fit the phone: the person is told another way, and the third time it is offered a person.
    pub(super) async fn a_person_finds_no_such_menu(&mut self) {
        let sets_up = |person: &Person, client: &Client| person.may_be_texted() && client.is_at(&["S7", "S8"]);
        self.settle().await;
        let Some(place) = self.choose(sets_up).await else { return };
        let Some(said) = self.last_said_after(place, "there is no such menu").await else { return };
        let helped = ["forward_another_way", "ask_network", "forward_on_network", "offer_person"];
        assert!(helped.contains(&said.as_str()), "{said}");
    }

    pub(super) async fn a_person_chooses_another_phone(&mut self) {
        let sets_up = |person: &Person, client: &Client| person.may_be_texted() && client.is_at(&["S7", "S8"]);
        self.settle().await;
        let Some(place) = self.choose(sets_up).await else { return };
        let kind = self.random.below(3);
        // By its name: while the network is asked for, "3" is one.
        let Some(said) = self.last_said_after(place, ["iPhone", "Android", "landline"][kind]).await else { return };
        assert_eq!(said, "forwarding_instructions");
        let client = self.client(place).await.unwrap();
        let named = "SELECT collected_fields ->> 'phoneType' FROM onboarding_states WHERE client_id = $1";
        let named: String = sqlx::query_scalar(named).bind(&client.id).fetch_one(&self.system.pool).await.unwrap();
        assert_eq!((client.state.as_str(), named.as_str()), ("S7_FWD_SENT", ["iphone", "android", "landline"][kind]));
    }

    pub(super) async fn a_person_wants_a_person(&mut self) {
        let Some(place) = self.choose(|person, _| person.may_be_texted()).await else { return };
        self.settle().await;
        self.texts_in(place, "can I speak to a person please").await;
        self.settle().await;
        self.assert_alerted(place, "person-wanted").await;
    }

    /// Half of those who ask are cancelled at once.
    pub(super) async fn a_person_asks_to_cancel(&mut self) {
        let Some(place) = self.choose(|person, _| person.is_served).await else { return };
        self.settle().await;
        self.texts_in(place, "I want to cancel my subscription").await;
        self.settle().await;
        self.assert_alerted(place, "cancel-asked").await;
        if self.random.chance(50) {
            self.cancel(place).await;
        }
    }

    async fn assert_alerted(&self, place: usize, kind: &str) {
        let client = self.client(place).await.unwrap();
        let open = "SELECT count(*) FROM alerts WHERE cleared_at IS NULL AND cause = $1";
        let open: i64 =
            sqlx::query_scalar(open).bind(format!("{kind}:{}", client.id)).fetch_one(&self.system.pool).await.unwrap();
        assert_eq!(open, 1, "{kind} of {client:?}");
    }

    /// Sends a text, and returns the kind of the last text to the person if that was written since, and was not held back.
    async fn last_said_after(&self, place: usize, body: &str) -> Option<String> {
        let client = self.client(place).await?;
        let last = count(&self.system.pool, "SELECT coalesce(max(id), 0) FROM messages").await;
        self.texts_in(place, body).await;
        self.settle().await;
        // A reminder may come in between, and an operator's texts never do.
        let said = "SELECT kind FROM messages WHERE client_id = $1 AND id > $2 AND kind <> 'reminder' ORDER BY id DESC LIMIT 1";
        let said: Option<String> =
            sqlx::query_scalar(said).bind(&client.id).bind(last).fetch_optional(&self.system.pool).await.unwrap();
        Some(said.unwrap_or_else(|| panic!("nothing was said to {body:?} of {client:?}")))
    }
}
