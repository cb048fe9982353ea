//! Carries out an order: records the intent to buy a number, buys it, and records the purchase.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::E164;
use jobrun_twilio::Error;
use jobrun_twilio::api::Api;
use sqlx::PgConnection;

use super::choice::{Chosen, RefusalScope, SPARE, choose, refusal_scope, refused};
use super::order::{Bought, Order, PurchaseReport, Shortfall, fields};
use crate::clock;
use crate::config::{self, Buying};
use crate::db::audit_log::Actor;
use crate::db::numbers::purchases::{self, Cap, Intended};
use crate::db::{self, numbers as pool_numbers};

/// Numbers bought within this time count towards `POOL_BUY_MAX`.
const CAP_PERIOD: TimeDelta = TimeDelta::days(30);

/// How long a request whose response was lost may still be under way at Twilio: many times the timeout of a request.
const UNDER_WAY_FOR: TimeDelta = TimeDelta::minutes(2);

/// How often one number is requested, if the response is lost and the account does not have it.
const TRIES: usize = 2;

/// After so many refusals with unknown codes the reason must be the account, and the run ends.
const ODD_REFUSALS_MAX: usize = 3;

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

/// The outcome of buying one number.
enum Purchase {
    Owned { sid: String, found: bool },
    Refused(Error),
    Unknown(Error),
}

