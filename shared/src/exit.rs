//! What the exit status of a program says: 0 done; 1 no, or not possible now; 2 the settings or the request are at fault; 130
//! stopped before its end.

use std::error::Error;

use crate::config::Problems;
use crate::db::ConnectError;
use crate::operator::Refusal;

/// The answer is no, or what was asked for could not be done.
pub const NO: u8 = 1;

/// The settings or the request are at fault: the same again fails again.
pub const USAGE: u8 = 2;

/// Ctrl-C, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// The program was told to stop before it had done what it was asked to do.
#[derive(Debug, thiserror::Error)]
#[error("stopped before the end")]
pub struct Interrupted;

/// The exit status of a program that ends with an error, by its causes.
pub fn status_of<'a>(causes: impl Iterator<Item = &'a (dyn Error + 'static)>) -> u8 {
    causes.fold(NO, |status, cause| {
        let at_fault = cause.is::<Problems>()
            || cause.downcast_ref().is_some_and(ConnectError::is_of_the_settings)
            || cause.downcast_ref().is_some_and(Refusal::is_of_the_request);
        match (at_fault, cause.is::<Interrupted>()) {
            (true, _) => USAGE,
            (false, true) => INTERRUPTED,
            (false, false) => status,
        }
    })
}
