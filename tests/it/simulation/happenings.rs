//! What can happen, and how often: payments, the people who come and go, and accidents.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use jobrun_stand_in::DeliveryOutcome;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::texts;
use serde_json::{Value, json};

use super::month::Month;
use super::people::{Client, Erased, Person};

/// Something that happens to a person whom it chooses by itself. If there is none whom it fits, nothing happens.
pub(super) type Happening = for<'a> fn(&'a mut Month) -> LocalBoxFuture<'a, ()>;

/// What happens, how often in proportion to the others, and its name in the report.
pub(super) const HAPPENINGS: [(usize, &str, Happening); 32] = [
    (12, "joins", |month| month.a_person_joins().boxed_local()),
    (26, "goes on", |month| month.a_person_goes_on().boxed_local()),
    (9, "pays", |month| month.a_person_pays().boxed_local()),
    (9, "lapses", |month| month.a_person_lapses().boxed_local()),
    (5, "returns", |month| month.a_person_returns().boxed_local()),
    (9, "offered clients answer", |month| month.offered_clients_answer().boxed_local()),
    (5, "says stop or start", |month| month.a_person_says_stop_or_start().boxed_local()),
    (5, "says hello", |month| month.a_person_says("Hello?").boxed_local()),
    (2, "asks the price", |month| month.a_person_says("how much is it again?").boxed_local()),
    (4, "goes back", |month| month.a_person_goes_back().boxed_local()),
    (4, "finds no such menu", |month| month.a_person_finds_no_such_menu().boxed_local()),
    (4, "chooses another phone", |month| month.a_person_chooses_another_phone().boxed_local()),
    (4, "wants a person", |month| month.a_person_wants_a_person().boxed_local()),
    (3, "asks a question", |month| month.a_person_says("do you cover Leeds as well?").boxed_local()),
    (2, "tests its forwarding", |month| month.a_person_says("TEST").boxed_local()),
    (4, "a case is closed", |month| month.an_operator_closes_a_case().boxed_local()),
    (4, "asks to cancel", |month| month.a_person_asks_to_cancel().boxed_local()),
    (3, "is called", |month| month.a_person_is_called().boxed_local()),
    (5, "rings often", |month| month.a_caller_rings_often().boxed_local()),
    (5, "leaves a message", |month| month.a_caller_leaves_a_message().boxed_local()),
    (7, "has a new phone", |month| month.a_person_has_a_new_phone().boxed_local()),
    (4, "an operator moves it", |month| month.an_operator_changes_a_phone().boxed_local()),
    (2, "is out of reach", |month| month.a_person_is_out_of_reach().boxed_local()),
    (4, "is taken over", |month| month.a_person_is_taken_over().boxed_local()),
    (4, "is handed back", |month| month.a_person_is_handed_back().boxed_local()),
    (2, "is exported", |month| month.a_person_is_exported().boxed_local()),
    (3, "is erased", |month| month.a_person_is_erased().boxed_local()),
    (4, "a left phone signs up", |month| month.a_left_phone_signs_up().boxed_local()),
    (2, "refund of an erased", |month| month.an_erased_person_gets_its_money_back().boxed_local()),
    (4, "operator interferes", |month| month.an_operator_interferes().boxed_local()),
    (2, "worker dies", |month| month.a_worker_dies().boxed_local()),
    (1, "ingress restarts", |month| month.the_ingress_restarts().boxed_local()),
];

impl Month {
    /// Delivers Stripe's events in random order, sometimes one of them twice.
    pub(super) async fn deliver(&mut self, payer: usize, events: Vec<Value>) {
        let mut events: Vec<Value> = events.into_iter().map(|event| self.people[payer].as_payer_of(event)).collect();
        if self.random.chance(30) {
            events.push(events[self.random.below(events.len())].clone());
        }
        self.random.shuffle(&mut events);
        for event in events {
            assert_eq!(self.system.stand_in.stripe(&event).await.unwrap().status, 200);
        }
    }

    pub(super) async fn a_person_joins(&mut self) {
        self.phones += 1;
        let life = self.next_life();
        self.people.push(Person::new(self.phones, life));
        self.goes_on(self.people.len() - 1, 1).await;
        let steps = self.random.below(5);
        self.goes_on(self.people.len() - 1, steps).await;
    }

    /// A client has answered the questions already and is sent the payment link.
    pub(super) async fn a_client_reaches_the_gate(&mut self) {
        self.phones += 1;
        let life = self.next_life();
        let person = Person::new(self.phones, life);
        let joins = r#"WITH joined AS (INSERT INTO clients (id, "phoneNumber") VALUES ($1, $2) RETURNING id)
                       INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'S5_CONFIRM_LIVE' FROM joined"#;
        let id = format!("client-{}", self.phones);
        sqlx::query(joins).bind(id).bind(person.digits()).execute(&self.system.pool).await.unwrap();
        self.people.push(person);
        self.texts_in(self.people.len() - 1, "YES").await;
    }

    pub(super) async fn a_person_pays(&mut self) {
        let new = |person: &Person, client: &Client| person.sale.is_none() && client.is_at(&["S5"]);
        if let Some(place) = self.choose(new).await {
            self.pays(place).await;
        }
    }

