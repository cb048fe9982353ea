//! The state that outlives a restart: texts in both directions, numbers, sales, Stripe's events, phones, and calls.
//!
//! It is in an append-only file, one JSON object a line. A later line about a number, a sale or a phone replaces the earlier one.
//! Faults are not kept: a restart ends them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::phones::{Note, Phone, WebhookEnd, phone_of};
use crate::stripe::Sale;
use crate::{Direction, Message, Number, State};

/// One line of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A text that was accepted, or received.
    Text(Message),
    /// A number that was bought or set up.
    Number(Number),
    /// A subscription that was sold.
    Sale(Sale),
    /// An event that happened at Stripe.
    StripeEvent(Value),
    /// A phone that was added, hidden, or set to forward.
    Phone(Phone),
    /// A call or a payment on a phone.
    Note(Note),
    /// The text with this SID was redacted.
    Redacted(String),
    /// The end of the webhook of a text.
    WebhookEnd(WebhookEnd),
    /// Everything before became older.
    Passed {
        /// By so many seconds.
        seconds: i64,
    },
}

/// The open file.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl StateFile {
    /// Opens or creates the file, and returns its entries. An incomplete last line is cut off: its request had no response yet.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        bytes.truncate(whole);
        let mut entries = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry = serde_json::from_slice(line).map_err(|error| {
                let (path, line) = (path.display(), index + 1);
                io::Error::new(ErrorKind::InvalidData, format!("{path}, line {line}, cannot be read: {error}"))
            });
            entries.push(entry?);
        }
        Ok((Self { path: path.to_owned(), file: Mutex::new(file) }, entries))
    }

    fn empty(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).set_len(0)
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let before = file.metadata()?.len();
        file.write_all(&line).or_else(|error| {
            // The next line must not continue a partial one.
            file.set_len(before)?;
            Err(error)
        })
    }
}

impl State {
    /// Writes an entry to the file, if there is one. An error is only printed: the stand-in must not depend on a full disk.
    pub(crate) fn persist(&self, entry: &Entry) {
        let Some(state_file) = &self.state_file else { return };
        if let Err(error) = state_file.append(entry) {
            eprintln!("stand-in: {} cannot be written, and a restart will forget: {error}", state_file.path.display());
        }
    }

    pub(crate) fn add_message(&self, message: Message) {
        // The lock is held while the file is written, so that texts have the same order in the file and in memory.
        let mut messages = self.messages();
        self.persist(&Entry::Text(message.clone()));
        let phone = phone_of(&message).to_owned();
        self.phones().meet(&phone);
        messages.push(message);
        drop(messages);
        self.changed(&phone);
    }

    /// Redacts a message, and returns it, if there is one.
    pub(crate) fn redact_message(&self, sid: &str) -> Option<Message> {
        let mut messages = self.messages();
        let message = messages.iter_mut().find(|message| message.sid == sid)?;
        message.body.clear();
        let redacted = message.clone();
        self.persist(&Entry::Redacted(sid.to_owned()));
        drop(messages);
        self.changed(phone_of(&redacted));
        Some(redacted)
    }

    pub(crate) fn add_number(&self, number: Number) {
        let mut numbers = self.numbers();
        self.persist(&Entry::Number(number.clone()));
        numbers.push(number);
    }

    pub(crate) fn add_sale(&self, sale: Sale) {
        let mut sales = self.sales();
        self.persist(&Entry::Sale(sale.clone()));
        sales.insert(sale.subscription.clone(), sale);
    }

    /// Restores an entry that an earlier stand-in wrote.
    pub(crate) fn restore(&self, entry: Entry) {
        match entry {
            Entry::Text(message) => {
                if message.direction == Direction::Outbound {
                    self.taken.fetch_add(1, std::sync::atomic::Ordering::Release);
                }
                self.phones().meet(phone_of(&message));
                self.messages().push(message);
            }
            Entry::Number(number) => {
                self.market().retain(|offer| offer.phone_number != number.phone_number);
                let mut numbers = self.numbers();
                numbers.retain(|it| it.phone_number != number.phone_number);
                numbers.push(number);
            }
            Entry::Sale(sale) => {
                self.sales().insert(sale.subscription.clone(), sale);
            }
            Entry::StripeEvent(event) => self.restore_stripe_event(event),
            Entry::Phone(phone) => self.phones().restore_phone(phone),
            Entry::Note(note) => self.phones().restore_note(note),
            Entry::Redacted(sid) => {
                if let Some(message) = self.messages().iter_mut().find(|message| message.sid == sid) {
                    message.body.clear();
                }
            }
            Entry::WebhookEnd(end) => self.phones().restore_end(end),
            Entry::Passed { seconds } => self.age(TimeDelta::seconds(seconds)),
        }
    }

    /// Forgets everything but the numbers of the account, also in the file.
    pub(crate) fn forget(&self) -> io::Result<()> {
        // Texts are added under this lock, so none is written while the file is emptied.
        let mut messages = self.messages();
        if let Some(state_file) = &self.state_file {
            state_file.empty()?;
        }
        messages.clear();
        self.taken.store(0, std::sync::atomic::Ordering::Release);
        self.sales().clear();
        self.forget_stripe();
        self.phones().clear();
        self.faults.orders().clear();
        for number in self.numbers().iter() {
            self.persist(&Entry::Number(number.clone()));
        }
        drop(messages);
        self.everything_changed();
        Ok(())
    }
}
