//! The order of numbers, and the report on it.

use std::fmt;

use jobrun_onboarding::E164;
use jobrun_onboarding::pool_number::Unfit;
use jobrun_twilio::Error;
use jobrun_twilio::numbers::NumberType;
use jobrun_twilio::webhooks::Purpose;

use crate::db::numbers::purchases::Counted;
use crate::numbers::account_check;

/// The name that Twilio's console shows beside a number of the pool.
const FRIENDLY_NAME: &str = "JobRun pool";

/// An order of numbers.
#[derive(Clone, Debug)]
pub struct Order {
    /// The ISO 3166 country.
    pub country: String,
    /// Twilio's type of the numbers.
    pub kind: NumberType,
    /// How many numbers.
    pub count: usize,
}

/// The result of an order, or of its dry run.
#[derive(Debug, Default)]
pub struct PurchaseReport {
    /// In a dry run, the numbers that would be bought.
    pub would_buy: Vec<E164>,
    /// Numbers that were bought: the account and the pool have them.
    pub bought: Vec<Bought>,
    /// Numbers that the account certainly does not have, and why.
    pub not_bought: Vec<(E164, String)>,
    /// Open purchases, whose outcome is unknown. The next run finds it out.
    pub open: Vec<E164>,
    /// Numbers that Twilio offers and that cannot be in the pool, and why.
    pub passed_over: Vec<(String, Unfit)>,
    /// Why fewer numbers were bought than ordered.
    pub shortfall: Option<Shortfall>,
    /// The purchases that count towards `POOL_BUY_MAX` at the end of the run.
    pub counted: Counted,
}

/// A number that was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// The number.
    pub number: E164,
    /// Its SID at Twilio.
    pub sid: String,
    /// Whether the response to the purchase was lost, and the number was found in the account.
    pub found: bool,
}

impl PurchaseReport {
    /// Returns whether everything that was ordered is bought and no purchase is open. For a dry run, whether everything would be
    /// bought: it settles no open purchase.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.shortfall.is_none() && (self.open.is_empty() || !self.would_buy.is_empty())
    }
}

/// Why fewer numbers are bought than were ordered.
#[derive(Debug)]
pub enum Shortfall {
    /// More than `POOL_BUY_MAX` allows. Nothing more was bought.
    OverCap {
        /// `POOL_BUY_MAX`.
        max: u32,
        /// The purchases that count towards it.
        counted: Counted,
        /// How many more were to be bought.
        wanted: usize,
    },
    /// Twilio does not offer enough numbers that fit.
    TooFew {
        /// How many numbers it sells only to buyers with an address.
        needing_address: usize,
    },
    /// Twilio would refuse every number for the same reason.
    Refused {
        /// The refusal.
        error: Error,
        /// The remedy, for the operator.
        advice: &'static str,
    },
    /// The outcome of a purchase is unknown, so no more numbers are bought.
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

/// Returns the fields that are set on a number bought for the pool: its name and its webhooks.
#[must_use]
pub fn fields(public_base_url: &str) -> Vec<(&'static str, String)> {
    let name = ("FriendlyName", FRIENDLY_NAME.to_owned());
    std::iter::once(name).chain(account_check::set_up(Purpose::Pool, public_base_url)).collect()
}