    /// A client whose service has ended pays again. Its number may still be cooling down.
    pub(super) async fn a_person_returns(&mut self) {
        if let Some(place) = self.choose(|person, _| person.sale.is_some() && !person.is_served).await {
            self.pays(place).await;
        }
    }

    /// A client pays: four times out of five by card, otherwise with a delayed payment.
    async fn pays(&mut self, place: usize) {
        let Some(client) = self.client(place).await else { return };
        let sale = Sale { at: self.stripe_s, ..Sale::new(Some(&client.reference)) };
        let mut events = sale.paid_by_card();
        if self.random.chance(20) {
            events = vec![sale.subscription("created", "active", None), sale.checkout_completed("unpaid")];
            events.extend([sale.after(60).delayed_payment(true), sale.after(60).invoice_payment_paid()]);
        }
        self.deliver(place, events).await;
        self.people[place].sale = Some(sale);
        self.people[place].is_served = true;
        self.people[place].is_late = false;
    }

    /// A renewal fails, or a failed renewal succeeds. Four times out of seven the service then ends, in one of the possible ways.
    pub(super) async fn a_person_lapses(&mut self) {
        let Some(place) = self.choose(|person, _| person.is_served).await else { return };
        let Some(sale) = self.people[place].sale.clone() else { return };
        let (now, was_late) = (Sale { at: self.stripe_s, ..sale }, self.people[place].is_late);
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
        let person = &mut self.people[place];
        (person.is_served, person.is_late) = (end.is_none(), end.is_none() && !was_late);
        events.extend(end);
        self.deliver(place, events).await;
    }

    /// The operator cancels a subscription at Stripe.
    pub(super) async fn cancel(&mut self, place: usize) {
        let Some(sale) = self.people[place].sale.clone() else { return };
        let now = Sale { at: self.stripe_s, ..sale };
        self.people[place].is_served = false;
        self.deliver(place, vec![now.after(10).subscription("deleted", "canceled", None)]).await;
    }

    /// Six out of ten clients with a held number text READY; the others let the hold lapse.
    pub(super) async fn offered_clients_answer(&mut self) {
        let offered = r#"SELECT "phoneNumber" FROM waiting_list w JOIN clients c ON c.id = w.client_id
                         WHERE held_until IS NOT NULL ORDER BY 1"#;
        for digits in texts(&self.system.pool, offered).await {
            let Some(place) = self.people.iter().position(|person| person.digits() == digits) else { continue };
            if self.random.chance(60) {
                self.texts_in(place, "READY").await;
            }
        }
    }

    /// Texts to one phone come back undelivered, until it texts again.
    pub(super) async fn a_person_is_out_of_reach(&mut self) {
        let Some(place) = self.choose(|person, _| person.may_be_texted()).await else { return };
        self.settle().await;
        self.system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30006));
        self.texts_in(place, "what is this?").await;
        self.settle().await;
        self.system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    }

    /// The phone of a person that was erased, or has moved to another one, is a client again, with other words.
    pub(super) async fn a_left_phone_signs_up(&mut self) {
        let Some(person) = self.person_with_a_left_phone() else { return };
        self.people.push(person);
        let place = self.people.len() - 1;
        let before = self.client(place).await;
        assert!(before.is_none(), "a person that has left its phone is found: {before:?}");
        self.goes_on(place, 1).await;
    }

    /// Returns a new person with a phone that was left.
    pub(super) fn person_with_a_left_phone(&mut self) -> Option<Person> {
        if self.left_phones.is_empty() {
            return None;
        }
        let chosen = self.random.below(self.left_phones.len());
        let left = self.left_phones.swap_remove(chosen);
        let mut person = Person::new(self.nth_of(&left.phone), self.next_life());
        if left.opted_out {
            person.opted_out_after = Some(self.system.stand_in.bodies_to(&person.phone).len());
        }
        Some(person)
    }

    /// Stripe's events about an erased person bring none of its words back.
    pub(super) async fn an_erased_person_gets_its_money_back(&mut self) {
        let payers: Vec<&Erased> = self.erased.iter().filter(|erased| erased.person.sale.is_some()).collect();
        if payers.is_empty() {
            return;
        }
        let payer = &payers[self.random.below(payers.len())].person;
        let sale = Sale { at: self.stripe_s, ..payer.sale.clone().unwrap() };
        let mut changed = sale.after(5).refunded();
        changed["type"] = "customer.updated".into();
        changed["data"]["object"] = json!({ "id": sale.customer, "object": "customer", "name": payer.owner });
        for event in [sale.refunded(), sale.after(1).invoice_payment_failed(), changed] {
            let event = payer.as_payer_of(event);
            assert_eq!(self.system.stand_in.stripe(&event).await.unwrap().status, 200);
        }
    }

    pub(super) async fn a_worker_dies(&mut self) {
        self.system.workers[0].kill().await.unwrap();
        self.system.workers.remove(0);
        self.system.start_worker().unwrap();
    }

    pub(super) async fn the_ingress_restarts(&mut self) {
        self.system.ingress.stop().await.unwrap();
        self.system.start_ingress().await.unwrap();
    }
}
