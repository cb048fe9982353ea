//! Twilio's lists of texts: those that we sent, with their delivery status, and those that came in.
//!
//! This module only reads. An unreadable text in a list must not hide the others, so each is read by itself, field by field.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use reqwest::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::answers::{Error, PAGE_SIZE, ROOT};
use super::api::Api;

/// The words that Twilio puts before every text of a trial account.
const TRIAL_PREFIX: &str = "Sent from your Twilio trial account - ";

/// How far Twilio's clock and ours may differ when a text is looked for.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// A text as Twilio's list shows it. Dates are RFC 2822.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Its MessageSid.
    pub sid: String,
    /// `inbound`, or `outbound-api` for texts that we created.
    direction: Option<String>,
    status: Option<String>,
    from: Option<String>,
    to: Option<String>,
    body: Option<String>,
    date_created: Option<String>,
    date_sent: Option<String>,
}

/// A text that a number of the account received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Its MessageSid.
    pub sid: String,
    /// The sender, as Twilio gives it.
    pub from: String,
    /// The recipient, a number of the account, E.164.
    pub to: String,
    /// Its body.
    pub body: String,
    /// When it arrived, to the second.
    pub sent_at: DateTime<Utc>,
}

/// A text that we sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its MessageSid.
    pub sid: String,
    /// The sender, a number of the account, E.164.
    pub from: String,
    /// The recipient, E.164.
    pub to: String,
    /// Its body.
    pub body: String,
    /// When Twilio took it, to the second.
    pub sent_at: DateTime<Utc>,
}

/// The texts of an account, in both directions, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Those that arrived.
    pub inbound: Vec<Inbound>,
    /// Those that we sent.
    pub sent: Vec<Sent>,
}

/// The delivery status of a text of ours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MessageStatus {
    /// Twilio's MessageStatus.
    pub status: String,
    /// Twilio's ErrorCode.
    pub error_code: Option<i32>,
}

impl Listed {
    /// Reads an entry of a list. A field that is no string counts as missing. An entry without its SID is useless, and is dropped.
    fn read(entry: &Value) -> Option<Self> {
        let field = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            sid: field("sid")?,
            direction: field("direction"),
            status: field("status"),
            from: field("from"),
            to: field("to"),
            body: field("body"),
            date_created: field("date_created"),
            date_sent: field("date_sent"),
        })
    }

    /// Returns whether this is the text with `body` that we created in an attempt that began at `attempted_at`.
    #[must_use]
    pub fn is_attempt(&self, body: &str, attempted_at: DateTime<Utc>) -> bool {
        self.direction.as_deref() == Some("outbound-api")
            && self.words() == body
            && read(self.date_created.as_deref()).is_none_or(|created| created >= attempted_at - CLOCK_TOLERANCE)
    }

    /// Returns the words of a text of ours, without those that Twilio adds.
    fn words(&self) -> &str {
        let says = self.body.as_deref().unwrap_or_default();
        says.strip_prefix(TRIAL_PREFIX).unwrap_or(says)
    }

    fn created_at(&self) -> Option<DateTime<Utc>> {
        read(self.date_created.as_deref()).or_else(|| read(self.date_sent.as_deref()))
    }

    /// Returns the text if it is one of ours; nothing, if it has no date.
    fn as_sent(&self) -> Option<Sent> {
        let sent_at = self.created_at().filter(|_| self.direction.as_deref() == Some("outbound-api"))?;
        let (from, to) = (self.from.clone()?, self.to.clone()?);
        Some(Sent { sid: self.sid.clone(), from, to, body: self.words().to_owned(), sent_at })
    }

    /// Returns the text if it came in; nothing, if it is still arriving, or if Twilio holds it back as machine-written (30039).
    fn into_inbound(self) -> Option<Inbound> {
        let arrived = self.direction.as_deref() == Some("inbound") && self.status.as_deref() == Some("received");
        let sent_at = read(self.date_sent.as_deref()).filter(|_| arrived)?;
        Some(Inbound { sid: self.sid, from: self.from?, to: self.to?, body: self.body.unwrap_or_default(), sent_at })
    }
}

fn read(date: Option<&str>) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc2822(date?).ok()?.to_utc())
}

#[derive(Deserialize)]
struct Page {
    #[serde(deserialize_with = "each")]
    messages: Vec<Listed>,
    next_page_uri: Option<String>,
}

/// Reads the entries of a list, each by itself, and drops those that cannot be read.
fn each<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listed>, D::Error> {
    let entries = Vec::<Value>::deserialize(deserializer)?;
    let listed: Vec<Listed> = entries.iter().filter_map(Listed::read).collect();
    let skipped = entries.len() - listed.len();
    if skipped > 0 {
        tracing::warn!(skipped, "Twilio's list of texts has entries that cannot be read");
    }
    Ok(listed)
}

