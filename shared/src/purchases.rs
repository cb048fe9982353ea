//! Buying numbers at Twilio: no number twice, none more than is allowed, and none that was bought is lost.
//!
//! A purchase is written down and committed before Twilio is asked for it. Whatever breaks afterwards, be it the connection,
//! Twilio or this process, leaves it intended, and whoever comes next looks whether the account has the number before
//! anything else. No transaction is open while Twilio is asked.

use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::E164;
use jobrun_onboarding::pool_number::{Unfit, pool_number};
use sqlx::PgConnection;

use crate::clock;
use crate::config::{self, Buying};
use crate::db::purchases::{self, Cap, Counted, Intended};
use crate::db::{self, pool};
use crate::numbers;
use crate::twilio::Error;
use crate::twilio::api::Api;
use crate::twilio::numbers::{NumberType, Offered};
use crate::twilio::webhooks::Purpose;

/// What is bought within this time counts towards `POOL_BUY_MAX`.
const CAP_PERIOD: TimeDelta = TimeDelta::days(30);

/// For how long a request whose answer was lost may still be under way at Twilio: many times what one may take.
const UNDER_WAY_FOR: TimeDelta = TimeDelta::minutes(2);

/// How many more numbers are looked for than are wanted: somebody else may be faster, and some may not fit.
const SPARE: usize = 50;

/// How often one number is asked for, if the answer is lost and the account does not have it.
const TRIES: usize = 2;

/// How many numbers may be refused for reasons that are not listed here before it must be the account.
const ODD_REFUSALS_MAX: usize = 3;

/// What the console shows beside a number of the pool.
const FRIENDLY_NAME: &str = "JobRun pool";

/// What is to be bought.
#[derive(Clone, Debug)]
pub struct Order {
    /// The ISO 3166 country.
    pub country: String,
    /// Of which type.
    pub kind: NumberType,
    /// How many.
    pub count: usize,
}

/// What came of an order, or would.
#[derive(Debug, Default)]
pub struct Report {
    /// What would be bought, had this not been a dry run.
    pub would_buy: Vec<E164>,
    /// What the account has now, and the pool.
    pub bought: Vec<Bought>,
    /// What it surely does not have, and why.
    pub not_bought: Vec<(E164, String)>,
    /// Of these nobody knows: the next run finds out.
    pub open: Vec<E164>,
    /// What Twilio offers and cannot be in the pool, and what is wrong with it.
    pub passed_over: Vec<(String, Unfit)>,
    /// Why it is fewer than what was asked for.
    pub shortfall: Option<Shortfall>,
    /// What counts towards the cap, once all this is done.
    pub counted: Counted,
}

/// A number that was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// The number.
    pub number: E164,
    /// Twilio's name for it.
    pub sid: String,
    /// Whether the answer to the purchase was lost, and the number found in the account.
    pub found: bool,
}

impl Report {
    /// Whether everything that was asked for is bought and nothing is left open; or would be, because a dry run leaves open
    /// what is.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.shortfall.is_none() && (self.open.is_empty() || !self.would_buy.is_empty())
    }
}

/// Why fewer numbers are bought than were asked for.
#[derive(Debug)]
pub enum Shortfall {
    /// More than `POOL_BUY_MAX` allows. Nothing was bought.
    OverCap {
        /// `POOL_BUY_MAX`.
        max: u32,
        /// What counts towards it.
        counted: Counted,
        /// How many were to be bought on top of that.
        wanted: usize,
    },
    /// Twilio does not offer as many.
    TooFew {
        /// Numbers that it offers only to those who have an address.
        needing_address: usize,
    },
    /// Twilio's answer would be the same for every number.
    Refused {
        /// What it answered.
        error: Error,
        /// What to do.
        advice: &'static str,
    },
    /// What came of a purchase is not known, so no more are made.
    Unknown(Error),
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverCap { max, counted: Counted { bought, intended }, wanted } => {
                let left = max.saturating_sub(bought.saturating_add(*intended));
                write!(
                    formatter,
                    "POOL_BUY_MAX allows {max} within 30 days; {bought} were bought, {intended} are open, and {left} are \
                     left, but {wanted} more are wanted"
                )
            }
            Self::TooFew { needing_address: 0 } => formatter.write_str("Twilio does not offer more that fit"),
            Self::TooFew { needing_address } => write!(
                formatter,
                "Twilio does not offer more that fit; {needing_address} need an address: set TWILIO_ADDRESS_SID"
            ),
            Self::Refused { error, advice } => write!(formatter, "{error}: {advice}"),
            Self::Unknown(error) => write!(
                formatter,
                "{error}, so nobody knows whether the last number was bought: run the same again, which finds out"
            ),
        }
    }
}

