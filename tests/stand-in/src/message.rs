//! A message as Twilio's account stores it.

use chrono::{DateTime, Utc};
use jobrun_onboarding::segments::segments;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// An outbound text that the stand-in accepted, or an inbound text to a number of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The SID, `SM…`.
    pub sid: String,
    /// The sender, E.164 where it has such a number.
    pub from: String,
    /// The recipient, E.164.
    pub to: String,
    /// The body.
    pub body: String,
    /// Whether it was sent or received.
    pub direction: Direction,
    /// The URL that its delivery reports go to.
    pub status_callback: Option<String>,
    /// How many seconds it may wait to be sent; `None` for an inbound text.
    pub validity_period: Option<u32>,
    /// Its true status, which the delivery reports need not show.
    pub status: MessageStatus,
    /// Twilio's error code, if it did not arrive.
    pub error_code: Option<u32>,
    /// When it was accepted, or received.
    pub date_created: DateTime<Utc>,
    /// When it was handed to the carrier, or received.
    pub date_sent: Option<DateTime<Utc>>,
    /// The list shows it from this time on.
    pub(crate) listed_from: DateTime<Utc>,
}

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// From a phone to a number of the account.
    Inbound,
    /// From the account, through the REST API.
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

/// The status of a message at Twilio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageStatus {
    /// Accepted.
    Queued,
    /// Handed to the carrier.
    Sent,
    /// Arrived on the phone.
    Delivered,
    /// The carrier could not deliver it.
    Undelivered,
    /// Never handed to the carrier.
    Failed,
    /// Received from a phone.
    Received,
}

impl MessageStatus {
    /// Returns Twilio's name for the status.
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
    /// Returns a text that a number of the account receives now.
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

    /// Returns the message as the REST API shows it.
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

    /// The expected counts are from the calculator that Twilio publishes.
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