impl Api {
    /// Returns the latest texts from `from` to `to`, newest first: one page of Twilio's list, 50 texts at most.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub async fn list_messages(&self, from: &str, to: &str) -> Result<Vec<Listed>, Error> {
        let query = [("From", from), ("To", to), ("PageSize", "50")];
        let page: Page = self.answer(self.http.get(&self.messages_url).query(&query)).await?;
        Ok(page.messages)
    }

    /// Returns the delivery status of the text `sid`; nothing, if Twilio has no such text.
    ///
    /// # Errors
    /// When the status cannot be read.
    pub async fn find_message(&self, sid: &str) -> Result<Option<MessageStatus>, Error> {
        let url = format!("{}/{sid}.json", self.messages_url.trim_end_matches(".json"));
        match self.answer(self.http.get(url)).await {
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Redacts a text in either direction: its words are gone, and all else stays. A text that Twilio does not have any more is redacted.
    /// May be repeated.
    ///
    /// # Errors
    /// When it is not known that the words are gone.
    pub async fn redact_message(&self, sid: &str) -> Result<(), Error> {
        let url = format!("{}/{sid}.json", self.messages_url.trim_end_matches(".json"));
        match self.answer::<Value>(self.http.post(url).form(&[("Body", "")])).await {
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(message) => match message.get("body").and_then(Value::as_str) {
                Some("") => Ok(()),
                _ => Err(Error::Unreadable("the words of a text are still there")),
            },
        }
    }

    /// Returns the texts that arrived at any number of the account since `since`, oldest first.
    ///
    /// # Errors
    /// When the list cannot be read to its end.
    pub async fn list_inbound(&self, since: DateTime<Utc>) -> Result<Vec<Inbound>, Error> {
        let since = since.format("%Y-%m-%dT%H:%M:%SZ");
        let account = &self.account.sid;
        let first = format!("{ROOT}{account}/Messages.json?DateSent%3E={since}&PageSize={PAGE_SIZE}");
        let pages: Vec<Page> = self.pages(first, |page: &Page| page.next_page_uri.clone()).await?;
        let listed = pages.into_iter().flat_map(|page| page.messages);
        let mut inbound: Vec<Inbound> = listed.filter_map(Listed::into_inbound).collect();
        // Twilio lists the newest first. Reversing before the stable sort puts texts of the same second in order as well.
        inbound.reverse();
        inbound.sort_by_key(|text| text.sent_at);
        Ok(inbound)
    }
}

impl Api {
    /// Returns the texts of the account since `since`, in both directions.
    ///
    /// The list is read from its newest entry on, up to the first page that holds only older texts. A filter by date would leave
    /// out texts that Twilio has taken and not sent yet.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub async fn list_texts(&self, since: DateTime<Utc>) -> Result<Texts, Error> {
        let first = format!("{ROOT}{}/Messages.json?PageSize={PAGE_SIZE}", self.account.sid);
        // The dates of the list have whole seconds: a text of the same second is not older.
        let since = since.trunc_subsecs(0);
        let is_older = |it: &Listed| it.created_at().is_some_and(|at| at < since);
        let next = |page: &Page| page.next_page_uri.clone().filter(|_| !page.messages.iter().all(is_older));
        let pages: Vec<Page> = self.pages(first, next).await?;
        let mut listed: Vec<Listed> = pages.into_iter().flat_map(|page| page.messages).collect();
        listed.retain(|it| !is_older(it));
        // As in `list_inbound`: the newest are listed first, and texts of the same second keep their order.
        listed.reverse();
        let mut texts = Texts { sent: listed.iter().filter_map(Listed::as_sent).collect(), inbound: Vec::new() };
        texts.inbound = listed.into_iter().filter_map(Listed::into_inbound).collect();
        texts.sent.sort_by_key(|text| text.sent_at);
        texts.inbound.sort_by_key(|text| text.sent_at);
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::read_json;

    #[test]
    fn our_text_is_recognised_by_its_body_and_its_time() {
        let listed = |date: Option<&str>| Listed {
            direction: Some("outbound-api".to_owned()),
            body: Some("Hi".to_owned()),
            date_created: date.map(str::to_owned),
            ..Listed::default()
        };
        let at = DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").unwrap().to_utc();
        assert!(listed(Some("Sun, 22 Nov 2026 12:00:01 +0000")).is_attempt("Hi", at));
        assert!(listed(Some("Sun, 22 Nov 2026 11:59:30 +0000")).is_attempt("Hi", at));
        assert!(listed(None).is_attempt("Hi", at));
        assert!(!listed(Some("Sun, 22 Nov 2026 11:00:00 +0000")).is_attempt("Hi", at));
        assert!(!listed(None).is_attempt("Hello", at));
        let of_a_trial_account = Listed { body: Some(format!("{TRIAL_PREFIX}Hi")), ..listed(None) };
        assert!(of_a_trial_account.is_attempt("Hi", at));
    }

    /// A list may contain redacted texts, and entries of a form that we do not know.
    #[test]
    fn an_unreadable_entry_does_not_hide_the_rest() {
        let page = r#"{"messages": [{"sid": "SM1", "body": null, "direction": null, "status": null},
            {"sid": "SM2", "direction": "inbound", "status": "received", "from": "+447700900123", "to": "+447111111111",
             "body": "Hi", "date_sent": "Sun, 22 Nov 2026 12:00:01 +0000", "price": {}},
            null, {"sid": 7, "direction": "inbound"}, {"body": "nameless"},
            {"sid": "SM3", "direction": "inbound", "status": "received", "from": "+447700900124", "to": "+447111111111",
             "body": "half \ud83d a picture", "date_sent": "Sun, 22 Nov 2026 12:00:02 +0000"},
            {"sid": "SM4", "direction": "inbound", "status": "received", "from": {}, "to": "+447111111111",
             "body": "Hi", "date_sent": "Sun, 22 Nov 2026 12:00:03 +0000"}], "next_page_uri": null}"#;
        let page: Page = read_json(page.as_bytes()).unwrap();
        let inbound: Vec<Inbound> = page.messages.into_iter().filter_map(Listed::into_inbound).collect();
        assert_eq!(inbound.iter().map(|text| text.sid.as_str()).collect::<Vec<_>>(), ["SM2", "SM3"]);
        assert_eq!(inbound[1].body, "half \u{FFFD} a picture");
    }
}