/// What is set on a number that is bought for the pool: its name and its webhooks.
#[must_use]
pub fn fields(public_base_url: &str) -> Vec<(&'static str, String)> {
    let name = ("FriendlyName", FRIENDLY_NAME.to_owned());
    std::iter::once(name).chain(numbers::set_up(Purpose::Pool, public_base_url)).collect()
}

/// What fits of what is offered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    /// In the order of the offer.
    numbers: Vec<E164>,
    /// How many would fit, had their buyer an address.
    needing_address: usize,
    /// What cannot be in the pool, and what is wrong with it.
    unfit: Vec<(String, Unfit)>,
}

/// Numbers that take both texts and calls, that are not `known`, and that may be bought as things are.
fn choose(offered: &[Offered], known: &HashSet<String>, has_address: bool, onboarding_number: &E164) -> Chosen {
    let mut chosen = Chosen::default();
    let fits = |it: &&Offered| it.capabilities.sms && it.capabilities.voice && !it.beta;
    for offer in offered.iter().filter(fits).filter(|it| !known.contains(&it.phone_number)) {
        // Twilio writes numbers in one way only.
        let number = E164::parse(&offer.phone_number).map_err(|_| Unfit::Unreadable);
        match number.and_then(|it| pool_number(it.as_str(), Some(onboarding_number))).map(|it| it.number) {
            Ok(_) if !has_address && !["", "none"].contains(&offer.address_requirements.as_str()) => {
                chosen.needing_address += 1;
            }
            Ok(number) if !chosen.numbers.contains(&number) => chosen.numbers.push(number),
            // Offered twice.
            Ok(_) => {}
            Err(unfit) => chosen.unfit.push((offer.phone_number.clone(), unfit)),
        }
    }
    chosen
}

/// What a refusal means for the numbers after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Somebody else was faster, or this number is not for sale.
    ThisNumber,
    /// Perhaps the same. A few of these are gone past.
    Odd,
    /// Every number would meet it. What to do.
    Every(&'static str),
}

/// Reads a refusal. Source: Twilio's error pages.
fn meaning(error: &Error) -> Meaning {
    let Error::Refused { status, code } = error else {
        return match error {
            Error::Unauthorised => Meaning::Every("put the account's primary token first in TWILIO_AUTH_TOKEN"),
            _ => Meaning::Every("try again; nothing is bought twice"),
        };
    };
    match (code, status.as_u16()) {
        (Some(21421 | 21422), _) => Meaning::ThisNumber,
        (Some(21404), _) => Meaning::Every("a trial account may have only one number: upgrade it in Twilio's console"),
        (Some(21615 | 21631), _) => {
            Meaning::Every("set TWILIO_ADDRESS_SID (AD…) to an address in the account that meets the country's rules")
        }
        (Some(21649), _) => Meaning::Every(
            "set TWILIO_BUNDLE_SID (BU…) to a regulatory bundle that Twilio has approved for this country and type",
        ),
        (Some(21650 | 21651), _) => {
            Meaning::Every("complete the documents of the bundle in TWILIO_BUNDLE_SID, in Twilio's console")
        }
        (Some(20429), _) | (_, 429) => Meaning::Every("too many requests at a time: try again in a minute"),
        (Some(20003 | 20005 | 20006 | 20008 | 20403), _) | (_, 401 | 403) => Meaning::Every(
            "see in Twilio's console that the account in TWILIO_ACCOUNT_SID is active and may buy numbers",
        ),
        (Some(_), 404) => Meaning::Every("Twilio does not offer numbers of this type in this country"),
        (_, 500..) => Meaning::Every("try again in some minutes; nothing is bought twice"),
        (Some(_), _) => Meaning::Odd,
        (None, _) => Meaning::Every("something between here and Twilio answers; see TWILIO_API_BASE_URL if it is set"),
    }
}

fn refused(error: Error) -> Shortfall {
    let advice = match meaning(&error) {
        Meaning::Every(advice) => advice,
        Meaning::ThisNumber | Meaning::Odd => "look the error up in Twilio's documentation",
    };
    Shortfall::Refused { error, advice }
}

/// Why a run ends early.
enum Stop {
    Short(Shortfall),
    Database(db::Error),
}

