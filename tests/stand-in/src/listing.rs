//! The list of messages: the messages that a page shows, and the link to the next page.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;

use crate::Message;

const PAGE_SIZE: usize = 50;

const PAGE_SIZE_MAX: usize = 1000;

/// A query of the list.
#[derive(Debug)]
pub(crate) struct Listing {
    to: Option<String>,
    from: Option<String>,
    /// Sent at this moment or later.
    sent_from: Option<DateTime<Utc>>,
    /// Sent at this moment or earlier.
    sent_until: Option<DateTime<Utc>>,
    page: usize,
    page_size: usize,
    /// The SID of the last message of the previous page.
    after: Option<String>,
}

impl Listing {
    /// Parses a query. The error is the name of the invalid parameter.
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, String> {
        let mut listing = Self {
            to: None,
            from: None,
            sent_from: None,
            sent_until: None,
            page: 0,
            page_size: PAGE_SIZE,
            after: None,
        };
        for (name, value) in query {
            listing.set(name, value).ok_or_else(|| name.clone())?;
        }
        Ok(listing)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "To" => self.to = Some(value.to_owned()),
            "From" => self.from = Some(value.to_owned()),
            // `DateSent>=2026-11-22` has the name `DateSent>`. Some clients write or escape a second equals sign.
            "DateSent>" | "DateSent>=" => self.sent_from = Some(moment(value)?),
            "DateSent<" | "DateSent<=" => self.sent_until = Some(moment(value)?),
            "DateSent" => {
                let day = moment(value)?;
                self.sent_from = Some(day);
                self.sent_until = Some(day + TimeDelta::days(1) - TimeDelta::seconds(1));
            }
            "Page" => self.page = value.parse().ok()?,
            "PageSize" => self.page_size = value.parse().ok().filter(|size| (1..=PAGE_SIZE_MAX).contains(size))?,
            "PageToken" => self.after = Some(value.strip_prefix("PA")?.to_owned()),
            // As with Twilio, unknown parameters are ignored.
            _ => {}
        }
        Some(())
    }

    /// Returns the query as a key for faults by a seed: without SIDs and dates, which differ from run to run.
    pub(crate) fn asked(&self) -> String {
        format!("{:?} {:?} {}", self.to, self.from, self.page)
    }

    /// Returns a page as JSON, newest first, as the list shows it at `now`. `messages` are in the order of their acceptance.
    pub(crate) fn page(
        &self,
        messages: &[Message],
        now: DateTime<Utc>,
        account: &str,
        query: &[(String, String)],
    ) -> serde_json::Value {
        let fitting = messages.iter().rev().filter(|message| message.listed_from <= now && self.fits(message));
        let mut rest = fitting.skip_while(|it| self.after.is_some() && self.after.as_ref() != Some(&it.sid));
        if self.after.is_some() {
            rest.next();
        }
        let page: Vec<&Message> = rest.by_ref().take(self.page_size).collect();
        let last = page.last().filter(|_| rest.next().is_some());
        let path = format!("/2010-04-01/Accounts/{account}/Messages.json");
        json!({
            "messages": page.iter().map(|message| message.as_json(account)).collect::<Vec<_>>(),
            "page": self.page,
            "page_size": self.page_size,
            "uri": path,
            "next_page_uri": last.map(|last| format!("{path}?{}", self.next_query(query, &last.sid))),
        })
    }

    fn next_query(&self, query: &[(String, String)], last: &str) -> String {
        let kept = query.iter().filter(|(name, _)| !["Page", "PageSize", "PageToken"].contains(&name.as_str()));
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair("PageSize", &self.page_size.to_string())
            .append_pair("Page", &(self.page + 1).to_string())
            .append_pair("PageToken", &format!("PA{last}"))
            .finish()
    }

    fn fits(&self, message: &Message) -> bool {
        // The API shows and compares whole seconds.
        let sent = message.date_sent.map(|date| date.timestamp());
        self.to.as_ref().is_none_or(|to| *to == message.to)
            && self.from.as_ref().is_none_or(|from| *from == message.from)
            && self.sent_from.is_none_or(|from| sent.is_some_and(|sent| sent >= from.timestamp()))
            && self.sent_until.is_none_or(|until| sent.is_some_and(|sent| sent <= until.timestamp()))
    }
}

/// Parses a time (RFC 3339), or a day, which stands for the midnight (UTC) at which it begins.
fn moment(value: &str) -> Option<DateTime<Utc>> {
    let midnight = || Some(value.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    DateTime::parse_from_rfc3339(value).map(|moment| moment.to_utc()).ok().or_else(midnight)
}
