//! The phones of the phone page: which are shown, what they forward to, and what happened on them besides texts.
//!
//! * `conversation`: a phone's texts, calls and payments in order, ready to be shown
//! * `markup`: links and suggestions, found in the words of a text
//! * `calls`: a phone rings a number, or is rung
//! * `page`, `actions`, `live`, `panel`: the pages, their forms, their updates, and the panel of faults

mod actions;

mod calls;

mod conversation;

mod live;

mod markup;

mod page;

mod panel;

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::clock;
use serde::{Deserialize, Serialize};

use crate::state_file::Entry;
use crate::{Answer, Direction, Message, State};

pub(crate) use live::CHANGES_KEPT;
pub(crate) use live::Change;
pub(crate) use page::{front, guarded, html, local_path};

/// The phone that is shown before any other is.
const FIRST: &str = "+447900000001";

/// A phone of the phone page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Phone {
    /// Its number, E.164.
    pub(crate) number: String,
    /// Whether the start page shows it.
    pub(crate) is_shown: bool,
    /// The number that its unanswered calls are forwarded to.
    pub(crate) forwards_to: Option<String>,
}

impl Phone {
    fn new(number: &str) -> Self {
        Self { number: number.to_owned(), is_shown: true, forwards_to: None }
    }
}

/// A call or a payment, as the phone's owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The phone's number.
    pub(crate) phone: String,
    /// What happened.
    pub(crate) words: String,
    /// What a caller heard.
    pub(crate) heard: Option<String>,
    /// The responses to the webhooks.
    pub(crate) answers: Vec<String>,
    /// When it happened.
    pub(crate) at: DateTime<Utc>,
}

/// The end of the webhook of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebhookEnd {
    /// The SID of the text.
    pub(crate) sid: String,
    /// Whether the response was a success.
    pub(crate) is_taken: bool,
    /// The response, or the reason why there is none.
    pub(crate) words: String,
}

/// Everything that the phone page remembers. Messages are in the account.
#[derive(Debug, Default)]
pub(crate) struct Phones {
    phones: Vec<Phone>,
    /// The place of each phone, by its number: load tests have thousands.
    places: HashMap<String, usize>,
    notes: Vec<Note>,
    ends: HashMap<String, WebhookEnd>,
}

impl Phones {
    pub(crate) fn restore_phone(&mut self, phone: Phone) {
        match self.places.get(&phone.number) {
            Some(place) => self.phones[*place] = phone,
            None => {
                self.places.insert(phone.number.clone(), self.phones.len());
                self.phones.push(phone);
            }
        }
    }

    pub(crate) fn restore_note(&mut self, note: Note) {
        self.notes.push(note);
    }

    pub(crate) fn restore_end(&mut self, end: WebhookEnd) {
        self.ends.insert(end.sid.clone(), end);
    }

    /// Adds the phone of a text, unless it is known.
    pub(crate) fn meet(&mut self, number: &str) {
        if !self.places.contains_key(number) {
            self.restore_phone(Phone::new(number));
        }
    }

    pub(crate) fn age(&mut self, time: TimeDelta) {
        self.notes.iter_mut().for_each(|note| note.at -= time);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn find(&self, number: &str) -> Phone {
        self.places.get(number).map_or_else(|| Phone::new(number), |place| self.phones[*place].clone())
    }

    /// Returns the numbers of the phones to show: those that were added or texted, in that order.
    fn shown(&self) -> Vec<String> {
        let shown = self.phones.iter().filter(|phone| phone.is_shown);
        let mut numbers: Vec<String> = shown.map(|phone| phone.number.clone()).collect();
        if !self.places.contains_key(FIRST) {
            numbers.insert(0, FIRST.to_owned());
        }
        numbers
    }

    /// Returns the first number after the known ones that is no phone yet.
    fn next_free(&self) -> String {
        let free = |number: &String| !self.places.contains_key(number);
        (2..10_000).map(|n| format!("+44790000{n:04}")).find(free).unwrap_or_default()
    }
}

/// Returns the number of the phone that sent or received a message.
pub(crate) fn phone_of(message: &Message) -> &str {
    match message.direction {
        Direction::Inbound => &message.from,
        Direction::Outbound => &message.to,
    }
}

impl State {
    pub(crate) fn phones(&self) -> MutexGuard<'_, Phones> {
        self.phones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a phone, which is added if it is new.
    fn change_phone(&self, number: &str, change: impl FnOnce(&mut Phone)) {
        let mut phones = self.phones();
        let mut phone = phones.find(number);
        change(&mut phone);
        self.persist(&Entry::Phone(phone.clone()));
        phones.restore_phone(phone);
        drop(phones);
        self.changed(number);
    }

    /// Records a call or a payment.
    pub(crate) fn note(&self, phone: &str, words: String, heard: Option<String>, answers: Vec<String>) {
        let note = Note { phone: phone.to_owned(), words, heard, answers, at: clock::now() };
        self.persist(&Entry::Note(note.clone()));
        self.phones().restore_note(note);
        self.changed(phone);
    }

    /// Records how the webhook of a text ended, if it is the text of a phone.
    pub(crate) fn record_end(&self, sid: &str, phone: &str, answer: &Result<Answer, crate::Undelivered>) {
        let (is_taken, words) = match answer {
            Ok(answer) => ((200..300).contains(&answer.status), in_words(answer)),
            Err(error) => (false, format!("not delivered: {error}")),
        };
        let end = WebhookEnd { sid: sid.to_owned(), is_taken, words };
        self.persist(&Entry::WebhookEnd(end.clone()));
        self.phones().restore_end(end);
        self.changed(phone);
    }
}

/// Returns a response on one line: the status and the body.
fn in_words(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.body.trim()).trim().to_owned()
}

pub(crate) fn router() -> Router<Arc<State>> {
    page::router().merge(actions::router()).merge(panel::router()).merge(live::router())
}