impl From<Shortfall> for Stop {
    fn from(shortfall: Shortfall) -> Self {
        Self::Short(shortfall)
    }
}

impl From<db::Error> for Stop {
    fn from(error: db::Error) -> Self {
        Self::Database(error)
    }
}

/// What became of asking for one number.
enum Outcome {
    Owned { sid: String, found: bool },
    Refused(Error),
    Unknown(Error),
}

/// One run of the command.
pub struct Run<'a> {
    conn: &'a mut PgConnection,
    api: &'a Api,
    settings: &'a config::Buying,
    order: &'a Order,
    now: DateTime<Utc>,
    report: Report,
    /// How much of the order is done.
    done: usize,
    odd_refusals: usize,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Run").field("order", self.order).finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// Prepares a run. To buy, `conn` has to be one of [`purchases::begin_run`].
    #[must_use]
    pub fn new(
        conn: &'a mut PgConnection,
        api: &'a Api,
        settings: &'a config::Buying,
        order: &'a Order,
        now: DateTime<Utc>,
    ) -> Self {
        Self { conn, api, settings, order, now, report: Report::default(), done: 0, odd_refusals: 0 }
    }

    /// Says what would be bought. Changes nothing, here or at Twilio.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rehearse(mut self) -> Result<Report, db::Error> {
        let outcome = self.plan().await;
        self.finish(outcome).await
    }

    /// Buys, after what earlier runs left open is settled.
    ///
    /// # Errors
    /// When the database does not answer. A purchase under way is then open, and found by the next run.
    pub async fn buy(mut self) -> Result<Report, db::Error> {
        let outcome = self.carry_out().await;
        self.finish(outcome).await
    }

    async fn finish(mut self, outcome: Result<(), Stop>) -> Result<Report, db::Error> {
        match outcome {
            Ok(()) => {}
            Err(Stop::Short(shortfall)) => self.report.shortfall = Some(shortfall),
            Err(Stop::Database(error)) => return Err(error),
        }
        let open = purchases::list_intended(self.conn).await?;
        self.report.open = open.into_iter().map(|purchase| purchase.number).collect();
        self.report.counted = purchases::count(self.conn, self.cap().since).await?;
        Ok(self.report)
    }

    async fn plan(&mut self) -> Result<(), Stop> {
        let open = purchases::list_intended(self.conn).await?;
        // Bought already, or tried again: either way part of what was asked for.
        let again = open.iter().filter(|it| self.is_ordered(it)).take(self.order.count);
        let mut numbers: Vec<E164> = again.map(|it| it.number.clone()).collect();
        let chosen = self.look_for(numbers.len()).await?;
        numbers.extend(chosen.numbers);
        numbers.truncate(self.order.count);
        self.done = numbers.len();
        self.report.would_buy = numbers;
        self.ensure_done(chosen.needing_address)
    }

    async fn carry_out(&mut self) -> Result<(), Stop> {
        let again = self.settle_what_was_left_open().await?;
        if self.missing() == 0 {
            return Ok(());
        }
        let chosen = self.look_for(again.len()).await?;
        for (number, is_recent) in again {
            self.purchase(&number, is_recent).await?;
        }
        for number in chosen.numbers {
            if self.missing() == 0 {
                break;
            }
            self.purchase(&number, false).await?;
        }
        self.ensure_done(chosen.needing_address)
    }

    fn missing(&self) -> usize {
        self.order.count.saturating_sub(self.done)
    }

    fn ensure_done(&self, needing_address: usize) -> Result<(), Stop> {
        if self.missing() == 0 { Ok(()) } else { Err(Shortfall::TooFew { needing_address }.into()) }
    }

    fn is_ordered(&self, purchase: &Intended) -> bool {
        purchase.country == self.order.country && purchase.kind == self.order.kind
    }

    fn cap(&self) -> Cap {
        Cap { max: self.settings.max, since: self.now - CAP_PERIOD }
    }

    /// Records what the account turns out to have of what earlier runs meant to buy. Answers what is to be tried again as part
    /// of this order, at most as many as are missing, and of each whether its last request may still be under way.
    async fn settle_what_was_left_open(&mut self) -> Result<Vec<(E164, bool)>, Stop> {
        let mut lacking = Vec::new();
        for purchase in purchases::list_intended(self.conn).await? {
            match self.find(&purchase.number).await.map_err(refused)? {
                None => lacking.push(purchase),
                Some(sid) => {
                    purchases::save_bought(self.conn, &purchase.number, &purchase.country, &sid, clock::now()).await?;
                    self.done += usize::from(self.is_ordered(&purchase));
                    self.report.bought.push(Bought { number: purchase.number, sid, found: true });
                }
            }
        }
        let mut again = Vec::new();
        for purchase in lacking {
            let is_recent = purchase.intended_at > clock::now() - UNDER_WAY_FOR;
            if self.is_ordered(&purchase) && again.len() < self.missing() {
                again.push((purchase.number, is_recent));
            } else if !is_recent {
                let why = "the account does not have it, and it is not wanted any more";
                self.save_not_bought(&purchase.number, why.to_owned()).await?;
            }
        }
        Ok(again)
    }

    /// Looks for numbers for what is missing, but for those `again` that are known, unless that is more than may be bought.
    async fn look_for(&mut self, again: usize) -> Result<Chosen, Stop> {
        let counted = purchases::count(self.conn, self.cap().since).await?;
        let new = self.missing().saturating_sub(again);
        let after = (counted.bought as usize).saturating_add(counted.intended as usize).saturating_add(new);
        if after > self.settings.max as usize {
            return Err(Shortfall::OverCap { max: self.settings.max, counted, wanted: new }.into());
        }
        let Order { country, kind, .. } = self.order;
        let offered = self.api.search_numbers(country, *kind, new + SPARE).await.map_err(refused)?;
        let numbers: Vec<&str> = offered.iter().map(|it| it.phone_number.as_str()).collect();
        let mut known = pool::list_known(self.conn, &numbers).await?;
        let open = purchases::list_intended(self.conn).await?;
        known.extend(open.into_iter().map(|purchase| purchase.number.as_str().to_owned()));
        let Buying { address_sid, twilio, .. } = self.settings;
        let chosen = choose(&offered, &known, address_sid.is_some(), &twilio.onboarding_number);
        self.report.passed_over.clone_from(&chosen.unfit);
        Ok(chosen)
    }

    /// Buys one number, and settles it. `is_recent` says that an earlier request for it may still be under way.
    async fn purchase(&mut self, number: &E164, is_recent: bool) -> Result<(), Stop> {
        let Order { country, kind, .. } = self.order;
        if !purchases::intend(self.conn, number, (country, *kind), self.cap(), clock::now()).await? {
            let counted = purchases::count(self.conn, self.cap().since).await?;
            return Err(Shortfall::OverCap { max: self.settings.max, counted, wanted: self.missing() }.into());
        }
        match self.ask_for(number, is_recent).await {
            Outcome::Owned { sid, found } => {
                purchases::save_bought(self.conn, number, country, &sid, clock::now()).await?;
                self.done += 1;
                self.report.bought.push(Bought { number: number.clone(), sid, found });
                Ok(())
            }
            Outcome::Refused(error) => {
                self.save_not_bought(number, error.to_string()).await?;
                self.go_on_after(error)
            }
            Outcome::Unknown(error) => Err(Shortfall::Unknown(error).into()),
        }
    }

    /// Asks Twilio for one number. `lost` says that the answer to an earlier request was lost: then a refusal may mean that
    /// the earlier one came through, or still will.
    async fn ask_for(&self, number: &E164, mut lost: bool) -> Outcome {
        let mut tries = 1;
        loop {
            let error = match self.api.buy_number(&self.form(number)).await {
                Ok(sold) => return Outcome::Owned { sid: sold.sid, found: false },
                Err(error) => error,
            };
            let is_refusal = error.is_refusal();
            if is_refusal && !lost && meaning(&error) != Meaning::ThisNumber {
                return Outcome::Refused(error);
            }
            match self.find(number).await {
                Ok(Some(sid)) => return Outcome::Owned { sid, found: true },
                Ok(None) if is_refusal && !lost => return Outcome::Refused(error),
                Ok(None) if !is_refusal && tries < TRIES => (lost, tries) = (true, tries + 1),
                Ok(None) | Err(_) => return Outcome::Unknown(error),
            }
        }
    }

    /// Twilio's name for a number that the account has. Whoever bought it, it leads to us from now on.
    async fn find(&self, number: &E164) -> Result<Option<String>, Error> {
        let Some(found) = self.api.find_number(number.as_str()).await? else { return Ok(None) };
        self.api.update_number(&found.sid, &fields(&self.settings.twilio.public_base_url)).await?;
        Ok(Some(found.sid))
    }

    fn form(&self, number: &E164) -> Vec<(&'static str, String)> {
        let mut form = fields(&self.settings.twilio.public_base_url);
        form.push(("PhoneNumber", number.as_str().to_owned()));
        form.extend(self.settings.bundle_sid.iter().map(|sid| ("BundleSid", sid.clone())));
        form.extend(self.settings.address_sid.iter().map(|sid| ("AddressSid", sid.clone())));
        form
    }

    async fn save_not_bought(&mut self, number: &E164, why: String) -> Result<(), Stop> {
        purchases::save_not_bought(self.conn, number, &why, clock::now()).await?;
        self.report.not_bought.push((number.clone(), why));
        Ok(())
    }

    /// Whether the next number may be tried after this refusal.
    fn go_on_after(&mut self, error: Error) -> Result<(), Stop> {
        match meaning(&error) {
            Meaning::ThisNumber => Ok(()),
            Meaning::Odd if self.odd_refusals + 1 < ODD_REFUSALS_MAX => {
                self.odd_refusals += 1;
                Ok(())
            }
            Meaning::Odd | Meaning::Every(_) => Err(refused(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::twilio::numbers::Capabilities;

    fn offered(number: &str) -> Offered {
        Offered {
            phone_number: number.to_owned(),
            capabilities: Capabilities { sms: true, voice: true },
            address_requirements: "none".to_owned(),
            beta: false,
        }
    }

    #[test]
    fn only_what_takes_texts_and_calls_and_is_not_known_is_chosen() {
        let mut offers: Vec<Offered> = (0..7).map(|n| offered(&format!("+44740000000{n}"))).collect();
        offers[0].capabilities.sms = false;
        offers[1].capabilities.voice = false;
        offers[2].beta = true;
        offers[4].address_requirements = "local".to_owned();
        offers[5].phone_number = "07400000005".to_owned();
        offers.push(offers[6].clone());
        let known = HashSet::from(["+447400000003".to_owned()]);
        let number = |n: u32| E164::parse(&format!("+44740000000{n}")).unwrap();
        offers.extend(["+4407400000009", "+447400000009"].map(offered));
        let unfit = || {
            let wrong = |number: &str, unfit| (number.to_owned(), unfit);
            vec![
                wrong("07400000005", Unfit::Unreadable),
                wrong("+4407400000009", Unfit::ZeroAfterCode("7400000009".to_owned())),
                wrong("+447400000009", Unfit::Onboarding),
            ]
        };
        let chosen = |numbers, needing_address| Chosen { numbers, needing_address, unfit: unfit() };
        assert_eq!(choose(&offers, &known, false, &number(9)), chosen(vec![number(6)], 1));
        assert_eq!(choose(&offers, &known, true, &number(9)), chosen(vec![number(4), number(6)], 0));
    }

    #[test]
    fn a_refusal_concerns_one_number_or_all_of_them() {
        let refusal = |status: u16, code: i32| Error::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            code: (code > 0).then_some(code),
        };
        for (status, code) in [(400, 21421), (400, 21422)] {
            assert_eq!(meaning(&refusal(status, code)), Meaning::ThisNumber, "{code}");
        }
        assert_eq!(meaning(&refusal(400, 21999)), Meaning::Odd);
        for (status, code, says) in [
            (400, 21404, "upgrade"),
            (400, 21615, "TWILIO_ADDRESS_SID"),
            (400, 21631, "TWILIO_ADDRESS_SID"),
            (400, 21649, "TWILIO_BUNDLE_SID"),
            (400, 21651, "TWILIO_BUNDLE_SID"),
            (429, 20429, "in a minute"),
            (429, 0, "in a minute"),
            (403, 20008, "active"),
            (404, 20404, "country"),
            (503, 20503, "some minutes"),
            (400, 0, "TWILIO_API_BASE_URL"),
        ] {
            let Meaning::Every(advice) = meaning(&refusal(status, code)) else {
                panic!("{status} {code} is met by every number");
            };
            assert!(advice.contains(says), "{status} {code}: {advice}");
        }
    }

    #[test]
    fn a_purchase_is_refused_only_by_who_says_no() {
        let refusal = |status: u16| Error::Refused { status: StatusCode::from_u16(status).unwrap(), code: None };
        for status in [400, 401, 403, 404, 429] {
            assert!(refusal(status).is_refusal(), "{status}");
        }
        for status in [302, 408, 500, 502, 503] {
            assert!(!refusal(status).is_refusal(), "{status}");
        }
        assert!(Error::Unauthorised.is_refusal() && !Error::Unreachable("").is_refusal());
        assert!(!Error::Unreadable("").is_refusal());
    }
}
