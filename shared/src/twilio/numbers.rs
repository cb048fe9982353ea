//! Twilio's REST API for the numbers of the account.
//!
//! Setting a number up is idempotent, unlike creating a message: whatever failed may simply be done again.

use serde::{Deserialize, Deserializer};

use super::answers::{Error, PAGE_SIZE, ROOT};
use super::api::Api;

/// A number of the account. What is not set is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Number {
    /// Twilio's name for it.
    pub sid: String,
    /// The number, E.164.
    pub phone_number: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Where a text is posted.
    #[serde(default, deserialize_with = "or_empty")]
    pub sms_url: String,
    /// How.
    #[serde(default, deserialize_with = "or_empty")]
    pub sms_method: String,
    /// An application that takes texts instead.
    #[serde(default, deserialize_with = "or_empty")]
    pub sms_application_sid: String,
    /// Where a call is announced.
    #[serde(default, deserialize_with = "or_empty")]
    pub voice_url: String,
    /// How.
    #[serde(default, deserialize_with = "or_empty")]
    pub voice_method: String,
    /// An application that takes calls instead.
    #[serde(default, deserialize_with = "or_empty")]
    pub voice_application_sid: String,
    /// Where it is posted how a call went on.
    #[serde(default, deserialize_with = "or_empty")]
    pub status_callback: String,
    /// How.
    #[serde(default, deserialize_with = "or_empty")]
    pub status_callback_method: String,
    /// A SIP trunk that takes calls instead.
    #[serde(default, deserialize_with = "or_empty")]
    pub trunk_sid: String,
}

/// What a number can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Capabilities {
    /// Take and send texts.
    #[serde(default)]
    pub sms: bool,
    /// Take and make calls.
    #[serde(default)]
    pub voice: bool,
}

/// Twilio says both `null` and nothing between quotes for what is not set.
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Page {
    incoming_phone_numbers: Vec<Number>,
    next_page_uri: Option<String>,
}

#[derive(Deserialize)]
struct Updated {}

impl Api {
    /// Every number of the account.
    ///
    /// # Errors
    /// When any page of Twilio's list cannot be read: half a list would make the other half look lost.
    pub async fn list_numbers(&self) -> Result<Vec<Number>, Error> {
        let first = format!("{ROOT}{}/IncomingPhoneNumbers.json?PageSize={PAGE_SIZE}", self.account.account_sid);
        let pages: Vec<Page> = self.pages(first, |page: &Page| page.next_page_uri.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.incoming_phone_numbers).collect())
    }

    /// Sets fields of the number that Twilio calls `sid`.
    ///
    /// # Errors
    /// When Twilio does not say that it has set them.
    pub async fn update_number(&self, sid: &str, fields: &[(&str, String)]) -> Result<(), Error> {
        let (api, account) = (&self.account.api_base_url, &self.account.account_sid);
        let url = format!("{api}{ROOT}{account}/IncomingPhoneNumbers/{sid}.json");
        let Updated {} = self.answer(self.http.post(url).form(fields)).await?;
        Ok(())
    }
}
