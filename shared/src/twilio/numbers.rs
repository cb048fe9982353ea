//! Twilio's REST API for the numbers of the account.
//!
//! Setting a number up is idempotent, unlike creating a message: whatever failed may simply be done again. So is buying one
//! that is named: done twice, it is refused once, and the account has it.

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
    /// Take and send texts. What Twilio offers says it in capitals.
    #[serde(default, alias = "SMS")]
    pub sms: bool,
    /// Take and make calls.
    #[serde(default)]
    pub voice: bool,
}

/// Twilio says both `null` and nothing between quotes for what is not set.
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Twilio's types of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// In the UK, the usual one that takes both texts and calls.
    Mobile,
    /// Of a town.
    Local,
    /// Of no town.
    National,
    /// Free for who rings it.
    TollFree,
}

impl NumberType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Mobile, Self::Local, Self::National, Self::TollFree];

    /// Its name in the table `number_purchases`, and for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Local => "local",
            Self::National => "national",
            Self::TollFree => "toll-free",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in the path of a search.
    const fn path(self) -> &'static str {
        match self {
            Self::Mobile => "Mobile",
            Self::Local => "Local",
            Self::National => "National",
            Self::TollFree => "TollFree",
        }
    }
}

/// A number that Twilio offers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Offered {
    /// The number, E.164.
    pub phone_number: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Whether its buyer has to have an address: `none`, `any`, `local` or `foreign`.
    #[serde(default, deserialize_with = "or_empty")]
    pub address_requirements: String,
    /// Whether it is new to Twilio, and not to be relied on.
    #[serde(default)]
    pub beta: bool,
}

#[derive(Deserialize)]
struct Offers {
    available_phone_numbers: Vec<Offered>,
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

    /// Numbers that can be bought in an ISO 3166 country, and that take both texts and calls: `limit` of them at most, which
    /// Twilio cuts to 1000.
    ///
    /// # Errors
    /// When Twilio does not answer, or does not offer such numbers in that country at all (HTTP 404).
    pub async fn search_numbers(&self, country: &str, kind: NumberType, limit: usize) -> Result<Vec<Offered>, Error> {
        let (api, account, kind) = (&self.account.api_base_url, &self.account.account_sid, kind.path());
        let url = format!("{api}{ROOT}{account}/AvailablePhoneNumbers/{country}/{kind}.json");
        let limit = limit.min(PAGE_SIZE as usize).to_string();
        let filters = [("SmsEnabled", "true"), ("VoiceEnabled", "true"), ("Beta", "false"), ("PageSize", &limit)];
        let offers: Offers = self.answer(self.http.get(url).query(&filters)).await?;
        Ok(offers.available_phone_numbers)
    }

    /// Buys the number that `fields` name, with everything else that they set, once.
    ///
    /// # Errors
    /// When Twilio does not say that it has sold it. [`Error::is_refusal`] says whether it surely has not.
    pub async fn buy_number(&self, fields: &[(&str, String)]) -> Result<Number, Error> {
        let (api, account) = (&self.account.api_base_url, &self.account.account_sid);
        self.answer(self.http.post(format!("{api}{ROOT}{account}/IncomingPhoneNumbers.json")).form(fields)).await
    }

    /// The number of the account that is this one, E.164, if the account has it.
    ///
    /// # Errors
    /// When Twilio does not answer.
    pub async fn find_number(&self, number: &str) -> Result<Option<Number>, Error> {
        let (api, account) = (&self.account.api_base_url, &self.account.account_sid);
        let url = format!("{api}{ROOT}{account}/IncomingPhoneNumbers.json");
        let page: Page = self.answer(self.http.get(url).query(&[("PhoneNumber", number)])).await?;
        // Twilio also shows numbers that contain what is looked for.
        Ok(page.incoming_phone_numbers.into_iter().find(|found| found.phone_number == number))
    }
}
