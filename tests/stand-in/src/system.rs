//! The system that the stand-in plays for, as far as the phone page commands it: to let time pass, to sweep, to begin anew.
//!
//! The stand-in knows nothing of the database. `jobrun up`, which started it, attaches an implementation.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::{Number, StandIn, State};

/// The result of a command, later. The error is a sentence for the page.
pub type Done<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What the phone page asks of the system around the stand-in.
pub trait System: fmt::Debug + Send + Sync {
    /// Makes everything that the system has recorded older by this much, and then sweeps.
    fn pass(&self, time: TimeDelta) -> Done<'_, ()>;

    /// Has a worker sweep at once.
    fn sweep(&self) -> Done<'_, ()>;

    /// Deletes every client, text and payment, and makes every number of the pool available.
    fn reset(&self) -> Done<'_, ()>;

    /// Returns the numbers of the pool, set up as the account has them.
    fn numbers(&self) -> Done<'_, Vec<Number>>;
}

impl StandIn {
    /// Attaches the system. Only the first call has an effect.
    pub fn attach(&self, system: Arc<dyn System>) {
        // A second system would be a mistake of the caller, and the first keeps working.
        let _ = self.state.system.set(system);
    }
}

impl State {
    pub(crate) fn system(&self) -> Option<&Arc<dyn System>> {
        self.system.get()
    }

    /// Makes everything that the stand-in remembers older by this much.
    pub(crate) fn age(&self, time: TimeDelta) {
        for message in self.messages().iter_mut() {
            message.date_created -= time;
            message.date_sent = message.date_sent.map(|sent| sent - time);
            message.listed_from -= time;
        }
        for sale in self.sales().values_mut() {
            sale.at -= time.num_seconds();
        }
        self.phones().age(time);
    }

    /// Adds the numbers that came into the pool since the account was set up.
    pub(crate) async fn add_new_numbers(&self) {
        let Some(system) = self.system() else { return };
        let Ok(found) = system.numbers().await else { return };
        let mut numbers = self.numbers();
        let known =
            |number: &Number, numbers: &[Number]| numbers.iter().any(|it| it.phone_number == number.phone_number);
        for number in found {
            if !known(&number, &numbers) {
                numbers.push(number);
            }
        }
    }
}
