//! A phone's texts, calls and payments in order, ready to be shown.

use chrono::{DateTime, Utc};

use super::markup::{self, Part, Suggestion};
use super::{Note, WebhookEnd, phone_of};
use crate::{Direction, Message, MessageStatus, State};

/// How many of a phone's latest items are shown.
const SHOWN_MAX: usize = 200;

/// A line of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) at: DateTime<Utc>,
    pub(super) parts: Vec<Part>,
    /// The day, on the first item of each.
    pub(super) day: Option<String>,
    /// The other number, unless it is the onboarding number.
    pub(super) other: Option<String>,
    /// What became of it, in a word or two.
    pub(super) status: String,
    /// The response to its webhook, and others that are shown on request.
    pub(super) details: Vec<String>,
    /// What a caller heard.
    pub(super) heard: Option<String>,
    /// Whether it is a text of the phone that nothing follows.
    pub(super) is_last: bool,
}

/// The kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text from the phone.
    Sent,
    /// A text from the phone whose webhook was not accepted.
    NotTaken,
    /// A text that arrived on the phone.
    Received,
    /// A text to the phone that Twilio has, and that has not arrived.
    UnderWay,
    /// A text to the phone that did not arrive.
    Lost,
    /// A call or a payment.
    Note,
}

impl Kind {
    /// Returns the class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::NotTaken => "sent failed",
            Self::Received => "received",
            Self::UnderWay => "received pending",
            Self::Lost => "received lost",
            Self::Note => "note",
        }
    }

    /// Returns the ticks beside the status.
    pub(super) const fn ticks(self) -> &'static str {
        match self {
            Self::Sent | Self::UnderWay => "✓",
            Self::Received => "✓✓",
            Self::NotTaken | Self::Lost => "✗",
            Self::Note => "",
        }
    }

    /// Returns the author, for readers that cannot see on which side it stands.
    pub(super) const fn author(self) -> &'static str {
        match self {
            Self::Sent | Self::NotTaken => "This phone:",
            Self::Received | Self::UnderWay | Self::Lost => "JobRun:",
            Self::Note => "",
        }
    }
}

impl Item {
    /// Whether the responses to its webhooks are shown at once, because nothing else shows what happened.
    pub(super) fn is_unanswered(&self) -> bool {
        self.is_last || self.kind == Kind::NotTaken
    }
}

/// A phone's conversation.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) items: Vec<Item>,
    /// How many earlier items are not shown.
    pub(super) left_out: usize,
    /// The replies that the last text proposes, if it is not answered.
    pub(super) suggestions: Vec<Suggestion>,
}

impl State {
    pub(super) fn conversation(&self, phone: &str) -> Conversation {
        let messages: Vec<Message> = self.messages().iter().filter(|it| phone_of(it) == phone).cloned().collect();
        let phones = self.phones();
        let mut items: Vec<Item> = messages.iter().map(|it| self.item_of(it, phones.ends.get(&it.sid))).collect();
        items.extend(phones.notes.iter().filter(|note| note.phone == phone).map(item_of_note));
        drop(phones);
        // The sort is stable: texts of the same moment keep the order of the account.
        items.sort_by_key(|item| item.at);
        let arrived = messages.iter().rfind(|it| it.direction == Direction::Outbound && has_arrived(it));
        let is_answered = messages.last().is_some_and(|it| it.direction == Direction::Inbound);
        let left_out = items.len().saturating_sub(SHOWN_MAX);
        let mut items = items.split_off(left_out);
        name_days(&mut items);
        if let Some(last) = items.last_mut() {
            last.is_last = last.kind == Kind::Sent;
        }
        Conversation {
            items,
            left_out,
            suggestions: arrived.filter(|_| !is_answered).map(|it| markup::suggestions(&it.body)).unwrap_or_default(),
        }
    }

    fn item_of(&self, message: &Message, end: Option<&WebhookEnd>) -> Item {
        let (other, kind, status) = match message.direction {
            Direction::Inbound => {
                let (kind, status) = match end {
                    None => (Kind::Sent, "sending".to_owned()),
                    Some(end) if end.is_taken => (Kind::Sent, "sent".to_owned()),
                    Some(_) => (Kind::NotTaken, "refused".to_owned()),
                };
                (&message.to, kind, status)
            }
            Direction::Outbound => (&message.from, kind_of_outbound(message.status), status_of(message)),
        };
        let details = end.map(|end| format!("The webhook's answer: {}", end.words)).into_iter().collect();
        let parts = match message.direction {
            Direction::Inbound => vec![Part::Words(message.body.clone())],
            Direction::Outbound => markup::parts(&message.body),
        };
        let other = (*other != self.account.onboarding_number).then(|| other.clone());
        Item { kind, at: message.date_created, parts, day: None, other, status, details, heard: None, is_last: false }
    }
}

fn has_arrived(message: &Message) -> bool {
    kind_of_outbound(message.status) == Kind::Received
}

const fn kind_of_outbound(status: MessageStatus) -> Kind {
    match status {
        MessageStatus::Queued => Kind::UnderWay,
        // A text without a report has usually arrived.
        MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Received => Kind::Received,
        MessageStatus::Undelivered | MessageStatus::Failed => Kind::Lost,
    }
}

fn status_of(message: &Message) -> String {
    let code = message.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
    match message.status {
        MessageStatus::Queued => "queued at Twilio".to_owned(),
        MessageStatus::Sent => "sent, no report".to_owned(),
        MessageStatus::Delivered | MessageStatus::Received => "delivered".to_owned(),
        MessageStatus::Undelivered | MessageStatus::Failed => {
            format!("did not arrive: {}{code}", message.status.name())
        }
    }
}

fn item_of_note(note: &Note) -> Item {
    Item {
        kind: Kind::Note,
        at: note.at,
        parts: vec![Part::Words(note.words.clone())],
        day: None,
        other: None,
        status: String::new(),
        details: note.answers.clone(),
        heard: note.heard.clone(),
        is_last: false,
    }
}

/// Names the day on the first item of each day.
fn name_days(items: &mut [Item]) {
    let mut last = None;
    for item in items {
        let day = item.at.date_naive();
        if last != Some(day) {
            item.day = Some(item.at.format("%-d %B %Y").to_string());
            last = Some(day);
        }
    }
}
