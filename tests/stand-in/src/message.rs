//! A text as the account keeps it.

use chrono::{DateTime, Utc};
use jobrun_onboarding::segments::segments;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A text that was taken from us, or that somebody sent to one of our numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its name.
    pub sid: String,
    /// From which number.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What it says.
    pub body: String,
    /// Who sent it.
    pub direction: Direction,
    /// The address of its delivery reports.
    pub status_callback: Option<String>,
    /// For how many seconds it may wait to be sent; nothing for a text that came in.
    pub validity_period: Option<u32>,
    /// How far it got, whatever the delivery reports say.
    pub status: MessageStatus,
    /// Why it did not arrive.
    pub error_code: Option<u32>,
    /// When it was taken.
    pub date_created: DateTime<Utc>,
    /// When it was handed to the carrier.
    pub date_sent: Option<DateTime<Utc>>,
    /// Since when the list shows it.
    pub(crate) listed_from: DateTime<Utc>,
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Somebody, to one of our numbers.
    Inbound,
    /// We, with the REST API.
    Outbound,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound-api",
        }
    }
}

/// How far a message got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageStatus {
    /// Taken.
    Queued,
    /// Handed to the carrier.
    Sent,
    /// Arrived.
    Delivered,
    /// The carrier could not deliver it.
    Undelivered,
    /// It was never handed to the carrier.
    Failed,
    /// It came in.
    Received,
}

impl MessageStatus {
    /// Twilio's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Received => "received",
        }
    }
}

impl Message {
    /// A text that somebody sends to one of our numbers now.
    pub(crate) fn received(sid: &str, from: &str, to: &str, body: &str) -> Self {
        let now = jobrun_shared::clock::now();
        Self {
            sid: sid.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            body: body.to_owned(),
            direction: Direction::Inbound,
            status_callback: None,
            validity_period: None,
            status: MessageStatus::Received,
            error_code: None,
            date_created: now,
            date_sent: Some(now),
            listed_from: now,
        }
    }

    /// The message as the REST API shows it.
    pub(crate) fn as_json(&self, account: &str) -> serde_json::Value {
        json!({
            "account_sid": account,
            "api_version": "2010-04-01",
            "sid": self.sid,
            "status": self.status.name(),
            "to": self.to,
            "from": self.from,
            "body": self.body,
            "direction": self.direction.name(),
            "num_segments": segments(&self.body).count.to_string(),
            "num_media": "0",
            "date_created": self.date_created.to_rfc2822(),
            "date_updated": self.date_sent.unwrap_or(self.date_created).to_rfc2822(),
            "date_sent": self.date_sent.map(|date| date.to_rfc2822()),
            "error_code": self.error_code,
            "error_message": null,
            "uri": format!("/2010-04-01/Accounts/{account}/Messages/{}.json", self.sid),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the calculator that Twilio publishes.
    #[test]
    fn segments_are_counted_as_twilio_counts_them() {
        let split = format!("{}€{}", "a".repeat(152), "a".repeat(152));
        let emoji = format!("{}👍{}", "ш".repeat(66), "ш".repeat(66));
        for (body, expected) in [(split, 3), (emoji, 3)] {
            assert_eq!(segments(&body).count, expected, "{body}");
        }
        for (character, times, expected) in
            [("a", 160, 1), ("a", 161, 2), ("a", 306, 2), ("a", 307, 3), ("€", 80, 1), ("€", 81, 2), ("ш", 70, 1)]
        {
            assert_eq!(segments(&character.repeat(times)).count, expected, "{times} {character}");
        }
        for (character, times, expected) in
            [("ш", 71, 2), ("ш", 134, 2), ("ш", 135, 3), ("👍", 35, 1), ("👍", 36, 2), ("a", 1600, 11)]
        {
            assert_eq!(segments(&character.repeat(times)).count, expected, "{times} {character}");
        }
    }
}