/// One run of `jobrun pool buy`.
pub struct Run<'a> {
    conn: &'a mut PgConnection,
    api: &'a Api,
    settings: &'a config::Buying,
    order: &'a Order,
    by: &'a Actor,
    now: DateTime<Utc>,
    report: PurchaseReport,
    /// How many numbers of the order are bought, or in a dry run would be.
    done: usize,
    odd_refusals: usize,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Run").field("order", self.order).finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// Prepares a run of the operator `by`. For [`Run::buy`], `conn` must come from [`purchases::begin_run`].
    #[must_use]
    pub fn new(
        conn: &'a mut PgConnection,
        api: &'a Api,
        settings: &'a config::Buying,
        order: &'a Order,
        by: &'a Actor,
        now: DateTime<Utc>,
    ) -> Self {
        Self { conn, api, settings, order, by, now, report: PurchaseReport::default(), done: 0, odd_refusals: 0 }
    }

    /// Returns what would be bought. Changes nothing, neither in the database nor at Twilio.
    pub async fn rehearse(mut self) -> Result<PurchaseReport, db::Error> {
        let outcome = self.plan().await;
        self.finish(outcome).await
    }

    /// Settles the purchases that earlier runs left open, and then buys.
    ///
    /// # Errors
    /// When the database does not answer. A purchase under way then stays open, and the next run settles it.
    pub async fn buy(mut self) -> Result<PurchaseReport, db::Error> {
        let outcome = self.execute().await;
        self.finish(outcome).await
    }

    async fn finish(mut self, outcome: Result<(), Stop>) -> Result<PurchaseReport, db::Error> {
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
        // An open purchase is found to be bought, or is tried again: either way it counts towards the order.
        let again = open.iter().filter(|it| self.is_ordered(it)).take(self.order.count);
        let mut numbers: Vec<E164> = again.map(|it| it.number.clone()).collect();
        let chosen = self.search_missing(numbers.len()).await?;
        numbers.extend(chosen.numbers);
        numbers.truncate(self.order.count);
        self.done = numbers.len();
        self.report.would_buy = numbers;
        self.ensure_done(chosen.needing_address)
    }

    async fn execute(&mut self) -> Result<(), Stop> {
        let again = self.settle_open_purchases().await?;
        if self.missing() == 0 {
            return Ok(());
        }
        let chosen = self.search_missing(again.len()).await?;
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

    /// Records the numbers of open purchases that the account has. Returns the numbers to try again for this order, at most as many
    /// as are missing, each with whether its last request may still be under way.
    async fn settle_open_purchases(&mut self) -> Result<Vec<(E164, bool)>, Stop> {
        let mut lacking = Vec::new();
        for purchase in purchases::list_intended(self.conn).await? {
            match self.find(&purchase.number).await.map_err(refused)? {
                None => lacking.push(purchase),
                Some(sid) => {
                    let Intended { number, country, .. } = &purchase;
                    purchases::save_bought(self.conn, number, country, &sid, self.by, clock::now()).await?;
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

    /// Searches for the missing numbers, less the `again` that are tried again. Fails if more would be bought than the cap allows.
    async fn search_missing(&mut self, again: usize) -> Result<Chosen, Stop> {
        let counted = purchases::count(self.conn, self.cap().since).await?;
        let new = self.missing().saturating_sub(again);
        let after = (counted.bought as usize).saturating_add(counted.intended as usize).saturating_add(new);
        if after > self.settings.max as usize {
            return Err(Shortfall::OverCap { max: self.settings.max, counted, wanted: new }.into());
        }
        let Order { country, kind, .. } = self.order;
        let offered = self.api.search_numbers(country, *kind, new + SPARE).await.map_err(refused)?;
        let numbers: Vec<&str> = offered.iter().map(|it| it.phone_number.as_str()).collect();
        let mut known = pool_numbers::list_known(self.conn, &numbers).await?;
        let open = purchases::list_intended(self.conn).await?;
        known.extend(open.into_iter().map(|purchase| purchase.number.as_str().to_owned()));
        let Buying { address_sid, twilio, .. } = self.settings;
        let chosen = choose(&offered, &known, address_sid.is_some(), &twilio.onboarding_number);
        self.report.passed_over.clone_from(&chosen.unfit);
        Ok(chosen)
    }

    /// Buys one number, and settles the purchase. `is_recent`: an earlier request for it may still be under way.
    async fn purchase(&mut self, number: &E164, is_recent: bool) -> Result<(), Stop> {
        let Order { country, kind, .. } = self.order;
        if !purchases::intend(self.conn, number, (country, *kind), self.cap(), self.by, clock::now()).await? {
            let counted = purchases::count(self.conn, self.cap().since).await?;
            return Err(Shortfall::OverCap { max: self.settings.max, counted, wanted: self.missing() }.into());
        }
        match self.request_number(number, is_recent).await {
            Purchase::Owned { sid, found } => {
                purchases::save_bought(self.conn, number, country, &sid, self.by, clock::now()).await?;
                self.done += 1;
                self.report.bought.push(Bought { number: number.clone(), sid, found });
                Ok(())
            }
            Purchase::Refused(error) => {
                self.save_not_bought(number, error.to_string()).await?;
                self.check_refusal(error)
            }
            Purchase::Unknown(error) => Err(Shortfall::Unknown(error).into()),
        }
    }

    /// Requests one number from Twilio. `lost`: the response to an earlier request was lost. Then a refusal may mean that the
    /// earlier request succeeded, or still will.
    async fn request_number(&self, number: &E164, mut lost: bool) -> Purchase {
        let mut tries = 1;
        loop {
            let error = match self.api.buy_number(&self.form(number)).await {
                Ok(sold) => return Purchase::Owned { sid: sold.sid, found: false },
                Err(error) => error,
            };
            let is_refusal = error.is_refusal();
            if is_refusal && !lost && refusal_scope(&error) != RefusalScope::ThisNumber {
                return Purchase::Refused(error);
            }
            match self.find(number).await {
                Ok(Some(sid)) => return Purchase::Owned { sid, found: true },
                Ok(None) if is_refusal && !lost => return Purchase::Refused(error),
                Ok(None) if !is_refusal && tries < TRIES => (lost, tries) = (true, tries + 1),
                Ok(None) | Err(_) => return Purchase::Unknown(error),
            }
        }
    }

    /// Returns the SID of a number, if the account has it, and sets our webhooks on it, however it was bought.
    async fn find(&self, number: &E164) -> Result<Option<String>, Error> {
        let Some(found) = self.api.find_number(number.as_str()).await? else { return Ok(None) };
        self.api.update_number(&found.sid, &fields(&self.settings.twilio.account.public_base_url)).await?;
        Ok(Some(found.sid))
    }

    fn form(&self, number: &E164) -> Vec<(&'static str, String)> {
        let mut form = fields(&self.settings.twilio.account.public_base_url);
        form.push(("PhoneNumber", number.as_str().to_owned()));
        form.extend(self.settings.bundle_sid.iter().map(|sid| ("BundleSid", sid.clone())));
        form.extend(self.settings.address_sid.iter().map(|sid| ("AddressSid", sid.clone())));
        form
    }

    async fn save_not_bought(&mut self, number: &E164, why: String) -> Result<(), Stop> {
        purchases::save_not_bought(self.conn, number, &why, self.by, clock::now()).await?;
        self.report.not_bought.push((number.clone(), why));
        Ok(())
    }

    /// Fails if no further number is to be tried after this refusal.
    fn check_refusal(&mut self, error: Error) -> Result<(), Stop> {
        match refusal_scope(&error) {
            RefusalScope::ThisNumber => Ok(()),
            RefusalScope::Odd if self.odd_refusals + 1 < ODD_REFUSALS_MAX => {
                self.odd_refusals += 1;
                Ok(())
            }
            RefusalScope::Odd | RefusalScope::Every(_) => Err(refused(error).into()),
        }
    }
}
