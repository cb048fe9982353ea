//! Twilio's REST API for the numbers of the account.
//!
//! Setting a number up is idempotent, unlike creating a message: a failed request may be repeated. So is buying a number that is
//! named: the second request is refused, and the account has the number.

use serde::{Deserialize, Deserializer};

use super::answers::{Error, PAGE_SIZE, ROOT};
use super::api::Api;

/// A number of the account. Fields that are not set are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Number {
    /// Its SID.
    pub sid: String,
    /// The number, E.164.
    pub phone_number: String,
    /// Its capabilities.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The address that a text is posted to.
    #[serde(default, deserialize_with = "or_empty")]
    pub sms_url: String,
    /// The HTTP method for it.
    #[serde(default, deserialize_with = "or_empty")]
    pub sms_method: String,
    /// An application that receives texts instead.
    #[serde(default, deserialize_with = "or_empty")]
    pub sms_application_sid: String,
    /// The address that a call is announced to.
    #[serde(default, deserialize_with = "or_empty")]
    pub voice_url: String,
    /// The HTTP method for it.
    #[serde(default, deserialize_with = "or_empty")]
    pub voice_method: String,
    /// An application that receives calls instead.
    #[serde(default, deserialize_with = "or_empty")]
    pub voice_application_sid: String,
    /// The address that changes of a call's status are posted to.
    #[serde(default, deserialize_with = "or_empty")]
    pub status_callback: String,
    /// The HTTP method for it.
    #[serde(default, deserialize_with = "or_empty")]
    pub status_callback_method: String,
    /// A SIP trunk that receives calls instead.
    #[serde(default, deserialize_with = "or_empty")]
    pub trunk_sid: String,
}

/// The capabilities of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Capabilities {
    /// Receiving and sending texts. In Twilio's offers, the field's name is in capitals.
    #[serde(default, alias = "SMS")]
    pub sms: bool,
    /// Receiving and making calls.
    #[serde(default)]
    pub voice: bool,
}

/// Reads a field for which Twilio sends `null` or an empty string when it is not set.
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Twilio's types of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// In the UK, the usual type that takes both texts and calls.
    Mobile,
    /// Belongs to a town.
    Local,
    /// Belongs to no town.
    National,
    /// Free for the caller.
    TollFree,
}

impl NumberType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Mobile, Self::Local, Self::National, Self::TollFree];

    /// Returns its name in the table `number_purchases`, and for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Local => "local",
            Self::National => "national",
            Self::TollFree => "toll-free",
        }
    }

    /// Returns the type of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns its name in the path of a search.
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
    /// Its capabilities.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The address that its buyer must have: `none`, `any`, `local` or `foreign`.
    #[serde(default, deserialize_with = "or_empty")]
    pub address_requirements: String,
    /// Whether it is new to Twilio, and so may be unreliable.
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
    /// Returns every number of the account.
    ///
    /// # Errors
    /// When any page of Twilio's list cannot be read: with half a list, the other half would look lost.
    pub async fn list_numbers(&self) -> Result<Vec<Number>, Error> {
        let first = format!("{ROOT}{}/IncomingPhoneNumbers.json?PageSize={PAGE_SIZE}", self.account.sid);
        let pages: Vec<Page> = self.pages(first, |page: &Page| page.next_page_uri.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.incoming_phone_numbers).collect())
    }

    /// Sets fields of the number with this SID.
    ///
    /// # Errors
    /// When Twilio does not confirm that it has set them.
    pub async fn update_number(&self, sid: &str, fields: &[(&str, String)]) -> Result<(), Error> {
        let (api, account) = (&self.account.api_base_url, &self.account.sid);
        let url = format!("{api}{ROOT}{account}/IncomingPhoneNumbers/{sid}.json");
        let Updated {} = self.answer(self.http.post(url).form(fields)).await?;
        Ok(())
    }

    /// Returns numbers that can be bought in an ISO 3166 country, and that take both texts and calls: at most `limit`, and never
    /// more than 1000, which is Twilio's limit.
    ///
    /// # Errors
    /// When Twilio does not respond, or offers no numbers of this type in that country at all (HTTP 404).
    pub async fn search_numbers(&self, country: &str, kind: NumberType, limit: usize) -> Result<Vec<Offered>, Error> {
        let (api, account, kind) = (&self.account.api_base_url, &self.account.sid, kind.path());
        let url = format!("{api}{ROOT}{account}/AvailablePhoneNumbers/{country}/{kind}.json");
        let limit = limit.min(PAGE_SIZE as usize).to_string();
        let filters = [("SmsEnabled", "true"), ("VoiceEnabled", "true"), ("Beta", "false"), ("PageSize", &limit)];
        let offers: Offers = self.answer(self.http.get(url).query(&filters)).await?;
        Ok(offers.available_phone_numbers)
    }

    /// Buys the number that `fields` name, with everything else that they set, in one request.
    ///
    /// # Errors
    /// When Twilio does not confirm the purchase. [`Error::is_refusal`] returns whether it certainly did not happen.
    pub async fn buy_number(&self, fields: &[(&str, String)]) -> Result<Number, Error> {
        let (api, account) = (&self.account.api_base_url, &self.account.sid);
        self.answer(self.http.post(format!("{api}{ROOT}{account}/IncomingPhoneNumbers.json")).form(fields)).await
    }

    /// Returns the account's entry for this number, E.164, if the account has it.
    ///
    /// # Errors
    /// When Twilio does not respond.
    pub async fn find_number(&self, number: &str) -> Result<Option<Number>, Error> {
        let (api, account) = (&self.account.api_base_url, &self.account.sid);
        let url = format!("{api}{ROOT}{account}/IncomingPhoneNumbers.json");
        let page: Page = self.answer(self.http.get(url).query(&[("PhoneNumber", number)])).await?;
        // Twilio also lists numbers that contain the one that is looked for.
        Ok(page.incoming_phone_numbers.into_iter().find(|found| found.phone_number == number))
    }
}
