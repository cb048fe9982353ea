//! Buys numbers at Twilio: no number twice, no more than `POOL_BUY_MAX` allows, and without losing one that was bought.
//!
//! The intent to buy a number is committed before the request to Twilio. If the connection, Twilio or this process fails
//! afterwards, the purchase stays open (`intended`), and the next run first checks whether the account has the number. No
//! transaction is open during a request to Twilio.

mod order;

mod choice;

mod run;

pub use order::*;
pub use run::*;
